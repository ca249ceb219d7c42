"""From residuals to penalties: tolerance, per-atom normalisation, squared, absolute or Huber."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def exceed_tolerance(residual: Tensor, step_squared: Tensor, tolerance: float) -> Tensor:
    """Part of a residual beyond the curvature budget, sign kept.

    Args:
        residual: R, shape [n_graphs], eV.
        step_squared: squared length of the whole displacement of a structure, |d|^2, shape
            [n_graphs], angstrom^2.
        tolerance: curvature that is free of charge, eV/angstrom^2.

    Returns:
        sign(R) max(|R| - tolerance |d|^2 / 2, 0), shape [n_graphs], eV.
    """
    if tolerance == 0.0:
        return residual
    return residual.sign() * functional.relu(residual.abs() - 0.5 * tolerance * step_squared)


def penalise(residual: Tensor, penalty: str, huber_delta: float = 0.01) -> Tensor:
    """Penalty l(R) of each residual.

    Args:
        residual: R or R/N, any shape, eV or eV per atom.
        penalty: ``squared`` (R^2), ``absolute`` (|R|), or ``huber`` (R^2/2 up to ``huber_delta``,
            linear beyond).
        huber_delta: in the unit of ``residual``.

    Returns:
        l(R), shape of ``residual``; eV^2 for squared and huber, eV for absolute.

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
