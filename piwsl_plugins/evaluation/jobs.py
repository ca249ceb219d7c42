"""Models measured here, or by another Python in which their host is installed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from piwsl_plugins import __version__
from piwsl_plugins.evaluation.comparison import Floats
from piwsl_plugins.evaluation.frames import FrameSet, check_elements, read_frame_sets
from piwsl_plugins.evaluation.measure import (
    Measured,
    Settings,
    Stage,
    measure,
    probe_curvatures,
)
from piwsl_plugins.hosts.calculators import (
    DISTRIBUTIONS,
    MODULES,
    LoadedModel,
    identify,
    load,
    versions,
)

JOB, CURVATURES = "job.json", "curvatures.npy"
LOOK = (
    "import importlib.util, json, sys\n"
    "found = importlib.util.find_spec\n"
    "ours = found('piwsl_plugins') and __import__('piwsl_plugins').__version__\n"
    "print(json.dumps([ours, bool(found(sys.argv[1]))]))"
)


class EndedElsewhereError(Exception):
    """Another Python has ended with an error that it has told already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Models of one host to be measured on the same frames.

    Attributes:
        models: Files by name.
        data: Files of frames by name.
        keys: Name of the label of each quantity, or None for the usual ones.
        config_type_key: Name of the configuration type, or None for the usual one.
        settings: What is measured.
        device: cpu or cuda.
        dtype: For MACE, or None for the model's own.
        only_curvatures: Whether nothing but the curvatures at the probes are wanted, of a model
            that is the others' reference.
    """

    models: dict[str, str]
    data: dict[str, str]
    keys: dict[str, str | None]
    config_type_key: str | None
    settings: Settings
    device: str
    dtype: str | None
    only_curvatures: bool = False


def load_for(job: Job, name: str, sets: Sequence[FrameSet]) -> LoadedModel:
    """Load a model of a job and check that it knows every element of the frames.

    Raises:
        ValueError: It cannot be loaded, or does not know an element.
    """
    loaded = load(identify(Path(job.models[name])), dtype=job.dtype, device=job.device)
    for frame_set in sets:
        check_elements(frame_set, loaded.elements, name)
    return loaded


def measure_here(
    job: Job, sets: Sequence[FrameSet], reference: Floats | None, stage: Stage
) -> dict[str, Measured]:
    """Measure the models of a job in this process.

    Args:
        job: What is to be measured.
        sets: The frames of ``job.data``.
        reference: Reference curvatures at the probes, eV/angstrom^2, or None.
        stage: Told of every step; a model's name goes before what it does.

    Raises:
        ValueError: A model cannot be loaded, or fails.
    """
    measured = {}
    for name, path in job.models.items():
        file = identify(Path(path))
        stage(f"{name}: loading", 0)
        loaded = load_for(job, name, sets)

        def named(what: str, total: int, name: str = name) -> Any:  # noqa: ANN401  a callback
            return stage(f"{name}: {what}", total)

        try:
            found = measure(
                loaded.calculator,
                sets,
                job.settings,
                reference_curvatures=reference,
                stage=named,
            )
        except ValueError as error:
            raise ValueError(f"model '{name}': {error}") from error
        about = {
            "file": str(path),
            "sha256": hashlib.sha256(file.path.read_bytes()).hexdigest(),
            "host": file.host,
            "kind": file.kind,
            "dtype": loaded.dtype,
            "device": job.device,
            "versions": versions(file.host),
        }
        measured[name] = Measured(numbers={**about, **found.numbers}, arrays=found.arrays)
    return measured


def check_environment(python: str, host: str) -> None:
    """Check that another Python can measure models of a host.

    Args:
        python: Its program.
        host: MACE or NequIP.

    Raises:
        ValueError: It does not run, or lacks the host or this version of this package.
    """
    where = f"--environment {MODULES[host]}={python}"
    command = [python, "-c", LOOK, MODULES[host]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        ours, has_host = json.loads(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise ValueError(f"{where}: this is no Python that runs: {error}") from error
    if ours != __version__:
        found = f"has version {ours}" if ours else "lacks it"
        raise ValueError(f"{where}: needs piwsl-plugins {__version__} too, and {found}")
    if not has_host:
        raise ValueError(f"{where}: {DISTRIBUTIONS[host]} is not installed there")


def measure_elsewhere(python: str, job: Job, reference: Floats | None) -> dict[str, Measured]:
    """Measure the models of a job by another Python, whose messages go to this one's stderr.

    Args:
        python: Its program.
        job: What is to be measured.
        reference: Reference curvatures at the probes, or None.

    Raises:
        EndedElsewhereError: It has ended with an error.
    """
    with tempfile.TemporaryDirectory(prefix="piwsl-evaluate-") as name:
        folder = Path(name)
        _hand_over(python, job, reference, folder)
        return {
            model: Measured(
                numbers=json.loads((folder / f"{index}.json").read_text(encoding="utf-8")),
                arrays=dict(np.load(folder / f"{index}.npz")),
            )
            for index, model in enumerate(job.models)
        }


def curvatures_elsewhere(python: str, job: Job) -> Floats:
    """Curvatures of a reference model at the probes by another Python, eV/angstrom^2.

    Raises:
        EndedElsewhereError: It has ended with an error.
    """
    with tempfile.TemporaryDirectory(prefix="piwsl-evaluate-") as name:
        _hand_over(python, job, None, Path(name))
        return np.asarray(np.load(Path(name) / CURVATURES))


def _hand_over(python: str, job: Job, reference: Floats | None, folder: Path) -> None:
    (folder / JOB).write_text(json.dumps(asdict(job)), encoding="utf-8")
    if reference is not None:
        np.save(folder / CURVATURES, reference)
    command = [python, "-m", "piwsl_plugins", "evaluate", "--job", str(folder)]
    sys.stderr.flush()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, env=os.environ)
    if done.returncode == 2:  # it has said why
        raise EndedElsewhereError
    if done.returncode != 0:
        raise ValueError(f"{python} ended with status {done.returncode} while it measured")


def run_handed_over(folder: Path, stage: Stage) -> None:
    """What the other Python does: measure the job in a folder, and leave the results there.

    Args:
        folder: Holds job.json, and curvatures.npy where there is a reference.
        stage: Told of every step.

    Raises:
        ValueError: As `measure_here`.
    """
    fields = json.loads((folder / JOB).read_text(encoding="utf-8"))
    job = Job(**{**fields, "settings": Settings(**fields["settings"])})
    files = {name: Path(path) for name, path in job.data.items()}
    sets = read_frame_sets(files, job.keys, job.config_type_key)
    if job.only_curvatures:
        (name,) = job.models
        calculator = load_for(job, name, sets).calculator
        np.save(folder / CURVATURES, probe_curvatures(sets, calculator, job.settings, stage))
        return
    path = folder / CURVATURES
    reference = np.load(path) if path.exists() else None
    for index, found in enumerate(measure_here(job, sets, reference, stage).values()):
        (folder / f"{index}.json").write_text(json.dumps(found.numbers), encoding="utf-8")
        np.savez(folder / f"{index}.npz", allow_pickle=False, **found.arrays)
