"""Runs MACE's real commands, each in a folder of its own, and reads what they leave."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
from forks import forks
from processes import execute

MACE_RUN_TRAIN = (str(Path(sys.executable).with_name("mace_run_train")),)
PIWSL = (str(Path(sys.executable).with_name("piwsl")),)

DATA = "formaldehyde_ccsdt_cbs"
TINY: dict[str, Any] = {
    "model": "ScaleShiftMACE",
    "hidden_irreps": "4x0e",
    "MLP_irreps": "4x0e",
    "max_ell": 1,
    "correlation": 2,
    "num_interactions": 2,
    "num_radial_basis": 4,
    "radial_MLP": "[8]",
    "r_max": 3.5,
    "scaling": "std_scaling",
    "batch_size": 4,
    "valid_batch_size": 4,
    "max_num_epochs": 2,
    "energy_weight": 1000,
    "default_dtype": "float64",
    "device": "cpu",
    "seed": 1,
    "plot": False,
    "pin_memory": False,
}
"""Options of the smallest training that still has two layers."""


def in_fork(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one of MACE's or this package's programs where MACE is imported already."""
    return forks("mace.cli.run_train").execute(command, folder)


def words(options: Mapping[str, Any]) -> list[str]:
    """Options as a command line; a bare True is a flag without a value, None is left out."""
    line: list[str] = []
    for name, value in options.items():
        if value is not None:
            line += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return line


@dataclass(frozen=True)
class Trained:
    """A training command that has ended, and the folder that it ran in."""

    folder: Path
    name: str
    status: int
    stdout: str
    stderr: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """Every record of MACE's results file."""
        (path,) = (self.folder / "results").glob(f"{self.name}_run-*_train.txt")
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The records of the optimiser steps."""
        return [record for record in self.records if record["mode"] == "opt"]

    @property
    def validations(self) -> list[dict[str, Any]]:
        """The records of the validations, that before training (epoch None) included."""
        return [record for record in self.records if record["mode"] == "eval"]

    @property
    def log(self) -> str:
        """MACE's log file."""
        (path,) = (self.folder / "logs").glob(f"{self.name}_run-*[0-9].log")
        return path.read_text(encoding="utf-8")

    @property
    def checkpoints(self) -> list[Path]:
        """Checkpoints, in order of their epoch."""
        found = (self.folder / "checkpoints").glob(f"{self.name}_run-*.pt")
        return sorted(found, key=lambda path: int(path.stem.split("_epoch-")[1].split("_")[0]))

    @property
    def models(self) -> list[str]:
        """Names of the models in the run's folder."""
        return sorted(path.name for path in self.folder.glob("*.model"))

    def check(self) -> Trained:
        """The run itself, if it ended well; otherwise what it printed, as an error."""
        if self.status != 0:
            raise AssertionError(f"exit status {self.status}\n{self.stdout}\n{self.stderr}")
        return self


def start_training(
    folder: Path,
    options: Mapping[str, Any],
    *,
    program: Sequence[str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Trained:
    """Run a training command in ``folder``, whatever its end.

    A program that is named starts as users start it; otherwise it is `mace_run_train` in a fork.
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = {"name": "run", **TINY, **options}
    loss = str(options.get("loss"))
    if loss.startswith("piwsl") and loss not in ("piwsl_supervised", "piwsl_teacher"):
        options = {"piwsl_every": 1, **options}  # so few steps are looked at one by one
    if program is None:
        done = in_fork([*MACE_RUN_TRAIN, *words(options)], folder)
    else:
        done = execute([*program, *words(options)], folder, variables)
    return Trained(folder, options["name"], done.returncode, done.stdout, done.stderr)


def train(folder: Path, options: Mapping[str, Any], **how: Any) -> Trained:
    """Run a training command that must end well."""
    return start_training(folder, options, **how).check()


def without_time(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Records without the wall-clock, which no two runs share."""
    return [{key: value for key, value in record.items() if key != "time"} for record in records]


def atomic_energies(path: Path) -> str:
    """Energies of the free atoms in a file, eV, as MACE takes them from a command line."""
    energies = {int(x.numbers[0]): float(x.info["REF_energy"]) for x in ase.io.iread(path)}
    return str(dict(sorted(energies.items())))


def base_losses(run: Trained) -> list[float]:
    """The supervised loss of every step, with or without PIWSL terms beside it."""
    return [step.get("base_loss", step["loss"]) for step in run.steps]


def check_terms(step: Mapping[str, Any], *terms: str, relative: float = 1e-6) -> None:
    """Check that a step's loss is its base loss and the weighted terms, which are these and on."""
    on = {key for key in step if key.startswith("piwsl_") and not key.endswith("_weight")}
    assert on == {f"piwsl_{term}" for term in terms}
    added = sum(step[f"piwsl_{term}_weight"] * step[f"piwsl_{term}"] for term in terms)
    assert all(step[f"piwsl_{term}"] > 0.0 for term in terms)
    assert added > 0.0
    # to the relative accuracy of the whole, and never so coarse that a missing term would pass
    tolerance = min(relative * abs(step["loss"]), 0.01 * added)
    assert abs(step["loss"] - step["base_loss"] - added) <= tolerance
