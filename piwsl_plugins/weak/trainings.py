"""What a host is told of a training: its own config, to which files, labels and seed are added."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

from piwsl_plugins.fields import unknown_name

PLAIN, DELTA, STUDENT = "plain", "delta", "student"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training.

    Attributes:
        kind: plain, delta or student.
        train: Training file, relative to where the host is started, or absolute.
        valid: Validation file.
        energy: Key of the energies in both.
        forces: Key of the forces, or None for energies alone.
        stress: Key of the stress, or None.
        low_energy: Key of the cheap method's energies, which are subtracted, or None.
        low_forces: Key of its forces, or None.
        atomic_energies: Energies that the model begins with, by element, eV.
        scale: About how large energies, less those, are beside plain training's: the ratio of
            their spreads.
        seed: Of initial weights and order of the data.
        device: cpu or cuda.
        allow_unusual_units: Whether the files may look as if they were in other units.
        differs: What the user wants otherwise than ``base``.
    """

    kind: str
    train: Path
    valid: Path
    energy: str
    forces: str | None = None
    stress: str | None = None
    low_energy: str | None = None
    low_forces: str | None = None
    atomic_energies: Mapping[str, float]
    scale: float = 1.0
    seed: int = 1
    device: str = "cpu"
    allow_unusual_units: bool = False
    differs: Mapping[str, Any] = field(default_factory=dict)


MACE_OWN = (
    *("name", "work_dir", "train_file", "valid_file", "valid_fraction", "test_file", "E0s"),
    *("energy_key", "forces_key", "stress_key", "seed", "device", "restart_latest"),
    *("piwsl_low_energy_key", "piwsl_low_forces_key", "piwsl_weak_forces_key"),
)
"""Flags that are not the user's here."""
OURS, UNUSUAL = "piwsl_plugins.", "allow_unusual_units"
NEQUIP_OWN = ("run", "hydra", "type_names", "atomic_energies")
NEQUIP_BLOCKS = ("cutoff_radius", "data", "trainer", "training_module", "global_options")
NEQUIP_OWN_DATA = (
    *("_target_", "piwsl", "seed", "train_file_path", "val_file_path", "test_file_path"),
    *("split_dataset", "key_mapping", "labels", "stats_manager"),
)


def mace_flags(base: Mapping[str, Any], training: Training) -> dict[str, Any]:
    """Flags of ``mace_run_train``, as a file for its ``--config``.

    Args:
        base: The user's flags.
        training: What is trained.

    Raises:
        ValueError: The user gave a flag that is said here.
    """
    for block, content in (("training", base), (training.kind, training.differs)):
        taken = [name for name in content if name in MACE_OWN]
        if taken:
            raise ValueError(f"{block}.{taken[0]}: piwsl weak train says this itself; leave it out")
    energies = {atomic_numbers[name]: e for name, e in training.atomic_energies.items()}
    flags: dict[str, Any] = {
        "model": "ScaleShiftMACE",
        "loss": "piwsl_supervised" if training.kind == DELTA else "weighted",
        # MACE's default takes the root mean square of the forces
        "scaling": "rms_forces_scaling" if training.forces else "std_scaling",
        "error_table": "TotalRMSE",
        "plot": False,
        "pin_memory": False,
    }
    flags |= {**base, **training.differs}
    flags |= {
        "train_file": str(training.train),
        "valid_file": str(training.valid),
        "E0s": str(energies),
        "energy_key": training.energy,
        "forces_key": training.forces or "no_forces",
        "seed": training.seed,
        "device": training.device,
        "restart_latest": True,  # goes on after a kill; nothing where there is no checkpoint
    }
    optional = {
        "stress_key": training.stress,
        "piwsl_low_energy_key": training.low_energy,
        "piwsl_low_forces_key": training.low_forces,
    }
    if training.allow_unusual_units and str(flags["loss"]).startswith("piwsl"):
        flags["piwsl_allow_unusual_units"] = True
    return flags | {name: key for name, key in optional.items() if key is not None}


def nequip_config(base: Mapping[str, Any], training: Training) -> dict[str, Any]:
    """Config of ``nequip-train``.

    Args:
        base: The user's config, of which only what differs from ours need be there.
        training: What is trained.

    Raises:
        ValueError: The user gave a key that is said here, or no cutoff radius.
    """
    for block, content in (("training", base), (training.kind, training.differs)):
        taken = [name for name in NEQUIP_OWN if name in content]
        taken += [f"data.{name}" for name in NEQUIP_OWN_DATA if name in content.get("data", {})]
        if taken:
            raise ValueError(f"{block}.{taken[0]}: piwsl weak train says this itself; leave it out")
    for block, content in (("training", base), (training.kind, training.differs)):
        for name in content:  # of others an interpolation may be made
            if name not in NEQUIP_BLOCKS and get_close_matches(name, NEQUIP_BLOCKS, cutoff=0.8):
                raise ValueError(f"{block}: {unknown_name(name, NEQUIP_BLOCKS)}")
    user = merged(dict(base), training.differs)
    if "cutoff_radius" not in user:
        raise ValueError("training.cutoff_radius: this key is needed and was not given (angstrom)")
    config = merged(_nequip_defaults(training), user)
    ours = str(config["training_module"]["_target_"]).startswith(OURS)
    return merged(config, _nequip_own(training, ours))


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested mappings, the second before the first; a block with another target replaces."""
    found = copy.deepcopy(dict(below))
    for key, value in above.items():
        found[key] = copy.deepcopy(value)
        old = below.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            target = old.get("_target_")
            if target is None or value.get("_target_", target) == target:
                found[key] = merged(old, value)
    return found


def _nequip_defaults(training: Training) -> dict[str, Any]:
    """What the user may have otherwise."""
    loader = "torch.utils.data.DataLoader"
    checkpoint = "lightning.pytorch.callbacks.ModelCheckpoint"
    here = "${hydra:runtime.output_dir}"
    best = {
        "_target_": checkpoint,
        "dirpath": here,
        "filename": "best",
        "monitor": "val0_epoch/weighted_sum",
    }
    last = {
        "_target_": checkpoint,
        "dirpath": here,
        "filename": "last",
        "enable_version_counter": False,
    }
    transforms = "nequip.data.transforms"
    return {
        "data": {
            "transforms": [
                {
                    "_target_": f"{transforms}.ChemicalSpeciesToAtomTypeMapper",
                    "model_type_names": "${type_names}",
                },
                # without a cell, nequip-compile's check would find a stress that is no number
                {
                    "_target_": f"{transforms}.NonPeriodicCellTransform",
                    "override_cell": True,
                },
                {
                    "_target_": f"{transforms}.NeighborListTransform",
                    "r_max": "${cutoff_radius}",
                },
            ],
            "train_dataloader": {"_target_": loader, "batch_size": 5, "shuffle": True},
            "val_dataloader": {"_target_": loader, "batch_size": 50},
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu" if training.device == "cpu" else "gpu",
            "devices": 1,
            "enable_progress_bar": False,
            "callbacks": [best, last],
            "logger": [
                {
                    "_target_": "lightning.pytorch.loggers.CSVLogger",
                    "save_dir": here,
                    "name": "csv",
                }
            ],
        },
        "training_module": _nequip_module(training),
    }


def _nequip_module(training: Training) -> dict[str, Any]:
    """Loss, validation and scales; by NequIP's own classes."""
    module: dict[str, Any] = {
        "_target_": "nequip.train.EMALightningModule",
        "ema_decay": 0.99,
        "loss": {"_target_": "nequip.train.EnergyOnlyLoss"},
        "val_metrics": {
            "_target_": "nequip.train.EnergyOnlyMetrics",
            "coeffs": {"total_energy_rmse": 1.0, "total_energy_mae": None},
        },
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
        "lr_scheduler": {
            "scheduler": {
                "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
                "T_max": "${trainer.max_epochs}",
            },
            "interval": "epoch",
            "frequency": 1,
        },
        "model": {
            "_target_": "nequip.model.NequIPGNNModel",
            "type_names": "${type_names}",
            "r_max": "${cutoff_radius}",
            "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
            "per_type_energy_shifts": "${training_data_stats:per_type_energy_shifts}",
            # without forces, about their root mean square, 1 eV/angstrom for molecules and solids
            "per_type_energy_scales": training.scale,
        },
    }
    if training.forces is not None:
        module["loss"] = {
            "_target_": "nequip.train.EnergyForceLoss",
            "coeffs": {"total_energy": 1.0, "forces": 1.0},
        }
        module["val_metrics"] = {
            "_target_": "nequip.train.EnergyForceMetrics",
            "coeffs": {"per_atom_energy_rmse": 1.0, "forces_rmse": 1.0, "total_energy_rmse": None},
        }
        module["model"]["per_type_energy_scales"] = "${training_data_stats:forces_rms}"
    return module


def _nequip_own(training: Training, ours: bool) -> dict[str, Any]:
    """What the user may not have otherwise; whether the training module is one of ours."""
    names = list(training.atomic_energies)
    data: dict[str, Any] = {
        "seed": training.seed,
        "train_file_path": str(training.train),
        "val_file_path": str(training.valid),
        "stats_manager": {
            "_target_": "piwsl_plugins.hosts.nequip.EnergyStatisticsManager",
            "type_names": "${type_names}",
            "atomic_energies": "${atomic_energies}",
            "forces": training.forces is not None,
            "dataloader_kwargs": {"batch_size": 20},
        },
    }
    keys = {
        "energy": training.energy,
        "forces": training.forces,
        "stress": training.stress,
        "low_energy": training.low_energy,
        "low_forces": training.low_forces,
    }
    given = {name: key for name, key in keys.items() if key is not None}
    if ours or training.low_energy is not None:
        data["_target_"] = "piwsl_plugins.hosts.nequip.PiwslFilesDataModule"
        data["piwsl"] = "${training_module.piwsl}" if ours else False
        data["labels"] = given | ({UNUSUAL: True} if training.allow_unusual_units else {})
    else:  # NequIP's own
        data["_target_"] = "nequip.data.datamodule.ASEDataModule"
        fields = {"energy": "total_energy"}
        data["key_mapping"] = {key: fields.get(name, name) for name, key in given.items()}
    return {
        "run": ["train"],
        "type_names": names,
        "atomic_energies": dict(training.atomic_energies),
        "data": data,
        "training_module": {"model": {"seed": training.seed}},
    }
