"""What each host is told for one run of the accuracy benchmark: a config file for either."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ase.data import atomic_numbers
from benchmark_data import Subset
from benchmark_methods import WEIGHTS, Method
from benchmark_weak import LOW_ENERGY
from nequip_runs import plain_config, with_clock

from piwsl_plugins.hosts.mace.flags import LOSSES
from piwsl_plugins.settings import WEAK_FORCES

#: Flags of a MACE config that the benchmark sets itself.
MACE_OWN = ("name", "work_dir", "train_file", "valid_file", "valid_fraction", "test_file", "loss")
MACE_LOSSES = {terms: name for name, terms in LOSSES.items()}
#: Factor by which MACE's learning rate falls over a run.
MACE_DECAY = 0.02
MASKED_MSE = "piwsl_plugins.hosts.nequip.loss.MaskedMeanSquaredError"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all runs of a benchmark share.

    Attributes:
        mace: Flags of mace_run_train, before the benchmark's own.
        nequip: Config of nequip-train with a PIWSL training module, before the benchmark's own.
        free_atoms: Energies of the free atoms by element, eV.
        force_weight: Weight of the forces (squared error of a component, (eV/angstrom)^2) per
            weight of the energies (squared error per atom, eV^2).
        batch_size: Structures a step; fewer where there are fewer training frames.
        device: cpu or cuda.
        dtype: float32 or float64.
    """

    mace: dict[str, Any]
    nequip: dict[str, Any]
    free_atoms: dict[str, float]
    force_weight: float
    batch_size: int
    device: str
    dtype: str

    def config(
        self, host: str, method: Method, subset: Subset, seed: int, epochs: int
    ) -> dict[str, Any]:
        """The config of one run; file names in it are relative to the benchmark's folder.

        Args:
            host: ``mace`` or ``nequip``.
            method: What distinguishes the run.
            subset: Its frames.
            seed: Of initial weights and order of the data.
            epochs: Length of the run and of its learning-rate schedule.
        """
        return (_mace if host == "mace" else _nequip)(self, method, subset, seed, epochs)

    def steps_an_epoch(self, host: str, subset: Subset) -> int:
        """Optimiser steps; MACE leaves out an incomplete last batch."""
        batches = subset.n_train / min(self.batch_size, subset.n_train)
        return math.floor(batches) if host == "mace" else math.ceil(batches)

    def weight_of_forces(self, method: Method) -> float:
        """Weight of the forces per weight of the energies."""
        return self.force_weight if method.force_weight is None else method.force_weight


def _mace(setup: Setup, method: Method, subset: Subset, seed: int, epochs: int) -> dict[str, Any]:
    energy_weight = float(setup.mace.get("energy_weight", 1.0))
    free_atoms = setup.free_atoms if subset.difference is None else subset.difference["energies"]
    energies = {atomic_numbers[name]: energy for name, energy in free_atoms.items()}
    config = {
        key: value
        for key, value in setup.mace.items()
        if key not in MACE_OWN and not key.startswith("piwsl_")
    }
    config |= {
        "train_file": subset.train,
        "valid_file": subset.valid,
        "E0s": str(energies),
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        "default_dtype": setup.dtype,
        "batch_size": min(setup.batch_size, subset.n_train),
        "valid_batch_size": 50,
        "max_num_epochs": epochs,
        "lr_scheduler_gamma": round(MACE_DECAY ** (1.0 / max(epochs, 1)), 8),
        "energy_weight": energy_weight,
        # it acts on labelled frames alone
        "forces_weight": energy_weight * setup.weight_of_forces(method),
        "error_table": "TotalRMSE",
        "seed": seed,
        "device": setup.device,
        "plot": False,
        "loss": "weighted",
    }
    if method.terms or method.weak_forces or method.difference:
        if method.terms not in MACE_LOSSES:
            raise ValueError(
                f"{method.name}: MACE has no loss with the terms {', '.join(method.terms)}; "
                "expected one of " + "; ".join(", ".join(terms) for terms in MACE_LOSSES)
            )
        config["loss"] = MACE_LOSSES[method.terms]
        steps = epochs * setup.steps_an_epoch("mace", subset)
        for name, value in method.settings(steps).items():
            config[f"piwsl_{name}"] = energy_weight * value if name in WEIGHTS else value
        if method.weak_forces:
            config["piwsl_weak_forces_key"] = WEAK_FORCES
        if method.difference:
            config["piwsl_low_energy_key"] = LOW_ENERGY
    return config | dict(method.mace)


def _nequip(setup: Setup, method: Method, subset: Subset, seed: int, epochs: int) -> dict[str, Any]:
    config = copy.deepcopy(setup.nequip)
    names = list(setup.free_atoms)
    config |= {"run": ["train"], "type_names": names, "atomic_energies": dict(setup.free_atoms)}
    data, trainer, module = config["data"], config["trainer"], config["training_module"]
    data["seed"] = module["model"]["seed"] = seed
    for key in ("split_dataset", "test_file_path", "test_dataloader"):
        data.pop(key, None)
    data |= {"train_file_path": subset.train, "val_file_path": subset.valid}
    data["key_mapping"] = {"REF_energy": "total_energy", "REF_forces": "forces"}
    data["train_dataloader"]["batch_size"] = min(setup.batch_size, subset.n_train)
    data["val_dataloader"]["batch_size"] = 50
    trainer |= {
        "accelerator": "cpu" if setup.device == "cpu" else "gpu",
        "max_epochs": epochs,
        "enable_progress_bar": False,
    }
    module["model"]["model_dtype"] = setup.dtype
    module.pop("test_metrics", None)
    trainer["callbacks"] = [c for c in trainer["callbacks"] if c.get("filename") != "last"]
    trainer["logger"] = [log for log in trainer["logger"] if log["_target_"].endswith("CSVLogger")]
    weight = setup.weight_of_forces(method)
    coeffs = {"total_energy": 1.0} | ({"forces": weight} if subset.n_forces else {})
    if subset.valid_forces:
        picks = {"per_atom_energy_rmse": 1.0, "forces_rmse": math.sqrt(weight)}
        module["val_metrics"] = {
            "_target_": "nequip.train.EnergyForceMetrics",
            "coeffs": picks | {"total_energy_rmse": None},
        }
    module["piwsl"] = method.settings(epochs * setup.steps_an_epoch("nequip", subset))
    module["loss"] |= {"terms": list(method.terms), "coeffs": coeffs}
    if method.weak_forces:
        module["loss"]["terms"].append(WEAK_FORCES)
        data["key_mapping"][WEAK_FORCES] = WEAK_FORCES
        data["piwsl"] = data["piwsl"] if method.terms else False  # a skin where atoms are displaced
    elif not method.terms:
        config = plain_config(config)
        if 0 < subset.n_forces < subset.n_train:
            config["training_module"]["loss"] = masked_loss(coeffs)
    if method.difference:
        _learn_difference(config, bool(method.terms), subset.difference)
    for path, value in method.nequip.items():
        put(config, path, value)
    return with_clock(config)


def _learn_difference(config: dict[str, Any], ours: bool, found: Mapping[str, Any] | None) -> None:
    """Let NequIP learn energies less the cheap method's; ``found`` says what it begins with."""
    data = config["data"]
    data["_target_"] = "piwsl_plugins.hosts.nequip.PiwslFilesDataModule"
    data["piwsl"] = "${training_module.piwsl}" if ours else False
    data["labels"] = {"energy": "REF_energy", "low_energy": LOW_ENERGY}
    del data["key_mapping"]
    if found is not None:
        config["type_names"] = list(found["energies"])
        config["atomic_energies"] = dict(found["energies"])
        config["training_module"]["model"]["per_type_energy_scales"] = found["scale"]
    else:  # left to piwsl weak train
        del config["training_module"]["model"]["per_type_energy_scales"]


def masked_loss(coeffs: dict[str, float]) -> dict[str, Any]:
    """NequIP's loss on energies and forces where frames may lack forces (NaN).

    NequIP's own factories with ``ignore_nan`` are NaN in a batch without any forces.

    Args:
        coeffs: Weights of ``total_energy`` (per atom) and ``forces``.

    Returns:
        The block ``training_module.loss``.
    """
    per_atom = {"_target_": "nequip.data.PerAtomModifier", "field": "total_energy"}
    fields = {"total_energy": ("per_atom_energy_mse", per_atom), "forces": ("forces_mse", "forces")}
    return {
        "_target_": "nequip.train.MetricsManager",
        "metrics": [
            {
                "name": fields[label][0],
                "field": fields[label][1],
                "coeff": weight,
                "metric": {"_target_": MASKED_MSE},
            }
            for label, weight in coeffs.items()
        ],
    }


def put(config: dict[str, Any], path: str, value: object) -> None:
    """Set a key of a nested mapping by its dotted path.

    Raises:
        ValueError: A mapping on the way is not there.
    """
    *way, last = path.split(".")
    place: Any = config
    for key in way:
        place = place.get(key) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise ValueError(f"{path}: NequIP's config has no block {'.'.join(way)}")
    place[last] = value


def read_config(path: Path) -> dict[str, Any]:
    """Read a host's config.

    Raises:
        ValueError: There is no such file, or it is no mapping.
    """
    if not path.is_file():
        raise ValueError(f"there is no config {path}")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content
