"""All figures of merit of one model in one record, in the units that people read."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from piwsl_plugins.evaluation.comparison import Comparison
from piwsl_plugins.evaluation.errors import (
    energy_rmse,
    energy_rmse_per_atom,
    force_mae,
    force_rmse,
)
from piwsl_plugins.evaluation.softening import Softening, softening


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Errors of one model on one set of frames; None where the frames have no such label.

    Attributes:
        energy_rmse_mev: Root mean square error of total energies, meV.
        energy_rmse_mev_per_atom: The same of energies per atom, meV/atom.
        force_rmse_mev_per_angstrom: Root mean square error of force components, meV/angstrom.
        force_mae_mev_per_angstrom: Mean absolute error of force components, meV/angstrom.
        softening: Slope of predicted against reference forces, with its interval.
        n_frames_with_energy: Number of frames that the energy errors come from.
        n_atoms_with_forces: Number of atoms that the force errors and the slope come from.
    """

    energy_rmse_mev: float | None
    energy_rmse_mev_per_atom: float | None
    force_rmse_mev_per_angstrom: float | None
    force_mae_mev_per_angstrom: float | None
    softening: Softening | None
    n_frames_with_energy: int
    n_atoms_with_forces: int

    def as_dict(self) -> dict[str, object]:
        """The record as plain dictionaries and numbers, for JSON."""
        return asdict(self)


def _milli(value: float | None) -> float | None:
    return None if value is None else 1000.0 * value


def summarise(comparison: Comparison) -> Summary:
    """Compute every figure of merit of one model.

    Args:
        comparison: Predictions and labels in eV and eV/angstrom.

    Returns:
        The record, in meV and meV/angstrom.
    """
    return Summary(
        energy_rmse_mev=_milli(energy_rmse(comparison)),
        energy_rmse_mev_per_atom=_milli(energy_rmse_per_atom(comparison)),
        force_rmse_mev_per_angstrom=_milli(force_rmse(comparison)),
        force_mae_mev_per_angstrom=_milli(force_mae(comparison)),
        softening=softening(comparison),
        n_frames_with_energy=int(comparison.has_energy.sum()),
        n_atoms_with_forces=int(comparison.has_forces.sum()),
    )
