"""Curvature that is known without any reference calculation: stiff covalent bonds.

The forces at a displaced geometry must differ from those at the undisplaced one by what a model
Hessian says. Energies at scattered geometries hardly tell a bond's force constant; chemistry does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from piwsl_plugins.losses.structures import Pairs
from piwsl_plugins.settings import STRETCH_CONSTANT

STRETCH_ELEMENTS = ("H", "B", "C", "N", "O", "F", "S")
"""Elements for which the model Hessian was compared with GFN2-xTB's."""


def stretch_product(positions: Tensor, displacement: Tensor, pairs: Pairs) -> Tensor:
    """Product H0(r)d of the model Hessian of stretches with a displacement.

    1/2 d'H0d is the sum over pairs of 1/2 k_ij (u_ij . (d_i - d_j))^2, u_ij being the unit vector
    between them, with k_ij = STRETCH_CONSTANT exp(3 (1 - r_ij / (R_i + R_j))) for the
    covalent radii R: neighbours are bonds, next neighbours stand for the angles between bonds.

    Positions r and displacement d have shape [n_atoms, 3], angstrom; H0(r)d likewise, eV/angstrom.
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
    forces_displaced: Tensor, forces: Tensor, positions: Tensor, displacement: Tensor, pairs: Pairs
) -> Tensor:
    """Curvature residual R_H = F(r + d) - F(r) + H0(r + d/2) d.

    F(r + d) - F(r) is minus the gradient, with respect to d, of the first-order Taylor residual
    E(r + d) - E(r) + <d, F(r)>. A potential whose Hessian is H0 has R_H = O(d^3), since the model
    Hessian is taken at the midpoint.

    All have shape [n_atoms, 3]: F and R_H in eV/angstrom, r and d in angstrom.
    """
    middle = positions.detach() + 0.5 * displacement
    return forces_displaced - forces + stretch_product(middle, displacement, pairs)
