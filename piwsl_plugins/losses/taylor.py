"""Residual of the energy's Taylor extrapolation, and the sums it is made of."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_per_graph(values: Tensor, graph_index: Tensor, n_graphs: int) -> Tensor:
    """Sum atomic values over each graph.

    Args:
        values: one value an atom, shape [n_atoms].
        graph_index: graph of each atom, shape [n_atoms], int64.
        n_graphs: number of graphs.

    Returns:
        Sums, shape [n_graphs], in the unit, dtype and device of ``values``.
    """
    return values.new_zeros(n_graphs).index_add(0, graph_index, values)


def work(displacement: Tensor, forces: Tensor, graph_index: Tensor, n_graphs: int) -> Tensor:
    """Work <d, F> of the forces along a displacement, summed over atoms and axes.

    Args:
        displacement: d, shape [n_atoms, 3], angstrom.
        forces: F = -dE/dr, shape [n_atoms, 3], eV/angstrom.
        graph_index: graph of each atom, shape [n_atoms], int64.
        n_graphs: number of graphs.

    Returns:
        Work, shape [n_graphs], eV.
    """
    return sum_per_graph((displacement * forces).sum(dim=-1), graph_index, n_graphs)


def quadratic_term(
    forces: Tensor,
    positions: Tensor,
    displacement: Tensor,
    graph_index: Tensor,
    n_graphs: int,
    *,
    create_graph: bool = True,
) -> Tensor:
    """Second-order term 1/2 d'H(r)d from one Hessian-vector product, H = d2E/dr2.

    Args:
        forces: F(r) = -dE/dr as a differentiable function of ``positions``, shape [n_atoms, 3],
            eV/angstrom.
        positions: r, shape [n_atoms, 3], angstrom; ``forces`` must depend on this very tensor.
        displacement: d, shape [n_atoms, 3], angstrom, taken as fixed: detached.
        graph_index: graph of each atom, shape [n_atoms], int64.
        n_graphs: number of graphs.
        create_graph: keep the graph, so that the term can be trained through.

    Returns:
        1/2 d'Hd, shape [n_graphs], eV.

    Raises:
        RuntimeError: ``forces`` do not depend differentiably on ``positions``.
    """
    displacement = displacement.detach()
    # H is block-diagonal over graphs, so one product serves the whole batch
    (hessian_product,) = torch.autograd.grad(
        (displacement * forces).sum(), positions, create_graph=create_graph
    )
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
        quadratic: 1/2 d'Hd, shape [n_graphs], eV; left out at first order.

    Returns:
        R_T, shape [n_graphs], eV.
    """
    extrapolated = energy - work(displacement, forces, graph_index, energy.shape[0])
    if quadratic is not None:
        extrapolated = extrapolated + quadratic
    return energy_displaced - extrapolated
