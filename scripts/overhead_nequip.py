"""NequIP's own optimiser step on one batch, plain and with a PIWSL loss, for benchmark_overhead."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    import ase

SIZES: dict[str, dict[str, Any]] = {
    "small": {"num_layers": 2, "l_max": 1, "num_features": 16, "radial_mlp_width": 32},
    "large": {"num_layers": 4, "l_max": 2, "num_features": 64, "radial_mlp_width": 64},
}
R_MAX = 4.0
ADAPTER = "piwsl_plugins.hosts.nequip"


def make_step(
    frames: Sequence[ase.Atoms],
    *,
    terms: tuple[str, ...],
    settings: dict[str, Any],
    size: str,
    dtype: str,
    device: str,
    forces: bool,
    derivatives: bool = True,
) -> Callable[[int], None]:
    """A function that makes optimiser steps of Lightning's trainer, all of them on one batch.

    Args:
        frames: structures of the batch, with ``REF_energy`` (eV) and ``REF_forces`` (eV/angstrom).
        terms: terms of the PIWSL loss; none for NequIP's own.
        settings: the terms' settings.
        size: ``small`` or ``large``.
        dtype: ``float32`` or ``float64``.
        device: ``cpu`` or ``cuda``.
        forces: whether the loss has forces.
        derivatives: ``do_derivatives`` of the model.

    Returns:
        The function; its argument is the number of steps.
    """
    import lightning
    from nequip.train import EMALightningModule
    from nequip.utils.global_state import set_global_state

    from piwsl_plugins.hosts.nequip import PiwslEMALightningModule

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    set_global_state()
    names = sorted({symbol for atoms in frames for symbol in atoms.get_chemical_symbols()})
    config = _module(names, size, dtype, forces, derivatives)
    kind = EMALightningModule
    if terms:
        kind = PiwslEMALightningModule
        coeffs = {"total_energy": 1.0, **({"forces": 1.0} if forces else {})}
        loss = {"_target_": f"{ADAPTER}.PiwslLoss", "terms": list(terms), "coeffs": coeffs}
        config |= {"piwsl": settings, "loss": loss}
    module = kind(**config)
    batch = _batch(frames, names, R_MAX + (module.piwsl_settings.skin if terms else 0.0))

    def steps(number: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = lightning.Trainer(
                accelerator="cpu" if device == "cpu" else "gpu",
                devices=1,
                max_steps=number,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            # a bare list would be taken for several loaders
            loader: Any = torch.utils.data.DataLoader([batch] * number, batch_size=None)  # type: ignore[arg-type]
            trainer.fit(module, loader)

    return steps


def _module(
    names: list[str], size: str, dtype: str, forces: bool, derivatives: bool
) -> dict[str, Any]:
    loss: dict[str, Any] = {"_target_": "nequip.train.EnergyOnlyLoss"}
    if forces:
        coeffs = {"total_energy": 1.0, "forces": 1.0}
        loss = {"_target_": "nequip.train.EnergyForceLoss", "coeffs": coeffs}
    return {
        "model": {
            "_target_": "nequip.model.NequIPGNNModel",
            "seed": 1,
            "model_dtype": dtype,
            "type_names": names,
            "r_max": R_MAX,
            "parity": False,
            "radial_mlp_depth": 1,
            "num_bessels": 8,
            "avg_num_neighbors": 10.0,
            "per_type_energy_scales": 1.0,
            "do_derivatives": derivatives,
            **SIZES[size],
        },
        "num_datasets": {"train": 1, "val": 0, "test": 0, "predict": 0},
        "loss": loss,
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 1e-6},
        "ema_decay": 0.99,
    }


def _batch(frames: Sequence[ase.Atoms], names: list[str], reach: float) -> dict[str, torch.Tensor]:
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform

    transforms = [ChemicalSpeciesToAtomTypeMapper(names), NeighborListTransform(r_max=reach)]
    listed = []
    for atoms in frames:
        data = from_ase(atoms)
        energy = np.reshape(atoms.info["REF_energy"], (1, 1))
        data[AtomicDataDict.TOTAL_ENERGY_KEY] = torch.tensor(energy)
        data[AtomicDataDict.FORCE_KEY] = torch.tensor(atoms.arrays["REF_forces"])
        for transform in transforms:
            data = transform(data)
        listed.append(data)
    batch: dict[str, torch.Tensor] = AtomicDataDict.batched_from_list(listed)
    return batch
