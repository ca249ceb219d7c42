"""Small MACE models, batches and command lines, made in the process with MACE's own functions."""

from __future__ import annotations

import argparse
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


def make_items(
    frames: Sequence[ase.Atoms],
    *,
    r_max: float = 4.0,
    labels: Sequence[dict[str, Any]] | None = None,
    elements: Sequence[int] = ELEMENTS,
) -> list[Any]:
    """Make MACE's ``AtomicData`` of structures.

    Args:
        frames: structures.
        r_max: cutoff, angstrom.
        labels: per frame, any of ``energy``, ``forces`` and ``weak_forces``; an absent one has
            weight 0.
        elements: atomic numbers of the model's elements.
    """
    from mace.data import AtomicData, Configuration
    from mace.tools import AtomicNumberTable

    table = AtomicNumberTable(list(elements))
    items = []
    for number, atoms in enumerate(frames):
        given = labels[number] if labels else {}
        known = {name: given.get(name) for name in ("energy", "forces", "stress", "virials")}
        config = Configuration(
            atomic_numbers=atoms.numbers,
            positions=atoms.positions,
            properties={**known, "piwsl_weak_forces": given.get("weak_forces")},
            property_weights={k: 0.0 if v is None else 1.0 for k, v in known.items()},
            cell=np.array(atoms.cell),
            pbc=tuple(bool(p) for p in atoms.pbc),
            weight=given.get("weight", 1.0),
        )
        items.append(AtomicData.from_config(config, z_table=table, cutoff=r_max))
    return items


def make_batch(frames: Sequence[ase.Atoms], **options: Any) -> Any:
    """Collate structures with MACE's own data loader; options as for :func:`make_items`."""
    from mace.tools import torch_geometric

    items = make_items(frames, **options)
    loader = torch_geometric.dataloader.DataLoader(items, batch_size=len(items), shuffle=False)
    return next(iter(loader))


def make_model(kind: str = "ScaleShiftMACE", *, r_max: float = 4.0, **changes: Any) -> Any:
    """Build a small MACE model with random weights."""
    from e3nn import o3
    from mace import modules

    torch.manual_seed(0)
    options: dict[str, Any] = {
        "r_max": r_max,
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
