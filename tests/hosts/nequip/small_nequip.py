"""Small NequIP and Allegro models, batches and trainings, made in the process by NequIP itself."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.io
import lightning
import numpy as np
import torch
from hydra.utils import instantiate
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
from nequip.data.datamodule import ASEDataModule
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform

from piwsl_plugins.hosts import nequip as piwsl

Batch = dict[str, torch.Tensor]

TYPES = ("H", "C", "O", "Na", "Cl")
R_MAX = 2.5
UNEQUAL = {"H": 1.5, "C": {"H": 1.75, "O": 2.0}, "Na": {"Cl": 2.25}}
"""Cutoffs of pairs, angstrom, other in one direction (H to C) than in the other; else R_MAX."""
POSITIONS = AtomicDataDict.POSITIONS_KEY

MODELS: dict[str, dict[str, Any]] = {
    "nequip": {
        "_target_": "nequip.model.NequIPGNNModel",
        "num_layers": 2,
        "l_max": 1,
        "parity": False,
        "num_features": 4,
        "radial_mlp_depth": 1,
        "radial_mlp_width": 8,
        "num_bessels": 4,
    },
    "allegro": {
        "_target_": "allegro.model.AllegroModel",
        "l_max": 1,
        "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed"},
        "radial_chemical_embed_dim": 8,
        "scalar_embed_mlp_hidden_layers_width": 8,
        "num_layers": 2,
        "num_scalar_features": 8,
        "num_tensor_features": 2,
        "allegro_mlp_hidden_layers_width": 8,
        "readout_mlp_hidden_layers_width": 8,
    },
}


def model_config(kind: str = "nequip", **changes: Any) -> dict[str, Any]:
    """Config of a small model in double precision."""
    return {
        **MODELS[kind],
        "seed": 1,
        "model_dtype": "float64",
        "type_names": list(TYPES),
        "r_max": R_MAX,
        "avg_num_neighbors": 6.0,
        "per_type_energy_scales": 5.0,
        "per_type_energy_shifts": dict.fromkeys(TYPES, -10.0),
        **changes,
    }


@functools.cache
def shared_model(kind: str, unequal: bool = False) -> Any:
    """One of the models, which no test trains."""
    cutoffs = {"per_edge_type_cutoff": UNEQUAL} if unequal else {}
    return instantiate(model_config(kind, **cutoffs), _recursive_=False, _convert_="all")


def geometries(kind: str) -> list[ase.Atoms]:
    """Two rattled structures, smaller or larger than the cutoff, periodic or not.

    ``molecules`` have no cell, ``boxed`` ones a cell that repeats in no direction; in ``crystals``
    atoms see their own images; ``layers`` are periodic in two directions and in one.
    """
    salt = ase.build.bulk("NaCl", "rocksalt", a=4.4)
    frames = [ase.build.molecule("CH3CH2OH"), ase.build.molecule("CH3COCl")]
    if kind == "crystals":
        frames = [salt, ase.build.bulk("C", "diamond", a=3.6)]
    if kind == "layers":
        salt.pbc = (True, True, False)
        chain = ase.Atoms("CH2", [[0, 0, 0], [0.0, 0.9, 0.7], [0.0, -0.9, 0.7]])
        chain.set_cell([1.7, 0.0, 0.0])
        chain.pbc = (True, False, False)
        frames = [salt, chain]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
        if kind == "boxed":
            atoms.center(vacuum=3.0)
    return frames


KINDS = ("boxed", "crystals", "layers", "molecules")


def formaldehydes(
    count: int = 6, forces: Sequence[int] = (), weak_forces: Sequence[int] = ()
) -> list[ase.Atoms]:
    """Differently rattled molecules, some of them with (weak) forces, made up."""
    frames = [ase.build.molecule("H2CO") for _ in range(count)]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
        if number in weak_forces:
            atoms.arrays["GFN2_forces"] = 0.3 * np.cos(5.0 * atoms.positions)
    return with_forces(frames, forces)


def with_forces(frames: list[ase.Atoms], which: Sequence[int]) -> list[ase.Atoms]:
    """Give some of the structures reference forces, made up."""
    for number in which:
        frames[number].arrays["REF_forces"] = 0.1 * np.sin(7.0 * frames[number].positions)
    return frames


def make_batch(
    frames: Sequence[ase.Atoms], reach: float = R_MAX, unequal: Mapping[str, Any] | None = None
) -> Batch:
    """A batch of structures with NequIP's own neighbour lists up to ``reach`` angstrom."""
    types = ChemicalSpeciesToAtomTypeMapper(list(TYPES))
    pairs = NeighborListTransform(reach, per_edge_type_cutoff=unequal, type_names=list(TYPES))
    items = []
    for atoms in frames:
        data = from_ase(atoms)
        if not atoms.cell.any():
            del data[AtomicDataDict.CELL_KEY]
        items.append(pairs(types(data)))
    return dict(AtomicDataDict.batched_from_list(items))


def fresh_list(batch: Batch, positions: torch.Tensor, reach: float = R_MAX) -> Batch:
    """The structures of a batch at other positions, with neighbour lists of their own."""
    kept = ("cell", "pbc", "batch", "num_atoms", "atom_types", "atomic_numbers")
    bare = {key: value for key, value in batch.items() if key in kept}
    data = compute_neighborlist_(bare | {POSITIONS: positions.detach()}, reach)
    return {**data, POSITIONS: positions}


def write_frames(path: Path, frames: Sequence[ase.Atoms]) -> Path:
    """Write structures with an energy each, eV; forces, if any, are under ``REF_forces``."""
    for number, atoms in enumerate(frames):
        atoms.info.setdefault("REF_energy", -10.0 * len(atoms) + 0.1 * number)
    ase.io.write(path, frames, format="extxyz")
    return path


def data_config(
    train: Path, val: Path | None = None, types: Sequence[str] = TYPES, **changes: Any
) -> dict[str, Any]:
    """Arguments of a data module that reads the files."""
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 2}
    transforms = "nequip.data.transforms."
    return {
        "seed": 1,
        "train_file_path": str(train),
        "val_file_path": str(val or train),
        "labels": {
            "energy": "REF_energy",
            "forces": "REF_forces",
            "weak_forces": "GFN2_forces",
            "allow_unusual_units": True,  # energies are made up
        },
        "transforms": [
            {
                "_target_": f"{transforms}ChemicalSpeciesToAtomTypeMapper",
                "model_type_names": list(types),
            },
            {"_target_": f"{transforms}NeighborListTransform", "r_max": R_MAX},
        ],
        "train_dataloader": {**loader, "shuffle": True},
        "val_dataloader": loader,
        **changes,
    }


IN_ORDER = {"train_dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": 2}}


def data_of(train: Path, val: Path | None = None, **changes: Any) -> Any:
    """A data module of :func:`data_config`."""
    return piwsl.PiwslDataModule(**data_config(train, val, **changes))


def host_data(train: Path, **changes: Any) -> ASEDataModule:
    """NequIP's own data module of the same frames."""
    config = data_config(train, **changes)
    del config["labels"]
    keys = {"REF_energy": "total_energy", "REF_forces": "forces"}
    return ASEDataModule(key_mapping=keys, **config)


def loss_config(*terms: str, **coeffs: float) -> dict[str, Any]:
    """NequIP's loss with PIWSL terms."""
    return {
        "_target_": "piwsl_plugins.hosts.nequip.PiwslLoss",
        "terms": list(terms),
        "coeffs": {"total_energy": 1.0, **coeffs},
    }


PLAIN_LOSS = {"_target_": "nequip.train.EnergyOnlyLoss"}
BOTH = loss_config("taylor", "conservative")


def module_config(
    settings: Mapping[str, Any] | None = None,
    *,
    loss: Mapping[str, Any] = BOTH,
    learning_rate: float = 0.0,
    metrics: str = "EnergyOnlyMetrics",
    **changes: Any,
) -> dict[str, Any]:
    """Arguments of a training module, those of a PIWSL one if there are settings."""
    coeffs = {"per_atom_energy_rmse": 1.0}
    if metrics == "EnergyForceMetrics":
        coeffs["forces_rmse"] = 1.0
    config: dict[str, Any] = {
        "model": model_config(),
        "num_datasets": {"train": 1, "val": 1, "test": 0, "predict": 0},
        "loss": loss,
        "val_metrics": {"_target_": f"nequip.train.{metrics}", "coeffs": coeffs},
        "optimizer": {"_target_": "torch.optim.SGD", "lr": learning_rate},
        **changes,
    }
    # through JSON, so that nothing is shared with another training
    return json.loads(json.dumps(config | ({} if settings is None else {"piwsl": dict(settings)})))  # type: ignore[no-any-return]


def module(settings: Mapping[str, Any] | None = None, *, name: str = "", **kwargs: Any) -> Any:
    """One of the PIWSL training modules, built of :func:`module_config`."""
    return getattr(piwsl, f"Piwsl{name}LightningModule")(**module_config(settings or {}, **kwargs))


class History(lightning.Callback):
    """Writes down what is logged, which frames were seen, and how far neighbour lists reach."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.epoch: dict[str, float] = {}
        self.positions: list[torch.Tensor] = []

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        parts = {
            part: getattr(trainer.datamodule, f"{part}_dataset")[0] for part in ("train", "val")
        }
        self.reach = {part: data.transforms[-1].r_max for part, data in parts.items()}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, *_: Any) -> None:
        self.positions.append(batch[POSITIONS].detach().clone())

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        prefix, logged = "train_loss_step/", trainer.logged_metrics
        row = {n.removeprefix(prefix): float(v) for n, v in logged.items() if n.startswith(prefix)}
        self.steps.append(row)

    def on_train_end(self, trainer: Any, *_: Any) -> None:
        self.epoch = {name: float(value) for name, value in trainer.logged_metrics.items()}


def fit(training: Any, data: Any, *callbacks: Any, epochs: int = 1, **options: Any) -> History:
    """Train with a real Lightning trainer, as nequip-train does; what it logged."""
    history = History()
    defaults = {
        "accelerator": "cpu",
        "max_epochs": epochs,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "inference_mode": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    trainer = lightning.Trainer(**defaults | options, callbacks=[*callbacks, history])
    training.world_size = trainer.world_size
    trainer.fit(training, datamodule=data)
    return history
