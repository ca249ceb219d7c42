"""What is measured of each model, here or by another Python in which the model's host is installed.

``python -m piwsl_plugins.evaluation.measure FOLDER`` is what the other Python does.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
from ase import Atoms
from ase.calculators.calculator import Calculator
from tqdm import tqdm

from piwsl_plugins import __version__
from piwsl_plugins.data.frames import Floats, FrameSet
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.slopes import evenly
from piwsl_plugins.evaluation import dynamics
from piwsl_plugins.evaluation.errors import MILLI, accuracy, compare, slope
from piwsl_plugins.evaluation.inputs import read_sets
from piwsl_plugins.fields import Settings, setting
from piwsl_plugins.models import DISTRIBUTIONS, MODULES, identify, load
from piwsl_plugins.teacher.geometries import Plausibility

Sets = Mapping[str, FrameSet]
bar = functools.partial(tqdm, leave=False, disable=None)  # None: where stderr is no terminal


class EvaluateSettings(Settings):
    """What is measured of each model, and where."""

    reference: str | None = setting(
        None,
        "for the curvature along random directions: a model file of a host that is installed here, "
        "or the import path of an ASE calculator, with arguments as "
        'MODULE.CLASS:{"name": value}; left out, the curvature is that between pairs of frames',
    )
    probes: int = setting(
        20, "evenly spaced frames for curvature and work; 0 leaves them out", ge=0
    )
    nve_steps: int = setting(
        1000, "steps of dynamics at constant energy, from the first frame; 0 leaves it out", ge=0
    )
    nve_temperature: float = setting(300.0, "of the initial velocities", unit="K", ge=0)
    nve_timestep: float = setting(0.5, "of the dynamics", unit="fs", gt=0, le=100)
    seed: int = setting(0, "of directions, velocities and bootstraps", ge=0)
    device: str = setting("cpu", "cpu, cuda or cuda:NUMBER")
    dtype: Literal["float32", "float64"] | None = setting(
        None, "number format of MACE's models; left out, a model's own, as NequIP's keep theirs"
    )
    config_type_key: str = setting("config_type", "name of the configuration type in the files")


class Job(pydantic.BaseModel):
    """What is to be measured on which files of frames, by name, and how their labels are read.

    Curvatures are those of the reference at the probes, [n_probes, DIRECTIONS], eV/angstrom^2.
    """

    data: dict[str, Path]
    labels: DataSettings
    settings: EvaluateSettings
    curvatures: list[list[float]] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """The figures of merit of one model, ready for JSON, and what the figures are drawn from.

    Arrays have the shape [2, n], references first: of each set by its index ``setI_energy``
    (meV/atom, less the mean reference), ``setI_forces`` (eV/angstrom); ``curvature``
    (eV/angstrom^2); ``nve``, times (ps) and energies (eV per atom).
    """

    numbers: dict[str, Any]
    arrays: dict[str, Floats]


def structures(sets: Sets, most: int) -> list[Atoms]:
    """So many structures of all sets, evenly spaced from the first on."""
    every = [frame.atoms for found in sets.values() for frame in found.frames]
    return [every[index] for index in evenly(len(every), most)]


def measure(calculator: Calculator, sets: Sets, job: Job) -> Measured:
    """Measure a model on the job's sets of frames; a ValueError names the frame where it fails."""
    settings, seed, seconds = job.settings, job.settings.seed, list[float]()
    arrays, numbers = dict[str, Floats](), dict[str, Any](test_sets={})
    for index, (name, labelled) in enumerate(sets.items()):
        frames = bar(labelled.frames, f"errors on {name}")
        table = compare(frames, calculator, settings.config_type_key)
        numbers["test_sets"][name] = accuracy(table, seed)
        rows, both = table.dropna(subset="reference"), ["reference", "predicted"]
        energies, forces = (rows[rows["label"] == label] for label in ("energy", "forces"))
        per_atom = MILLI * energies[both].div(energies["n_atoms"], axis=0)
        clouds = {
            "energy": (per_atom - per_atom["reference"].mean()).to_numpy().T,
            "forces": forces[both].to_numpy().T,
        }
        arrays |= {f"set{index}_{kind}": cloud for kind, cloud in clouds.items() if cloud.size}
        seconds += table.groupby("frame")["seconds"].first().to_list()
    numbers["ms_per_force_call"] = MILLI * float(np.median(seconds))
    numbers |= dict.fromkeys(("curvature", "work", "nve"))
    if settings.probes > 0:
        chosen = structures(sets, settings.probes)
        numbers["work"] = dynamics.work_errors(bar(chosen, "work"), calculator, seed)
        if job.curvatures is not None:
            found = dynamics.curvatures(bar(chosen, "curvature"), calculator, seed)
            cloud = np.array([np.ravel(job.curvatures), found.ravel()])
            group = np.repeat(np.arange(len(found)), found.shape[1])
            numbers["curvature"] = slope(cloud[1], cloud[0], group, seed)
            arrays["curvature"] = cloud
    if settings.nve_steps > 0:
        known = structures(sets, 200)
        how = {"temperature": settings.nve_temperature, "timestep": settings.nve_timestep}
        path = dynamics.trajectory(
            known[0], calculator, Plausibility(known), steps=settings.nve_steps, seed=seed, **how
        )
        numbers["nve"] = {
            "drift_mev_per_atom_per_ps": path.drift and MILLI * path.drift,
            "fluctuation_mev_per_atom": path.fluctuation and MILLI * path.fluctuation,
            "exploded_at_ps": path.exploded_at,
            "reason": path.reason or None,
            "time_ps": float(path.times[-1]),
        }
        arrays["nve"] = np.array([path.times, path.energies])
    return Measured(numbers, arrays)


def measure_here(job: Job, models: Mapping[str, Path], sets: Sets) -> dict[str, Measured]:
    """Measure models, files by name, here; a ValueError names one that cannot be measured."""
    settings, measured = job.settings, {}
    for name, path in models.items():
        print(f"measuring {name}", file=sys.stderr, flush=True)
        file = identify(path)
        loaded = load(file, dtype=settings.dtype, device=settings.device)
        for frame in (frame for found in sets.values() for frame in found.frames):
            if unknown := sorted(set(frame.atoms.symbols) - loaded.elements):
                what = f"{frame.name} holds {', '.join(unknown)}"
                known = ", ".join(sorted(loaded.elements))
                raise ValueError(f"{what}; the model '{name}' knows only {known}")
        try:
            found = measure(loaded.calculator, sets, job)
        except ValueError as error:
            raise ValueError(f"model '{name}': {error}") from error
        packages = (DISTRIBUTIONS[file.host], "torch", "ase", "numpy", "piwsl-plugins")
        about = {
            "file": str(path),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "host": file.host,
            "kind": file.kind,
            "dtype": loaded.dtype,
            "device": settings.device,
            "versions": {package: importlib.metadata.version(package) for package in packages},
        }
        measured[name] = Measured(about | found.numbers, found.arrays)
    return measured


def measure_elsewhere(
    python: str, host: str, job: Job, models: Mapping[str, Path]
) -> dict[str, Measured]:
    """Measure models of a host, files by name, by another Python; a ValueError says why not."""
    where = f"--environment {MODULES[host]}={python}"
    with tempfile.TemporaryDirectory(prefix="piwsl-evaluate-") as folder:
        given = {"version": __version__, "job": job.model_dump(mode="json"), "models": models}
        Path(folder, "job.json").write_text(json.dumps(given, default=str), encoding="utf-8")
        command = [python, "-m", "piwsl_plugins.evaluation.measure", folder]
        try:
            done = subprocess.run(command, stdout=subprocess.DEVNULL)
        except OSError as error:
            raise ValueError(f"{where}: this Python does not run: {error}") from error
        if not (answer := Path(folder, "answer.json")).exists():
            needs = f"it needs piwsl-plugins {__version__} and {DISTRIBUTIONS[host]}"
            raise ValueError(f"{where}: it ended with status {done.returncode}; {needs}")
        found = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in found:
        raise ValueError(f"{where}: {found['error']}")
    return {
        name: Measured(numbers, {key: np.array(values) for key, values in arrays.items()})
        for name, (numbers, arrays) in found.items()
    }


def main(folder: Path) -> None:
    """Measure the job in a folder and leave the answer there, or a message about what is wrong."""
    given = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    try:
        if given["version"] != __version__:
            raise ValueError(f"it needs piwsl-plugins {given['version']}, and has {__version__}")
        job = Job(**given["job"])
        models = {name: Path(path) for name, path in given["models"].items()}
        found = measure_here(job, models, read_sets(job.data, job.labels))
        answer: dict[str, Any] = {name: (m.numbers, m.arrays) for name, m in found.items()}
    except (ValueError, OSError) as error:
        answer = {"error": str(error)}
    text = json.dumps(answer, default=np.ndarray.tolist)
    (folder / "answer.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
