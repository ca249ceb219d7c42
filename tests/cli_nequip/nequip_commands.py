"""Runs NequIP's real commands, each in a folder of its own, and reads what they leave."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from forks import forks
from processes import PYTHON, digest, execute

NEQUIP_TRAIN = (str(Path(PYTHON).with_name("nequip-train")),)
NEQUIP_PACKAGE = (str(Path(PYTHON).with_name("nequip-package")),)
NEQUIP_COMPILE = (str(Path(PYTHON).with_name("nequip-compile")),)
MODULE = ("-m", "nequip.scripts.train")
SHIPPED = Path(__file__).resolve().parents[2] / "configs" / "piwsl_nequip.yaml"
STEP, EPOCH = "train_loss_step/", "train_loss_epoch/"

TINY: dict[str, Any] = {
    "run": "[train]",
    "hydra.run.dir": "out",
    "trainer.accelerator": "cpu",
    "trainer.max_epochs": 2,
    "trainer.log_every_n_steps": 1,
    "trainer.enable_progress_bar": False,
    "training_module.model.model_dtype": "float64",
    "training_module.model.num_features": 4,
    "training_module.model.radial_mlp_width": 8,
    "training_module.model.num_bessels": 4,
}
"""Overrides of the smallest training that still has two layers."""

PLAIN_SCALES = {"per_type_energy_shifts": "${atomic_energies}", "per_type_energy_scales": 1.0}
"""What the model is scaled by where the statistics are NequIP's own."""


@dataclass(frozen=True)
class Trained:
    """A training command that has ended, and the folder that it wrote into."""

    output: Path
    status: int
    stdout: str
    stderr: str

    def rows(self, name: str = "") -> list[dict[str, float]]:
        """The rows of Lightning's CSV files that have a value of that name."""
        rows = []
        for path in sorted(self.output.glob("csv/version_*/metrics.csv")):
            with path.open(encoding="utf-8", newline="") as file:
                rows += list(csv.DictReader(file))
        known = [{key: float(value) for key, value in row.items() if value} for row in rows]
        return [row for row in known if not name or name in row]

    def steps(self) -> list[dict[str, float]]:
        """What was logged after each optimiser step."""
        return self.rows(f"{STEP}weighted_sum")

    @property
    def last(self) -> dict[str, Any]:
        """The last checkpoint."""
        saved: dict[str, Any] = torch.load(self.output / "last.ckpt", weights_only=False)
        return saved


def start_training(
    folder: Path,
    options: Mapping[str, Any] | None = None,
    *,
    program: Sequence[str] | None = None,
    config: Path | None = SHIPPED,
) -> Trained:
    """Run a training command in ``folder``, whatever its end.

    A program that is named, which may have the config, starts as users start it; otherwise it is
    `nequip-train` in a fork. Options that begin with ~ are taken away, and None is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = {**TINY, **(options or {})}
    words = [n if n[0] == "~" else f"{n}={v}" for n, v in given.items() if v is not None]
    if program is None:
        assert config is not None
        form = ["-cp", str(config.parent), "-cn", config.stem]
        done = forks("nequip.scripts.train").execute([*NEQUIP_TRAIN, *form, *words], folder)
    else:
        first = [] if config is None else [str(config)]
        done = execute([*program, *first, *words], folder)
    return Trained(folder / "out", done.returncode, done.stdout, done.stderr)


def train(folder: Path, options: Mapping[str, Any] | None = None, **how: Any) -> Trained:
    """Run a training command that must end well."""
    run = start_training(folder, options, **how)
    assert run.status == 0, f"{run.stdout}\n{run.stderr}"
    return run


def plain_config(folder: Path, data: Mapping[str, Any]) -> Path:
    """The shipped config as it is without the losses: NequIP's own classes alone."""
    config = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    training = config["training_module"]
    training["_target_"] = "nequip.train.EMALightningModule"
    training["loss"] = {"_target_": "nequip.train.EnergyOnlyLoss"}
    training["model"].update(PLAIN_SCALES)
    del training["piwsl"], training["test_metrics"], config["data"]["labels"]
    config["data"]["_target_"] = "nequip.data.datamodule.ASEDataModule"
    config["data"]["key_mapping"] = {"REF_energy": "total_energy"}
    config["data"]["stats_manager"] = {
        "_target_": "nequip.data.EnergyOnlyDataStatisticsManager",
        "type_names": "${type_names}",
    }
    del config["data"]["test_file_path"], config["data"]["test_dataloader"]
    config["data"]["split_dataset"]["file_path"] = str(data["data.split_dataset.file_path"])
    path = folder / "plain.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def fingerprint(run: Trained) -> str:
    """Digest of the last checkpoint: weights, their running means, the optimiser's moments."""
    saved = run.last
    return digest(
        {name: saved[name] for name in ("state_dict", "optimizer_states", "lr_schedulers")}
    )
