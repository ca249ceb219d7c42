"""What ``piwsl train`` reads, and trainings of a host by its own command."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic
import yaml
from ase.data import chemical_symbols

from piwsl_plugins import datasets
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.writers import NAMES
from piwsl_plugins.fields import Settings, setting
from piwsl_plugins.teacher.methods import Method
from piwsl_plugins.teacher.settings import SampleSettings, TeacherSettings

if TYPE_CHECKING:
    from typing_extensions import Self

STAGES = ("data", "teacher", "sample", "labels", "student", "report")
"""The folder of each is named after it."""
SHIPPED = "piwsl_dataset:"  # begins the name of a file that the package ships
REPORT_EVERY = 30.0  # seconds between two lines about a training
SAID = {
    "mace": "name work_dir train_file valid_file valid_fraction test_file E0s energy_key "
    "forces_key stress_key seed device restart_latest",
    "nequip": "run hydra type_names atomic_energies data._target_ data.seed data.train_file_path "
    "data.val_file_path data.test_file_path",
}
"""What the host's config is told by the stages, and not by the user."""


class DataBlock(DataSettings):
    """The user's files, and keys and units of their labels."""

    train: str = setting(..., "file of geometries and their reference energies")
    valid: str | None = setting(None, "file of further ones, to choose the best epoch by")
    valid_fraction: float = setting(0.1, "held back where there is no such file", gt=0, lt=1)
    test: str | None = setting(None, "file to judge the models by; nothing is trained on it")
    geometries: tuple[str, ...] = setting((), "files of more, without labels", strict=False)
    train_on_forces: bool = setting(False, "train on reference forces too, where there are some")
    atomic_energies: dict[str, float] | str = setting(
        "fit", "of the free atoms by element; or isolated, fit, or the name of a table", unit="eV"
    )
    seed: int = setting(1, "of the split", ge=0)

    @pydantic.model_validator(mode="after")
    def _no_second_way(self) -> Self:
        for name in ("low_energy", "low_forces", "weak_forces"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: new geometries need labels too; name the cheap method")
        return self


class TrainSettings(Settings):
    """All blocks of the file."""

    host: Literal["mace", "nequip"] = setting(..., "what is trained")
    output: str = setting("results/piwsl_train", "folder of the stages")
    environment: str | None = setting(None, "of the host; left out, this command's own")
    device: Literal["cpu", "cuda"] = setting(
        "cpu", "of the trainings; the variable CUDA_VISIBLE_DEVICES chooses a GPU"
    )
    threads: int = setting(2, "of a training on a CPU", ge=1)
    processes: int | None = setting(None, "that label and sample; left out, all cores", ge=1)
    seed: int = setting(1, "of the trainings", ge=0)
    data: DataBlock = setting(..., "the data")
    cheap_method: Method | None = setting(None, "what the teacher corrects; left out, nothing")
    teacher: TeacherSettings = setting(TeacherSettings(), "the linear model")
    sample: SampleSettings = setting(SampleSettings(), "new geometries")
    training: dict[str, Any] = setting({}, "the host's own flags or config")

    @pydantic.model_validator(mode="after")
    def _says_nothing_twice(self) -> Self:
        told = {*self.training, *(f"data.{key}" for key in self.training.get("data", {}))}
        for key in sorted(told.intersection(SAID[self.host].split())):
            raise ValueError(f"training.{key}: piwsl train says this itself; leave it out")
        if self.environment and not (Path(self.environment) / "bin").is_dir():
            raise ValueError(f"environment: {self.environment} is no virtual environment")
        return self


def read_settings(path: Path, words: Sequence[str]) -> TrainSettings:
    """Read a YAML file; words such as ``data.train=my.xyz``, dotted keys, come before it.

    A ValueError names a key or value that is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("expected keys and values")
        for word in words:
            key, separator, text = word.partition("=")
            if not separator:
                raise ValueError(f"--set {word}: expected KEY=VALUE, as sample.select=100")
            value = yaml.safe_load(text)
            for name in reversed(key.split(".")):
                value = {name: value}
            content = merged(content, value)
        return TrainSettings(**content)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings, the second before the first; a block with another target replaces."""
    found = dict(below)
    for key, value in above.items():
        old, new = found.get(key), value
        if isinstance(old, dict) and isinstance(new, dict):
            targets = {block["_target_"] for block in (old, new) if "_target_" in block}
            new = merged(old, new) if len(targets) < 2 else new
        found[key] = new
    return found


def file_of(name: str) -> Path:
    """The file that a setting names; ``piwsl_dataset:NAME`` is one that the package ships."""
    if not name.startswith(SHIPPED):
        return Path(name)
    try:
        return datasets.path(name.removeprefix(SHIPPED))
    except KeyError as error:
        raise ValueError(str(error.args[0])) from error


def host_config(
    settings: TrainSettings, folder: Path, train: Path, valid: Path, energies: Path
) -> dict[str, Any]:
    """The configuration of ``mace_run_train`` or ``nequip-train``.

    ``energies`` is a JSON file of the free atoms' energies, eV, by atomic number.
    """
    known = json.loads(energies.read_text(encoding="utf-8"))
    atoms = {int(number): energy for number, energy in known.items()}
    if settings.host == "mace":
        return settings.training | {
            "name": folder.name,
            "work_dir": str(folder / folder.name),
            "train_file": str(train),
            "valid_file": str(valid),
            "E0s": str(atoms),
            "energy_key": NAMES["energy"],
            "forces_key": NAMES["forces"],
            "seed": settings.seed,
            "device": settings.device,
            "restart_latest": True,  # resumes after a kill
        }
    symbols = {chemical_symbols[number]: energy for number, energy in atoms.items()}
    labels = {label: NAMES[label] for label in ("energy", "forces")}
    statistics = {
        "_target_": "piwsl_plugins.hosts.nequip.EnergyStatisticsManager",
        "type_names": "${type_names}",
        "atomic_energies": "${atomic_energies}",
        "forces": True,
        "dataloader_kwargs": {"batch_size": 20},
    }
    data = {
        "_target_": "piwsl_plugins.hosts.nequip.PiwslDataModule",
        "seed": settings.seed,
        "train_file_path": str(train),
        "val_file_path": str(valid),
        "labels": {**labels, "allow_unusual_units": True},
        "stats_manager": statistics,
    }
    own = {
        "run": ["train"],
        "hydra": {"run": {"dir": str(folder / folder.name)}},
        "type_names": list(symbols),
        "atomic_energies": symbols,
        "data": data,
        "training_module": {"model": {"seed": settings.seed}},
    }
    return merged(settings.training, own)


def host_model(settings: TrainSettings, folder: Path) -> Path:
    """The trained model: of MACE's stage two where there was one."""
    if settings.host == "nequip":
        return folder / folder.name / "best.ckpt"
    two = folder / folder.name / f"{folder.name}_stagetwo.model"
    return two if two.exists() else two.with_name(f"{folder.name}.model")


def train_host(settings: TrainSettings, config: Mapping[str, Any], folder: Path) -> None:
    """Train by the host's own command; raises as :func:`run_program`."""
    file, last = folder / "config.yaml", folder / folder.name / "last.ckpt"
    file.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
    command = ["mace_run_train", "--config", str(file)]
    if settings.host == "nequip":
        resumed = [f"++ckpt_path={last}"] if last.is_file() else []
        command = ["nequip-train", str(file), *resumed]
    run_program(settings, command, folder / "output.txt")


def run_program(settings: TrainSettings, command: Sequence[str], log: Path) -> None:
    """Run a program of the host's environment, with what it prints in a file.

    Raises:
        ValueError: the program is missing, or ended with an error; the message has its last lines.
    """
    program = Path(settings.environment or sys.prefix) / "bin" / command[0]
    if not program.is_file():
        raise ValueError(f"{program} is not here; install it, or name the environment that has it")
    command = [str(program), *command[1:]]
    print(f"   {shlex.join(command)}", flush=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(settings.threads))
    lines, told = deque[str](maxlen=15), time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ | threads,
        text=True, errors="replace",
    )  # fmt: skip
    assert process.stdout is not None
    with log.open("a", encoding="utf-8", buffering=1) as output, process.stdout as printed:
        try:
            for line in filter(str.strip, printed):
                output.write(line)
                lines.append(line)
                if time.monotonic() > told + REPORT_EVERY:
                    told = time.monotonic()
                    print(f"   {line.rstrip()[:150]}", flush=True)
            process.wait()
        finally:
            process.terminate()
            process.wait()
    # Lightning ends well after a signal
    if process.returncode != 0 or any("Received SIGTERM" in line for line in lines):
        raise ValueError(
            f"{shlex.join(command)}\nended with status {process.returncode}; the last lines of "
            f"{log}:\n  {'  '.join(lines)}"
        )
