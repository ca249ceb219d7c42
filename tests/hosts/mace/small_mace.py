"""Small MACE models, batches and command lines, made in the process with MACE's own functions."""

from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Sequence
from typing import Any

import ase
import ase.build
import numpy as np
import torch


def arguments(*words: str) -> argparse.Namespace:
    """Parse a MACE command line with what MACE itself demands filled in."""
    import mace.tools

    parser = mace.tools.build_default_arg_parser()
    return parser.parse_args(["--name", "test", "--scaling", "std_scaling", *words])


def molecules() -> list[ase.Atoms]:
    """Two molecules, rattled, with made-up labels."""
    frames = [ase.build.molecule("CH3OH"), ase.build.molecule("H2CO")]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
    return frames


def crystals() -> list[ase.Atoms]:
    """Two small periodic cells in which atoms see their own images."""
    frames = [
        ase.build.bulk("NaCl", "rocksalt", a=5.6),
        ase.build.bulk("MgO", "rocksalt", a=4.2, cubic=True),
    ]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
    return frames


ELEMENTS = (1, 6, 8, 11, 12, 17)


def make_batch(frames: Sequence[ase.Atoms], *, labels: Sequence[dict[str, Any]] = ()) -> Any:
    """Structures in a batch of MACE's, collated by its own data loader.

    Args:
        frames: structures.
        labels: per frame, any of ``energy``, ``forces``, ``weak_forces`` and ``weak_weights``; an
            absent one has weight 0.
    """
    from mace.data import AtomicData, Configuration
    from mace.tools import AtomicNumberTable, torch_geometric

    items = []
    for atoms, given in itertools.zip_longest(frames, labels, fillvalue={}):
        known = {name: given.get(name) for name in ("energy", "forces", "stress", "virials")}
        weak = {f"piwsl_{name}": given.get(name) for name in ("weak_forces", "weak_weights")}
        config = Configuration(
            atomic_numbers=atoms.numbers,
            positions=atoms.positions,
            properties={**known, **weak},
            property_weights={k: 0.0 if v is None else 1.0 for k, v in known.items()},
            cell=np.array(atoms.cell),
            pbc=tuple(bool(p) for p in atoms.pbc),
            weight=given.get("weight", 1.0),
        )
        table = AtomicNumberTable(list(ELEMENTS))
        items.append(AtomicData.from_config(config, z_table=table, cutoff=4.0))
    loader = torch_geometric.dataloader.DataLoader(items, batch_size=len(items), shuffle=False)
    return next(iter(loader))


_MODELS: dict[str, Any] = {}


def make_model(kind: str = "ScaleShiftMACE", **changes: Any) -> Any:
    """A small MACE model with random weights; each kind is built once, which takes seconds."""
    key = f"{kind} {torch.get_default_dtype()} {changes}"
    if key not in _MODELS:
        _MODELS[key] = _build(kind, **changes)
    return copy.deepcopy(_MODELS[key])


def _build(kind: str, **changes: Any) -> Any:
    from e3nn import o3
    from mace import modules

    torch.manual_seed(0)
    options: dict[str, Any] = {
        "r_max": 4.0,
        "num_bessel": 6,
        "num_polynomial_cutoff": 5,
        "max_ell": 2,
        "interaction_cls": modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        "interaction_cls_first": modules.interaction_classes[
            "RealAgnosticResidualInteractionBlock"
        ],
        "num_interactions": 2,
        "num_elements": len(ELEMENTS),
        "hidden_irreps": o3.Irreps("8x0e + 8x1o"),
        "MLP_irreps": o3.Irreps("8x0e"),
        "gate": torch.nn.functional.silu,
        "atomic_energies": -100.0 * np.arange(1.0, len(ELEMENTS) + 1.0),
        "avg_num_neighbors": 6.0,
        "atomic_numbers": list(ELEMENTS),
        "correlation": 2,
        "radial_type": "bessel",
        **changes,
    }
    if kind == "ScaleShiftMACE":
        options |= {"atomic_inter_scale": 30.0, "atomic_inter_shift": 0.3}
    if kind == "EnergyDipolesMACE":
        del options["radial_type"]
    return getattr(modules, kind)(**options)
