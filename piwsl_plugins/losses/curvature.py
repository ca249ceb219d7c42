"""Curvature that is known without any reference calculation: stiff covalent bonds.

The forces at a displaced geometry must differ from those at the undisplaced one by what a model
Hessian says. Energies at scattered geometries hardly tell a bond's force constant; chemistry does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from piwsl_plugins.losses.structures import Pairs
from piwsl_plugins.losses.taylor import sum_per_graph

STRETCH_CONSTANT = 34.01
"""Force constant of a bond as long as its atoms' covalent radii, eV/angstrom^2: 0.35 hartree/bohr^2
(Swart and Bickelhaupt, Int. J. Quantum Chem. 106, 2536 (2006))."""

STRETCH_ELEMENTS = ("H", "B", "C", "N", "O", "F", "S")
"""Elements for which that was compared with GFN2-xTB (scripts/check_stretch_model.py)."""


def stretch_product(positions: Tensor, displacement: Tensor, pairs: Pairs) -> Tensor:
    """Product H0(r)d of the model Hessian of stretches with a displacement.

    1/2 d'H0d is the sum over pairs of 1/2 k_ij (u_ij . (d_i - d_j))^2, u_ij being the unit vector
    between them, with k_ij = 0.35 hartree/bohr^2 exp(3 (1 - r_ij / (R_i + R_j))) for the covalent
    radii R: neighbours are bonds, and next neighbours stand for the angles between bonds.

    Args:
        positions: r, shape [n_atoms, 3], angstrom.
        displacement: d, shape [n_atoms, 3], angstrom.
        pairs: the pairs, each in both directions, and the atoms' covalent radii.

    Returns:
        H0(r)d, shape [n_atoms, 3], eV/angstrom.
    """
    first, second = pairs.index
    vectors = positions[second] - positions[first] + pairs.shifts
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    units = vectors / lengths
    reach = (pairs.radii[first] + pairs.radii[second]).unsqueeze(-1)
    constants = STRETCH_CONSTANT * torch.exp(3.0 * (1.0 - lengths / reach))
    stretches = (units * (displacement[first] - displacement[second])).sum(-1, keepdim=True)
    return torch.zeros_like(positions).index_add(0, first, constants * stretches * units)


def curvature_residual(
    forces_displaced: Tensor,
    forces: Tensor,
    positions: Tensor,
    displacement: Tensor,
    pairs: Pairs,
) -> Tensor:
    """Curvature residual R_H = F(r + d) - [F(r) - H0(r + d/2) d].

    The derivative of the Taylor residual along d, with the model Hessian at the midpoint, so that
    a potential whose Hessian is H0 has R_H = O(d^3).

    Args:
        forces_displaced: F(r + d), shape [n_atoms, 3], eV/angstrom.
        forces: F(r) = -dE/dr, shape [n_atoms, 3], eV/angstrom.
        positions: r, shape [n_atoms, 3], angstrom.
        displacement: d, shape [n_atoms, 3], angstrom.
        pairs: the pairs that the model Hessian is made of.

    Returns:
        R_H, shape [n_atoms, 3], eV/angstrom.
    """
    middle = positions.detach() + 0.5 * displacement
    return forces_displaced - forces + stretch_product(middle, displacement, pairs)


def mean_per_graph(values: Tensor, graph_index: Tensor, n_graphs: int) -> Tensor:
    """Mean over the atoms and axes of each graph.

    Args:
        values: shape [n_atoms, 3].
        graph_index: graph of each atom, shape [n_atoms], int64.
        n_graphs: number of graphs.

    Returns:
        Means, shape [n_graphs], in the unit of ``values``; 0 for a graph without atoms.
    """
    counts = torch.bincount(graph_index, minlength=n_graphs).clamp(min=1)
    return sum_per_graph(values.mean(-1), graph_index, n_graphs) / counts
