"""Every error of one model on one set of frames, in the units that people read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.units import GPa

from piwsl_plugins.evaluation.comparison import Comparison, Floats, Mask
from piwsl_plugins.evaluation.errors import Errors, errors_of
from piwsl_plugins.evaluation.softening import Softening, softening

MILLI = 1000.0
#: What frames without a configuration type are called beside others that have one.
NO_TYPE = "(none)"


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeErrors:
    """Errors of the frames of one configuration type; None where there is no such label.

    Attributes:
        n_frames: Number of frames of the type.
        energy: Total energies, meV.
        energy_per_atom: Energies per atom, meV/atom.
        force: Force components, meV/angstrom.
    """

    n_frames: int
    energy: Errors | None
    energy_per_atom: Errors | None
    force: Errors | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Errors of one model on one set of frames; None where the frames have no such label.

    Attributes:
        energy_mev: Total energies, meV.
        energy_mev_per_atom: Energies per atom, meV/atom.
        force_mev_per_angstrom: Force components, meV/angstrom.
        stress_mev_per_angstrom3: Stress components, meV/angstrom^3.
        stress_gpa: The same in GPa.
        force_by_element: Force components of each element's atoms, meV/angstrom.
        by_config_type: Errors of each configuration type; empty where no frame has one.
        force_slope: Slope of predicted against reference forces.
    """

    energy_mev: Errors | None
    energy_mev_per_atom: Errors | None
    force_mev_per_angstrom: Errors | None
    stress_mev_per_angstrom3: Errors | None
    stress_gpa: Errors | None
    force_by_element: dict[str, Errors]
    by_config_type: dict[str, TypeErrors]
    force_slope: Softening | None


def accuracy(
    comparison: Comparison,
    symbols: Sequence[str],
    config_types: Sequence[str | None],
    *,
    seed: int = 0,
) -> Accuracy:
    """Compute the errors over the labels that exist.

    Args:
        comparison: Predictions and labels in eV, eV/angstrom and eV/angstrom^3.
        symbols: Chemical symbol of each atom, shape ``[sum(n_atoms)]``.
        config_types: Configuration type of each frame or None, shape ``[n_frames]``.
        seed: Seed of the bootstrap of the slope.
    """
    all_frames = np.ones(len(comparison.n_atoms), dtype=np.bool_)
    element = np.array(symbols)
    by_element = {
        symbol: _force_errors(comparison, element == symbol) for symbol in sorted(set(symbols))
    }
    energy, per_atom = _energy_errors(comparison, all_frames)
    stress = _stress_differences(comparison)
    kinds = np.array([NO_TYPE if kind is None else kind for kind in config_types])
    named = any(kind is not None for kind in config_types)
    _, reference = comparison.labelled_forces
    return Accuracy(
        energy_mev=energy,
        energy_mev_per_atom=per_atom,
        force_mev_per_angstrom=_force_errors(comparison, np.ones(len(element), dtype=np.bool_)),
        stress_mev_per_angstrom3=errors_of(MILLI * stress),
        stress_gpa=errors_of(stress / GPa),
        force_by_element={s: found for s, found in by_element.items() if found is not None},
        by_config_type={
            str(kind): _type_errors(comparison, kinds == kind)
            for kind in (sorted(set(kinds.tolist()), key=_natural) if named else [])
        },
        force_slope=softening(comparison, seed=seed) if np.any(reference) else None,
    )


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Order in which 300K comes before 1000K."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _energy_errors(comparison: Comparison, frames: Mask) -> tuple[Errors | None, Errors | None]:
    labelled = frames & comparison.has_energy
    difference = comparison.energies[labelled] - comparison.reference_energies[labelled]
    return (
        errors_of(MILLI * difference),
        errors_of(MILLI * difference / comparison.n_atoms[labelled]),
    )


def _force_errors(comparison: Comparison, atoms: Mask) -> Errors | None:
    labelled = atoms & comparison.has_forces
    difference = comparison.forces[labelled] - comparison.reference_forces[labelled]
    return errors_of(MILLI * difference)


def _stress_differences(comparison: Comparison) -> Floats:
    labelled = comparison.has_stress
    if comparison.stresses is None or comparison.reference_stresses is None:
        return np.empty(0)
    return np.asarray(comparison.stresses[labelled] - comparison.reference_stresses[labelled])


def _type_errors(comparison: Comparison, frames: Mask) -> TypeErrors:
    energy, per_atom = _energy_errors(comparison, frames)
    return TypeErrors(
        n_frames=int(frames.sum()),
        energy=energy,
        energy_per_atom=per_atom,
        force=_force_errors(comparison, frames[comparison.frame_of_atom]),
    )
