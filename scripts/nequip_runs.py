"""Runs of ``nequip-train``, followed by its CSV log, and the config of a run without PIWSL."""

from __future__ import annotations

import copy
import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml
from host_runs import Run

from piwsl_plugins import datasets

#: NequIP's validation error of total energies, eV, in its logs.
VALIDATION = "val0_epoch/total_energy_rmse"
ADAPTER = "piwsl_plugins.hosts.nequip.Piwsl"
#: What :func:`with_clock` adds to a run, and where the module stands.
CLOCK, CLOCK_FILE = "epoch_clock.EpochClock", "epoch_times.txt"
CLOCK_VARIABLES = {"PYTHONPATH": str(Path(__file__).resolve().parent)}


@dataclass(kw_only=True)
class NequipRun(Run):
    """One run of ``nequip-train CONFIG ...``, whose config has a CSV logger and saves best.ckpt.

    Attributes:
        arguments: The config's file and overrides of it, without ``hydra.run.dir``.
        folder: Hydra's folder of the run.
    """

    host: ClassVar[str] = "NequIP"
    program: ClassVar[str] = "nequip-train"

    _seen: tuple[int, int] | None = field(default=None, repr=False)

    @property
    def command(self) -> list[str]:
        """The command as a user types it; Lightning's profiler tells the time of a step."""
        own = ["+trainer.profiler=simple", f"hydra.run.dir={self.folder}"]
        return [self.program, *self.arguments, *own]

    @property
    def model(self) -> Path:
        """The checkpoint with the lowest validation error."""
        return self.root / self.folder / "best.ckpt"

    @property
    def milliseconds_a_step(self) -> float:
        """Mean time of a training batch by Lightning's profiler, ms; NaN before the end."""
        if not self.output.exists():
            return float("nan")
        text = self.output.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"\|\s*run_training_batch\s*\|\s*([-+.\de]+)\s*\|", text)
        return 1000.0 * float(found[1]) if found else float("nan")

    @property
    def epoch_times(self) -> list[float]:
        """Readings of the clock, seconds, of a config :func:`with_clock`; none without."""
        path = self.root / self.folder / CLOCK_FILE
        return [float(line) for line in path.read_text().split()] if path.exists() else []

    def read_progress(self) -> None:
        """Read the CSV log again if it has grown; NequIP writes it every hundred steps or so."""
        files = sorted((self.root / self.folder).glob("csv/version_*/metrics.csv"))
        if not files:
            return
        state = files[0].stat()
        if self._seen == (state.st_mtime_ns, state.st_size):
            return
        self._seen = (state.st_mtime_ns, state.st_size)
        text = files[0].read_text(encoding="utf-8")
        # the last line may still be in the making, and the file is written anew for a new column
        whole = text[: text.rfind("\n") + 1].splitlines()
        found = [row for row in csv.DictReader(whole) if row.get(VALIDATION)]
        if found:
            self.epoch = max(self.epoch, int(found[-1]["epoch"]))
            self.validation = [float(row[VALIDATION]) for row in found]


def plain_config(config: dict[str, Any]) -> dict[str, Any]:
    """The same training by NequIP's own classes alone: module, data module and loss.

    Args:
        config: A config with a PIWSL training module, ``PiwslLoss`` and, perhaps, a PIWSL data
            module.

    Returns:
        A new config; everything that is not PIWSL's is as it was.

    Raises:
        ValueError: The config has no PIWSL training module.
    """
    plain = copy.deepcopy(config)
    module, data = plain["training_module"], plain["data"]
    if not str(module.get("_target_")).startswith(ADAPTER):
        raise ValueError(
            f"training_module._target_ is {module.get('_target_')}, expected {ADAPTER}..."
        )
    name = module["_target_"].removeprefix(ADAPTER)
    own_names = {"LightningModule": "NequIPLightningModule"}
    module["_target_"] = f"nequip.train.{own_names.get(name, name)}"
    module.pop("piwsl", None)
    module["loss"] = plain_loss(module["loss"])
    if str(data.get("_target_")).startswith(ADAPTER):
        name = data["_target_"].removeprefix(ADAPTER)
        own_names = {"DataModule": "NequIPDataModule"}
        data["_target_"] = f"nequip.data.datamodule.{own_names.get(name, name)}"
        data.pop("piwsl", None)
    return plain


def with_clock(config: dict[str, Any]) -> dict[str, Any]:
    """The same training with a callback that tells when each epoch ended.

    Args:
        config: A config; its run needs ``CLOCK_VARIABLES``.

    Returns:
        A new config.
    """
    timed = copy.deepcopy(config)
    path = f"${{hydra:runtime.output_dir}}/{CLOCK_FILE}"
    timed["trainer"]["callbacks"].append({"_target_": CLOCK, "path": path})
    return timed


def plain_loss(loss: dict[str, Any]) -> dict[str, Any]:
    """NequIP's own loss on the labels that a ``PiwslLoss`` trains on.

    Args:
        loss: The block ``training_module.loss`` of a config.

    Returns:
        The block that takes its place.
    """
    own = {"total_energy": 1.0, **(loss.get("coeffs") or {})}
    labels = {name: own[name] for name in ("total_energy", "forces", "stress") if own.get(name)}
    plain: dict[str, Any] = {"_target_": "nequip.train.EnergyOnlyLoss"}
    if "per_atom_energy" in loss:
        plain["per_atom_energy"] = loss["per_atom_energy"]
    if len(labels) > 1:
        plain["_target_"] = "nequip.train.EnergyForceLoss"
        if "stress" in labels:
            plain["_target_"] = "nequip.train.EnergyForceStressLoss"
        plain["coeffs"] = labels
    return plain


def write_config(config: dict[str, Any], path: Path, comment: str) -> None:
    """Write a config that ``nequip-train`` reads.

    Args:
        config: What it holds.
        path: The file, whose folder is made where needed.
        comment: First line.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
    path.write_text(f"# {comment}\n{text}", encoding="utf-8")


def data_file(name: str, root: Path) -> Path:
    """The file that a config names, a shipped one (``${piwsl_dataset:NAME}``) included.

    Args:
        name: Value of a config.
        root: Folder that relative paths are relative to.
    """
    shipped = re.fullmatch(r"\$\{piwsl_dataset:(.+)\}", name)
    return Path(datasets.path(shipped[1])) if shipped else root / name
