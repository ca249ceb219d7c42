"""Residual between two displaced points: the energy must not depend on the path to it."""

from __future__ import annotations

from torch import Tensor

from piwsl_plugins.losses.taylor import taylor_residual


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

    Equation 5 of arXiv:2408.05215: the Taylor residual of the step d - d' from r + d'.

    Args:
        energy_displaced: E(r + d), shape [n_graphs], eV.
        energy_other: E(r + d'), shape [n_graphs], eV.
        forces_other: F(r + d'), shape [n_atoms, 3], eV/angstrom.
        displacement: d, shape [n_atoms, 3], angstrom.
        displacement_other: d', shape [n_atoms, 3], angstrom.
        graph_index: graph of each atom, shape [n_atoms], int64.
        quadratic: 1/2 (d - d')'H(r + d')(d - d'), shape [n_graphs], eV; left out at first order.

    Returns:
        R_C, shape [n_graphs], eV.
    """
    step = displacement - displacement_other
    return taylor_residual(
        energy_displaced, energy_other, forces_other, step, graph_index, quadratic
    )
