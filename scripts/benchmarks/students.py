"""The student's row of the accuracy benchmark: ``piwsl train`` as one run, its whole way."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from host_configs import Setup
from host_runs import Run
from methods import Method
from subsets import ENERGY, Subset

from piwsl_plugins.teacher.settings import SampleSettings

SAID = (
    *("name", "work_dir", "train_file", "valid_file", "E0s", "energy_key", "forces_key"),
    *("seed", "device", "run", "hydra", "type_names", "atomic_energies"),
)
SAID_OF_DATA = ("_target_", "seed", "train_file_path", "val_file_path", "key_mapping", "labels")
"""Of a host's config, what ``piwsl train`` says itself."""


def frames_of_student(student: dict[str, Any], n_train: int, rest: int) -> int:
    """About how many frames the student is trained on; some may be left out as alike.

    Args:
        student: the method's block.
        n_train: training frames with energies.
        rest: geometries without labels.
    """
    sample = SampleSettings(**student.get("sample", {}))
    found = rest + len(sample.lengths) * sample.rattled
    found += len(sample.temperatures) * sample.trajectories * (sample.steps // sample.interval)
    found += len(sample.mode_temperatures) * sample.displaced
    return n_train + min(found, sample.select or found)


def student_config(
    setup: Setup,
    host: str,
    method: Method,
    subset: Subset,
    rest: str | None,
    cheap: str,
    seed: int,
    epochs: int,
) -> dict[str, Any]:
    """The config of ``piwsl train``, but for its output.

    Args:
        setup: what all runs share.
        host: mace or nequip.
        method: has a block ``student``.
        subset: the run's frames.
        rest: file of geometries without labels.
        cheap: the cheap method.
        seed: of everything.
        epochs: of the student.
    """
    labelled = dataclasses.replace(subset, n_forces=subset.n_train, valid_forces=True)
    config = setup.config(host, Method(name=method.name), labelled, seed, epochs)
    training = {key: value for key, value in config.items() if key not in SAID}
    if host == "nequip":
        data = {key: value for key, value in config["data"].items() if key not in SAID_OF_DATA}
        training["data"] = data
    files = {"train": subset.train, "valid": subset.valid, "geometries": [rest] if rest else []}
    made: dict[str, Any] = {
        "host": host,
        "device": setup.device,
        "threads": 1,
        "processes": 1,  # a run has one core
        "seed": seed,
        "data": {**files, "energy": ENERGY, "atomic_energies": setup.free_atoms},
        "cheap_method": {"method": cheap},
        "training": training,
    }
    return made | (method.student or {})


def student_run(
    host: str,
    label: str,
    arguments: list[str],
    folder: Path,
    **others: Any,  # noqa: ANN401
) -> Run:
    """A run of ``piwsl train``, whose model is the student; arguments as of `host_run`."""
    model = folder / "student" / "student" / ("student.model" if host == "mace" else "best.ckpt")
    command = ["piwsl", "train", *arguments, "--until", "student"]
    return Run(label=label, command=command, folder=folder, model=model, **others)
