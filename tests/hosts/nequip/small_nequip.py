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
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform

from piwsl_plugins.hosts import nequip as piwsl

Batch = dict[str, torch.Tensor]

TYPES = ("H", "C", "O", "Na", "Cl")
R_MAX = 2.5
UNEQUAL = {"H": 1.5, "C": {"H": 1.75, "O": 2.0}, "Na": {"Cl": 2.25}}
"""Cutoffs of pairs, angstrom, other in one direction (H to C) than in the other; else R_MAX."""
POSITIONS = AtomicDataDict.POSITIONS_KEY

NEQUIP: dict[str, Any] = {
    "_target_": "nequip.model.NequIPGNNModel",
    "num_layers": 2,
    "l_max": 1,
    "parity": False,
    "num_features": 4,
    "radial_mlp_depth": 1,
    "radial_mlp_width": 8,
    "num_bessels": 4,
}
ALLEGRO: dict[str, Any] = {
    "_target_": "allegro.model.AllegroModel",
    "l_max": 1,
    "radial_chemical_embed": {
        "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
        "num_bessels": 4,
    },
    "radial_chemical_embed_dim": 8,
    "scalar_embed_mlp_hidden_layers_width": 8,
    "num_layers": 2,
    "num_scalar_features": 8,
    "num_tensor_features": 2,
    "allegro_mlp_hidden_layers_width": 8,
    "readout_mlp_hidden_layers_width": 8,
}
MODELS = {"nequip": NEQUIP, "allegro": ALLEGRO}


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
    from hydra.utils import instantiate

    cutoffs = {"per_edge_type_cutoff": UNEQUAL} if unequal else {}
    return instantiate(model_config(kind, **cutoffs), _recursive_=False, _convert_="all")


def molecules() -> list[ase.Atoms]:
    """Two molecules without a cell, rattled; both are longer than the cutoff and the skin."""
    return _rattled(ase.build.molecule("CH3CH2OH"), ase.build.molecule("CH3COCl"))


def crystals() -> list[ase.Atoms]:
    """Two small cells in which atoms see many of their own images."""
    return _rattled(
        ase.build.bulk("NaCl", "rocksalt", a=4.4), ase.build.bulk("C", "diamond", a=3.6)
    )


def layers() -> list[ase.Atoms]:
    """A layer and a chain: periodic in two directions and in one, and empty in the others."""
    layer = ase.build.bulk("NaCl", "rocksalt", a=4.4)
    layer.pbc = (True, True, False)
    chain = ase.Atoms("CH2", [[0, 0, 0], [0.0, 0.9, 0.7], [0.0, -0.9, 0.7]])
    chain.set_cell([1.7, 0.0, 0.0])
    chain.pbc = (True, False, False)
    return _rattled(layer, chain)


def boxed() -> list[ase.Atoms]:
    """Molecules in a cell that repeats in no direction."""
    frames = molecules()
    for atoms in frames:
        atoms.center(vacuum=3.0)
    return frames


FRAMES = {"molecules": molecules, "crystals": crystals, "layers": layers, "boxed": boxed}


def _rattled(*frames: ase.Atoms) -> list[ase.Atoms]:
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
    return list(frames)


def make_batch(
    frames: Sequence[ase.Atoms],
    reach: float = R_MAX,
    unequal: Mapping[str, Any] | None = None,
) -> Batch:
    """A batch of structures with NequIP's own neighbour lists up to ``reach`` angstrom."""
    transforms = [
        ChemicalSpeciesToAtomTypeMapper(list(TYPES)),
        NeighborListTransform(reach, per_edge_type_cutoff=unequal, type_names=list(TYPES)),
    ]
    items = []
    for atoms in frames:
        data = from_ase(atoms)
        if not atoms.cell.any():
            del data[AtomicDataDict.CELL_KEY]
        for transform in transforms:
            data = transform(data)
        items.append(data)
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


def many_molecules(count: int = 6) -> list[ase.Atoms]:
    """Differently rattled formaldehydes."""
    frames = [ase.build.molecule("H2CO") for _ in range(count)]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
    return frames


def data_config(train: Path, val: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Arguments of an ASE data module that reads the files."""
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 2}
    return {
        "seed": 1,
        "train_file_path": str(train),
        "val_file_path": str(val or train),
        "key_mapping": {
            "REF_energy": "total_energy",
            "REF_forces": "forces",
            "GFN2_forces": "weak_forces",
        },
        "transforms": [
            {
                "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                "model_type_names": list(TYPES),
            },
            {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": R_MAX},
        ],
        "train_dataloader": {**loader, "shuffle": True},
        "val_dataloader": loader,
        **changes,
    }


def loss_config(*terms: str, **coeffs: float) -> dict[str, Any]:
    """NequIP's loss with PIWSL terms; ``none`` is a loss without."""
    return {
        "_target_": "piwsl_plugins.hosts.nequip.PiwslLoss",
        "terms": [] if terms == ("none",) else list(terms or ("taylor", "conservative")),
        "coeffs": {"total_energy": 1.0, **coeffs},
    }


PLAIN_LOSS = {"_target_": "nequip.train.EnergyOnlyLoss"}


def module_config(
    settings: Mapping[str, Any] | None = None,
    *,
    loss: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    learning_rate: float = 1e-3,
    **changes: Any,
) -> dict[str, Any]:
    """Arguments of a training module, those of a PIWSL one if there are settings."""
    config: dict[str, Any] = {
        "model": dict(model or model_config()),
        "num_datasets": {"train": 1, "val": 1, "test": 0, "predict": 0},
        "loss": dict(loss or loss_config()),
        "val_metrics": {
            "_target_": "nequip.train.EnergyForceMetrics",
            "coeffs": {"per_atom_energy_rmse": 1.0, "forces_rmse": None},
        }
        if changes.pop("val_forces", False)
        else {
            "_target_": "nequip.train.EnergyOnlyMetrics",
            "coeffs": {"per_atom_energy_rmse": 1.0},
        },
        "optimizer": {"_target_": "torch.optim.SGD", "lr": learning_rate},
        **changes,
    }
    # through JSON, so that nothing is shared with another training
    return json.loads(json.dumps(config | ({} if settings is None else {"piwsl": dict(settings)})))


def module(name: str = "PiwslLightningModule", *args: Any, **kwargs: Any) -> Any:
    """One of the PIWSL training modules, built of :func:`module_config`."""
    return getattr(piwsl, name)(**module_config(*(args or ({},)), **kwargs))


class History(lightning.Callback):
    """Writes down what is logged after every step and every epoch, and which frames were seen."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.epochs: list[dict[str, float]] = []
        self.positions: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, *_: Any) -> None:
        self.positions.append(batch[POSITIONS].detach().clone())

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.steps.append(_numbers(trainer.logged_metrics, "train_loss_step/"))

    def on_train_end(self, trainer: Any, *_: Any) -> None:
        self.epochs.append(_numbers(trainer.logged_metrics, ""))


def _numbers(metrics: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): float(value)
        for name, value in metrics.items()
        if name.startswith(prefix)
    }


def fit(training: Any, data: Any, *callbacks: Any, epochs: int = 1, **options: Any) -> History:
    """Train with a real Lightning trainer, on a data module or a loader; what it logged."""
    history = History()
    trainer = lightning.Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": epochs,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "inference_mode": False,  # as nequip-train has it
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            **options,
        },
        callbacks=[*callbacks, history],
    )
    training.world_size = trainer.world_size  # likewise
    if isinstance(data, lightning.LightningDataModule):
        trainer.fit(training, datamodule=data)
    else:
        trainer.fit(training, data, data)
    return history


def with_forces(frames: Sequence[ase.Atoms], which: Sequence[int]) -> list[ase.Atoms]:
    """Give some of the structures reference forces, made up."""
    for number in which:
        atoms = frames[number]
        atoms.arrays["REF_forces"] = 0.1 * np.sin(7.0 * atoms.positions)
    return list(frames)


def with_weak_forces(frames: Sequence[ase.Atoms], which: Sequence[int]) -> list[ase.Atoms]:
    """Give some of the structures forces of a cheaper method, made up."""
    for number in which:
        atoms = frames[number]
        atoms.arrays["GFN2_forces"] = 0.3 * np.cos(5.0 * atoms.positions)
    return list(frames)
