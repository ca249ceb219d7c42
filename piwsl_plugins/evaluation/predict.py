"""Any ASE calculator on a list of frames, beside the labels that the frames carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from piwsl_plugins.evaluation.comparison import Comparison, Floats


def _label(own: Mapping[str, Any], atoms: Atoms, key: str) -> Floats | float | None:
    """A label where readers put it: with the frame's own data, or among its results; or None."""
    value: Floats | float | None = own.get(key)
    if value is None and atoms.calc is not None:
        value = atoms.calc.results.get(key)
    return value


def reference_energy(atoms: Atoms, key: str) -> float:
    """Energy label of a frame, eV.

    Args:
        atoms: The frame; ``key`` is looked up in ``atoms.info`` and then in the results that a
            reader attached, where ASE puts the key "energy" of an extended-xyz file.
        key: Name of the label.

    Returns:
        The label, or NaN where the frame has none.
    """
    value = _label(atoms.info, atoms, key)
    return float("nan") if value is None else float(value)


def reference_forces(atoms: Atoms, key: str) -> Floats:
    """Force labels of a frame, -dE/dr, shape ``[n_atoms, 3]``, eV/angstrom.

    Args:
        atoms: The frame; ``key`` is looked up in ``atoms.arrays`` and then in the results that a
            reader attached, where ASE puts the key "forces" of an extended-xyz file.
        key: Name of the label.

    Returns:
        The labels, all NaN where the frame has none.
    """
    value = _label(atoms.arrays, atoms, key)
    return np.full((len(atoms), 3), np.nan) if value is None else np.array(value, dtype=np.float64)


def compare(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    energy_key: str = "REF_energy",
    forces_key: str = "REF_forces",
    progress: Callable[[int], object] | None = None,
) -> Comparison:
    """Evaluate a calculator on frames and put its answers beside their labels.

    Args:
        frames: Structures, angstrom; they are copied, not changed. Labels are in eV and
            eV/angstrom; a missing label is left out later, it is never zero.
        calculator: Any ASE calculator that gives an energy and forces.
        energy_key: Name of the energy label.
        forces_key: Name of the force labels.
        progress: Called with the number of frames done, after each of them.

    Returns:
        Predictions and labels of all frames.

    Raises:
        ValueError: There are no frames, or a prediction is not finite.
    """
    energies, forces = predict(frames, calculator, progress=progress)
    return beside_labels(frames, energies, forces, energy_key=energy_key, forces_key=forces_key)


def predict(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    progress: Callable[[int], object] | None = None,
) -> tuple[Floats, Floats]:
    """Evaluate a calculator on frames.

    Args:
        frames: Structures, angstrom; they are copied, not changed.
        calculator: Any ASE calculator that gives an energy and forces.
        progress: Called with the number of frames done, after each of them.

    Returns:
        Energies, shape ``[n_frames]``, eV, and forces, shape ``[sum(n_atoms), 3]``, eV/angstrom.

    Raises:
        ValueError: There are no frames.
    """
    if not frames:
        raise ValueError("no frames to evaluate")
    energies, forces = [], []
    for done, frame in enumerate(frames, start=1):
        atoms = frame.copy()
        atoms.calc = calculator
        energies.append(float(atoms.get_potential_energy()))
        forces.append(np.array(atoms.get_forces(), dtype=np.float64))
        if progress is not None:
            progress(done)
    return np.array(energies), np.concatenate(forces)


def beside_labels(
    frames: Sequence[Atoms],
    energies: Floats,
    forces: Floats,
    *,
    energy_key: str = "REF_energy",
    forces_key: str = "REF_forces",
) -> Comparison:
    """Put predictions beside the labels of their frames.

    Args:
        frames: Structures with labels in eV and eV/angstrom; a missing label is NaN afterwards.
        energies: Predictions in the order of the frames, shape ``[n_frames]``, eV.
        forces: Predictions, shape ``[sum(n_atoms), 3]``, eV/angstrom.
        energy_key: Name of the energy label.
        forces_key: Name of the force labels.

    Returns:
        Predictions and labels of all frames.

    Raises:
        ValueError: A shape does not fit, or a prediction is not finite.
    """
    return Comparison(
        n_atoms=np.array([len(frame) for frame in frames], dtype=np.int64),
        energies=energies,
        reference_energies=np.array([reference_energy(frame, energy_key) for frame in frames]),
        forces=forces,
        reference_forces=np.concatenate([reference_forces(frame, forces_key) for frame in frames]),
    )
