"""The loss on weak forces: labels of a cheaper method beside energies of a better one."""

from __future__ import annotations

import torch
from torch import Tensor


def weak_force_penalties(
    forces: Tensor,
    weak_forces: Tensor,
    graph_index: Tensor,
    n_graphs: int,
    *,
    has_weak_forces: Tensor | None = None,
    penalty: str = "squared",
) -> Tensor:
    """Mean error of the forces' vectors against the weak forces, of each structure.

    l = 1/N sum_i |F_i - F_i^weak|^2 / 3, or 1/N sum_i |F_i - F_i^weak|.

    Args:
        forces: the model's -dE/dr, shape [n_atoms, 3], eV/angstrom.
        weak_forces: those of the cheaper method, the same shape; what stands in a structure
            without them is not read.
        graph_index: structure of each atom, shape [n_atoms].
        n_graphs: number of structures.
        has_weak_forces: which structures have them, shape [n_graphs], bool; default, all.
        penalty: ``squared`` or ``length``.

    Returns:
        Shape [n_graphs], (eV/angstrom)^2 or eV/angstrom; 0 for a structure without weak forces.

    Raises:
        ValueError: another penalty, or shapes that differ.
    """
    if penalty not in ("squared", "length"):
        raise ValueError(f"penalty: got {penalty!r}, expected 'squared' or 'length'")
    if forces.shape != weak_forces.shape:
        raise ValueError(
            f"weak_forces: got shape {tuple(weak_forces.shape)}, expected that of the forces, "
            f"{tuple(forces.shape)}"
        )
    error = forces - weak_forces.to(forces)
    if has_weak_forces is not None:
        # the NaN of a missing label must be gone before the difference, or its gradient is NaN too
        known = has_weak_forces[graph_index].unsqueeze(-1)
        error = torch.where(known, forces - torch.where(known, weak_forces.to(forces), 0.0), 0.0)
    if penalty == "squared":
        values = error.square().sum(dim=-1) / 3.0
    else:
        # a vector of length zero has no direction: its gradient is zero, not NaN
        squared = error.square().sum(dim=-1)
        values = torch.where(squared > 0, torch.where(squared > 0, squared, 1.0).sqrt(), 0.0)
    sums = values.new_zeros(n_graphs).index_add(0, graph_index, values)
    atoms = torch.bincount(graph_index, minlength=n_graphs).clamp(min=1)
    return sums / atoms
