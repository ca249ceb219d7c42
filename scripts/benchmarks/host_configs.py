"""What each host is told: a config for either, of one run of the benchmark or of plain training."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ase.data import atomic_numbers
from host_runs import CLOCK, CLOCK_FILE
from methods import Method
from subsets import Subset

MACE_OWN = ("name", "work_dir", "train_file", "valid_file", "valid_fraction", "test_file", "loss")
"""Flags of a MACE config that the benchmark sets itself."""
MACE_LOSSES = {
    (): "piwsl_supervised",
    ("taylor",): "piwsl_taylor",
    ("conservative",): "piwsl_conservative",
    ("taylor", "conservative"): "piwsl",
    ("curvature",): "piwsl_curvature",
    ("teacher",): "piwsl_teacher",
}
MACE_DECAY = 0.02
"""Factor by which MACE's learning rate falls over a run."""
LABELS = {"energy": "REF_energy", "forces": "REF_forces"}
ADAPTER = "piwsl_plugins.hosts.nequip.Piwsl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all runs of a benchmark share.

    Attributes:
        mace: flags of mace_run_train, before the benchmark's own.
        nequip: config of nequip-train with a PIWSL training module, before the benchmark's own.
        free_atoms: energies of the free atoms by element, eV.
        force_weight: weight of the forces (squared error of a component, (eV/angstrom)^2) per
            weight of the energies (squared error per atom, eV^2).
        batch_size: structures a step; fewer where there are fewer training frames.
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
            host: mace or nequip.
            method: what distinguishes the run.
            subset: its frames.
            seed: of initial weights and order of the data.
            epochs: length of the run and of its learning-rate schedule.
        """
        make = _mace if host == "mace" else _nequip
        return make(self, method, subset, seed, epochs)


def _mace(setup: Setup, method: Method, subset: Subset, seed: int, epochs: int) -> dict[str, Any]:
    weight = float(setup.mace.get("energy_weight", 1.0))
    energies = {atomic_numbers[name]: energy for name, energy in setup.free_atoms.items()}
    config = {
        key: value
        for key, value in setup.mace.items()
        if key not in MACE_OWN and not key.startswith("piwsl_")
    }
    config |= {
        "train_file": subset.train,
        "valid_file": subset.valid,
        "E0s": str(energies),
        **{f"{label}_key": key for label, key in LABELS.items()},
        "default_dtype": setup.dtype,
        "batch_size": min(setup.batch_size, subset.n_train),
        "valid_batch_size": 50,
        "max_num_epochs": epochs,
        "lr_scheduler_gamma": round(MACE_DECAY ** (1.0 / max(epochs, 1)), 8),
        "energy_weight": weight,
        "forces_weight": weight * setup.force_weight,  # it acts on labelled frames alone
        "error_table": "TotalRMSE",
        "seed": seed,
        "device": setup.device,
        "plot": False,
        "loss": "weighted",
    }
    if method.terms or method.cheap:
        terms = tuple(term for term in method.terms if term != "weak_forces")
        if terms not in MACE_LOSSES:
            raise ValueError(
                f"{method.name}: MACE has no loss with the terms {', '.join(terms)}; expected one "
                f"of {'; '.join(', '.join(known) for known in MACE_LOSSES)}"
            )
        config["loss"] = MACE_LOSSES[terms]
        for name, value in method.piwsl.items():
            config[f"piwsl_{name}"] = weight * value if name.endswith("_weight") else value
        config |= {f"piwsl_{label}_key": key for label, key in method.cheap.items()}
    return config | method.mace


def _nequip(setup: Setup, method: Method, subset: Subset, seed: int, epochs: int) -> dict[str, Any]:
    config = copy.deepcopy(setup.nequip)
    names = list(setup.free_atoms)
    config |= {"run": ["train"], "type_names": names, "atomic_energies": dict(setup.free_atoms)}
    data, trainer, module = config["data"], config["trainer"], config["training_module"]
    data["seed"] = module["model"]["seed"] = seed
    for key in ("split_dataset", "test_file_path", "test_dataloader"):
        data.pop(key, None)
    data |= {"train_file_path": subset.train, "val_file_path": subset.valid}
    data["labels"] = LABELS | dict(method.cheap)
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
    weight = setup.force_weight
    if subset.valid_forces:
        picks = {"per_atom_energy_rmse": 1.0, "forces_rmse": math.sqrt(weight)}
        module["val_metrics"] = {
            "_target_": "nequip.train.EnergyForceMetrics",
            "coeffs": picks | {"total_energy_rmse": None},
        }
    coeffs = {"total_energy": 1.0} | ({"forces": weight} if subset.n_forces else {})
    module["loss"] |= {"terms": list(method.terms), "coeffs": coeffs}
    module["piwsl"] = dict(method.piwsl)
    if "teacher" in method.terms:
        data["teacher"] = {}
    # NequIP's own losses know no frames without forces beside those that have them
    if not (method.terms or method.cheap or 0 < subset.n_forces < subset.n_train):
        config = plain_nequip(config)
    for path, value in method.nequip.items():
        put(config, path, value)
    clock = {"_target_": CLOCK, "path": f"${{hydra:runtime.output_dir}}/{CLOCK_FILE}"}
    config["trainer"]["callbacks"].append(clock)
    return config


def plain_nequip(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same training by NequIP's own classes alone: module, data module and loss.

    Args:
        config: of a run with a PIWSL module, data module and ``PiwslLoss``, read from YAML.

    Returns:
        A new config; everything that is not PIWSL's is as it was.

    Raises:
        ValueError: the config has no PIWSL training module.
    """
    plain = copy.deepcopy(dict(config))
    module, data = plain["training_module"], plain["data"]
    target = str(module["_target_"])
    if not target.startswith(ADAPTER):
        raise ValueError(f"training_module._target_ is {target}, expected {ADAPTER}...")
    name = target.removeprefix(ADAPTER)
    own = {"LightningModule": "NequIPLightningModule"}
    module["_target_"] = f"nequip.train.{own.get(name, name)}"
    module.pop("piwsl", None)
    coeffs = {"total_energy": 1.0} | (module["loss"].get("coeffs") or {})
    kept = {name: coeffs[name] for name in ("total_energy", "forces", "stress") if coeffs.get(name)}
    kinds = {1: "EnergyOnlyLoss", 2: "EnergyForceLoss", 3: "EnergyForceStressLoss"}
    module["loss"] = {"_target_": f"nequip.train.{kinds[len(kept)]}"}
    if len(kept) > 1:
        module["loss"]["coeffs"] = kept
    data["_target_"] = "nequip.data.datamodule.ASEDataModule"
    data.pop("piwsl", None)
    data.pop("teacher", None)
    fields = {"energy": "total_energy", "forces": "forces", "stress": "stress"}
    labels = data.pop("labels", {})
    data["key_mapping"] = {key: fields[label] for label, key in labels.items() if label in fields}
    return plain


def put(config: dict[str, Any], path: str, value: object) -> None:
    """Set a key of a nested mapping by its dotted path.

    Raises:
        ValueError: a mapping on the way is not there.
    """
    *way, last = path.split(".")
    place: Any = config
    for key in way:
        place = place.get(key) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise ValueError(f"{path}: NequIP's config has no block {'.'.join(way)}")
    place[last] = value


def read_config(path: Path) -> dict[str, Any]:
    """Read a YAML file of keys and values.

    Raises:
        ValueError: there is no such file, or it is no mapping.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content
