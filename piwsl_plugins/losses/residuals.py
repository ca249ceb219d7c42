"""Residuals of the energy's extrapolation, from the undisplaced or from another displaced point."""

from __future__ import annotations

import torch
from torch import Tensor

from piwsl_plugins.losses.structures import sum_per_graph


def work(displacement: Tensor, forces: Tensor, graph_index: Tensor, n_graphs: int) -> Tensor:
    """Work <d, F> of forces (eV/angstrom) along d (angstrom), shape [n_graphs], eV."""
    return sum_per_graph((displacement * forces).sum(dim=-1), graph_index, n_graphs)


def quadratic_term(
    forces: Tensor, positions: Tensor, displacement: Tensor, graph_index: Tensor, n_graphs: int
) -> Tensor:
    """Second-order term 1/2 d'H(r)d from one Hessian-vector product, H = d2E/dr2.

    Shapes and units are those of :func:`taylor_residual`. The forces must depend on this very
    tensor of positions, shape [n_atoms, 3], angstrom; d is taken as fixed. The result, shape
    [n_graphs], eV, is differentiable.

    Raises:
        RuntimeError: ``forces`` do not depend differentiably on ``positions``.
    """
    displacement = displacement.detach()
    # H is block-diagonal over graphs, so one product serves the whole batch
    along = (displacement * forces).sum()
    (hessian_product,) = torch.autograd.grad(along, positions, create_graph=True)
    return -0.5 * work(displacement, hessian_product, graph_index, n_graphs)


def taylor_residual(
    energy_displaced: Tensor,
    energy: Tensor,
    forces: Tensor,
    displacement: Tensor,
    graph_index: Tensor,
    quadratic: Tensor | None = None,
) -> Tensor:
    """Taylor residual R_T = E(r + d) - [E(r) - <d, F(r)> (+ 1/2 d'Hd)].

    Equation 3 of arXiv:2408.05215 for the first order. For exact-gradient forces R_T is
    1/2 d'Hd + O(d^3) without ``quadratic`` and O(d^3) with it. With the mean of F(r) and
    F(r + d) as ``forces`` it is the trapezoid rule's residual, O(d^3) as well.

    Args:
        energy_displaced: E(r + d), shape [n_graphs], eV.
        energy: E(r), shape [n_graphs], eV.
        forces: F(r) = -dE/dr, shape [n_atoms, 3], eV/angstrom.
        displacement: d, shape [n_atoms, 3], angstrom.
        graph_index: graph of each atom, shape [n_atoms], int64.
        quadratic: 1/2 d'Hd, shape [n_graphs], eV, as is R_T; left out at first order.
    """
    extrapolated = energy - work(displacement, forces, graph_index, energy.shape[0])
    if quadratic is not None:
        extrapolated = extrapolated + quadratic
    return energy_displaced - extrapolated


def conservative_residual(
    energy_displaced: Tensor,
    energy_other: Tensor,
    forces_other: Tensor,
    displacement: Tensor,
    displacement_other: Tensor,
    graph_index: Tensor,
    quadratic: Tensor | None = None,
) -> Tensor:
    """Conservative-force residual R_C = E(r + d) - [E(r + d') - <d - d', F(r + d')>].

    Equation 5 of arXiv:2408.05215: the Taylor residual of the step d - d' from r + d', shape
    [n_graphs], eV. Shapes and units are those of :func:`taylor_residual`; ``quadratic`` is
    1/2 (d - d')'H(r + d')(d - d').
    """
    step = displacement - displacement_other
    return taylor_residual(
        energy_displaced, energy_other, forces_other, step, graph_index, quadratic
    )
