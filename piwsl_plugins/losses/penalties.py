"""From residuals and force errors to penalties, structure by structure."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from piwsl_plugins.losses.structures import count_atoms, sum_per_graph


def exceed_tolerance(residual: Tensor, step_squared: Tensor, tolerance: float) -> Tensor:
    """Part of R beyond the curvature budget, sign(R) max(|R| - tolerance |d|^2 / 2, 0).

    R (eV) and |d|^2 of whole structures (angstrom^2) have shape [n_graphs]; the tolerance, in
    eV/angstrom^2, is curvature that is free of charge.
    """
    if tolerance == 0.0:
        return residual
    return residual.sign() * functional.relu(residual.abs() - 0.5 * tolerance * step_squared)


def penalise(residual: Tensor, penalty: str, huber_delta: float = 0.01) -> Tensor:
    """Penalty l(R) of each residual.

    Args:
        residual: R or R/N, any shape, eV or eV per atom.
        penalty: ``squared`` (R^2, eV^2), ``absolute`` (|R|, eV), or ``huber`` (eV^2: R^2/2 up to
            ``huber_delta``, linear beyond).
        huber_delta: in the unit of ``residual``.

    Raises:
        ValueError: an unknown penalty.
    """
    if penalty == "squared":
        return residual.square()
    if penalty == "absolute":
        return residual.abs()
    if penalty == "huber":
        zero = torch.zeros_like(residual)
        return functional.huber_loss(residual, zero, reduction="none", delta=huber_delta)
    raise ValueError(f"penalty: got {penalty!r}, expected 'squared', 'absolute' or 'huber'")


def mean_per_graph(values: Tensor, graph_index: Tensor, n_graphs: int) -> Tensor:
    """Mean over the atoms of each graph, shape [n_graphs]; 0 for a graph without atoms."""
    counts = count_atoms(graph_index, n_graphs).clamp(min=1)
    return sum_per_graph(values, graph_index, n_graphs) / counts


def weak_force_penalties(
    forces: Tensor,
    weak_forces: Tensor,
    graph_index: Tensor,
    n_graphs: int,
    *,
    has_weak_forces: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean error of the forces' vectors against the weak forces, of each structure.

    l = 1/N sum_i w_i |F_i - F_i^weak|^2 / 3. The weights are not normalised: labels that are
    trusted less pull less.

    Args:
        forces: the model's -dE/dr, shape [n_atoms, 3], eV/angstrom.
        weak_forces: those of the cheaper method or teacher, likewise; not read if absent.
        graph_index: structure of each atom, shape [n_atoms], int64.
        n_graphs: number of structures.
        has_weak_forces: which structures have them, shape [n_graphs], bool; default, all.
        weights: w, trust in each atom's label, from 0 to 1, shape [n_atoms]; default, 1.

    Returns:
        Shape [n_graphs], (eV/angstrom)^2; 0 for a structure without weak forces.

    Raises:
        ValueError: shapes that differ.
    """
    if forces.shape != weak_forces.shape:
        raise ValueError(
            f"weak_forces: got shape {tuple(weak_forces.shape)}, expected that of the forces, "
            f"{tuple(forces.shape)}"
        )
    weak_forces = weak_forces.to(forces)
    if has_weak_forces is not None:
        # the NaN of a missing label must be gone before the difference, or its gradient is NaN too
        known = has_weak_forces[graph_index]
        forces = torch.where(known.unsqueeze(-1), forces, 0.0)
        weak_forces = torch.where(known.unsqueeze(-1), weak_forces, 0.0)
        weights = None if weights is None else torch.where(known, weights, 0.0)
    values = (forces - weak_forces).square().sum(dim=-1) / 3.0
    if weights is not None:
        values = values * weights.to(values)
    return mean_per_graph(values, graph_index, n_graphs)
