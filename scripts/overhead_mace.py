"""MACE's own optimiser step on one batch, plain and with a PIWSL loss, for benchmark_overhead."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from piwsl_plugins.hosts.mace.flags import LOSSES

if TYPE_CHECKING:
    import argparse

    import ase
    from mace.modules import ScaleShiftMACE
    from mace.tools.torch_geometric.batch import Batch

SIZES: dict[str, dict[str, Any]] = {
    "small": {"irreps": "32x0e", "max_ell": 2, "correlation": 2},
    "large": {"irreps": "128x0e + 128x1o", "max_ell": 3, "correlation": 3},
}
R_MAX = 4.0
MACE_LOSSES = {terms: name for name, terms in LOSSES.items()}


def make_step(
    frames: Sequence[ase.Atoms],
    *,
    terms: tuple[str, ...],
    settings: dict[str, Any],
    size: str,
    dtype: str,
    device: str,
    forces: bool,
) -> Callable[[int], None]:
    """A function that makes optimiser steps, all of them on one batch.

    Args:
        frames: structures of the batch, with ``REF_energy`` (eV) and ``REF_forces`` (eV/angstrom).
        terms: terms of the PIWSL loss; none for MACE's own.
        settings: the terms' settings.
        size: ``small`` or ``large``.
        dtype: ``float32`` or ``float64``.
        device: ``cpu`` or ``cuda``.
        forces: whether the batch has force labels.

    Returns:
        The function; its argument is the number of steps.
    """
    from mace import tools
    from mace.tools.train import take_step

    torch.set_default_dtype(getattr(torch, dtype))
    words = ["--name", "overhead", "--energy_weight", "1000", "--scaling", "std_scaling"]
    if terms:
        words += ["--loss", MACE_LOSSES[terms]]
        words += [w for k, v in settings.items() for w in (f"--piwsl_{k}", str(v))]
    args, _ = tools.check_args(tools.build_default_arg_parser().parse_args(words))
    model, batch = _model(frames, size).to(device), _batch(frames, forces)
    loss = _loss(model, args)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)
    outputs = {"forces": True, "virials": False, "stress": False}

    def steps(number: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(number):
                take_step(model, loss, batch, optimizer, None, outputs, 10.0, torch.device(device))

    return steps


def _loss(model: torch.nn.Module, args: argparse.Namespace) -> torch.nn.Module:
    from mace.tools.scripts_utils import get_loss_fn

    from piwsl_plugins.hosts.mace import run

    loss: torch.nn.Module = get_loss_fn(args, dipole_only=False, compute_dipole=False)
    active = run.active()
    if active is not None:
        active.progress.bind(model, active.terms, step=0, rank=0)
    return loss


def _elements(frames: Sequence[ase.Atoms]) -> list[int]:
    return sorted({int(number) for atoms in frames for number in atoms.numbers})


def _model(frames: Sequence[ase.Atoms], size: str) -> ScaleShiftMACE:
    from e3nn import o3
    from mace import modules

    torch.manual_seed(0)
    elements, chosen = _elements(frames), SIZES[size]
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    return modules.ScaleShiftMACE(
        r_max=R_MAX,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=chosen["max_ell"],
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=len(elements),
        hidden_irreps=o3.Irreps(chosen["irreps"]),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=10.0,
        atomic_numbers=elements,
        correlation=chosen["correlation"],
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def _batch(frames: Sequence[ase.Atoms], forces: bool) -> Batch:
    from mace.data import AtomicData, Configuration
    from mace.tools import AtomicNumberTable, torch_geometric

    table = AtomicNumberTable(_elements(frames))
    items = []
    for atoms in frames:
        known = {"energy": atoms.info["REF_energy"]}
        known["forces"] = atoms.arrays["REF_forces"] if forces else None
        config = Configuration(
            atomic_numbers=atoms.numbers,
            positions=atoms.positions,
            properties=known,
            property_weights={k: 0.0 if v is None else 1.0 for k, v in known.items()},
            cell=np.array(atoms.cell),
            pbc=tuple(bool(periodic) for periodic in atoms.pbc),
        )
        items.append(AtomicData.from_config(config, z_table=table, cutoff=R_MAX))
    return next(iter(torch_geometric.dataloader.DataLoader(items, len(items), shuffle=False)))
