"""Energy and force errors over the labels that exist; None where there is none at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from piwsl_plugins.evaluation.comparison import Comparison, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """How far predictions lie from their labels, in the unit of the differences.

    Attributes:
        rmse: Root mean square error.
        mae: Mean absolute error.
        max: Largest absolute error.
        n: Number of values that they come from.
    """

    rmse: float
    mae: float
    max: float
    n: int


def errors_of(differences: Floats) -> Errors | None:
    """Errors of differences between predictions and labels.

    Args:
        differences: Any shape and unit; all of them count.

    Returns:
        The errors in that unit, or None where there is no difference at all.
    """
    if differences.size == 0:
        return None
    absolute = np.abs(differences)
    return Errors(
        rmse=float(np.sqrt(np.mean(absolute**2))),
        mae=float(np.mean(absolute)),
        max=float(np.max(absolute)),
        n=int(differences.size),
    )


def _rms(values: Floats) -> float | None:
    return float(np.sqrt(np.mean(values**2))) if values.size else None


def energy_rmse(comparison: Comparison) -> float | None:
    """Root mean square error of total energies, sqrt(<(E - E_ref)^2>), eV.

    Args:
        comparison: Predictions and labels; frames without an energy label are left out.

    Returns:
        The error in eV, or None where no frame has a label.
    """
    labelled = comparison.has_energy
    return _rms(comparison.energies[labelled] - comparison.reference_energies[labelled])


def energy_rmse_per_atom(comparison: Comparison) -> float | None:
    """Root mean square error of energies per atom, sqrt(<((E - E_ref) / N)^2>), eV/atom.

    Args:
        comparison: Predictions and labels; frames without an energy label are left out.

    Returns:
        The error in eV/atom, or None where no frame has a label.
    """
    labelled = comparison.has_energy
    difference = comparison.energies[labelled] - comparison.reference_energies[labelled]
    return _rms(difference / comparison.n_atoms[labelled])


def force_rmse(comparison: Comparison) -> float | None:
    """Root mean square error of force components, eV/angstrom.

    Args:
        comparison: Predictions and labels; atoms without a force label are left out.

    Returns:
        The error over all labelled components in eV/angstrom, or None where there is none.
    """
    predicted, reference = comparison.labelled_forces
    return _rms(predicted - reference)


def force_mae(comparison: Comparison) -> float | None:
    """Mean absolute error of force components, eV/angstrom.

    Args:
        comparison: Predictions and labels; atoms without a force label are left out.

    Returns:
        The error over all labelled components in eV/angstrom, or None where there is none.
    """
    predicted, reference = comparison.labelled_forces
    return float(np.mean(np.abs(predicted - reference))) if reference.size else None
