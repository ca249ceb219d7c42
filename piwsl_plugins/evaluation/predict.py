"""Any ASE calculator on a list of frames, beside the labels that the frames carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress

from piwsl_plugins.evaluation.comparison import Comparison, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a calculator says of frames, in their order.

    Attributes:
        energies: Shape ``[n_frames]``, eV.
        forces: -dE/dr, shape ``[sum(n_atoms), 3]``, eV/angstrom.
        stresses: Shape ``[n_frames, 6]``, Voigt, eV/angstrom^3; NaN where none was asked for, or
            where the calculator has none.
    """

    energies: Floats
    forces: Floats
    stresses: Floats


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


def reference_stress(atoms: Atoms, key: str) -> Floats:
    """Stress label of a frame in Voigt order xx, yy, zz, yz, xz, xy, shape ``[6]``, eV/angstrom^3.

    Args:
        atoms: The frame; ``key`` is looked up as that of an energy.
        key: Name of the label: six numbers in Voigt order, or nine.

    Returns:
        The label, all NaN where the frame has none.

    Raises:
        ValueError: The label has neither six nor nine numbers.
    """
    value = _label(atoms.info, atoms, key)
    if value is None:
        return np.full(6, np.nan)
    numbers = np.array(value, dtype=np.float64)
    if numbers.size == 9:
        return np.asarray(full_3x3_to_voigt_6_stress(numbers.reshape(3, 3)))
    if numbers.size == 6:
        return numbers.reshape(6)
    raise ValueError(f"'{key}' has shape {numbers.shape}, expected (3, 3), (9,) or, Voigt, (6,)")


def compare(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    energy_key: str = "REF_energy",
    forces_key: str = "REF_forces",
    stress_key: str = "REF_stress",
    progress: Callable[[int], object] | None = None,
) -> Comparison:
    """Evaluate a calculator on frames and put its answers beside their labels.

    Args:
        frames: Structures, angstrom; they are copied, not changed. Labels are in eV, eV/angstrom
            and eV/angstrom^3; a missing label is left out later, it is never zero.
        calculator: Any ASE calculator that gives an energy and forces.
        energy_key: Name of the energy label.
        forces_key: Name of the force labels.
        stress_key: Name of the stress label.
        progress: Called with the number of frames done, after each of them.

    Returns:
        Predictions and labels of all frames.

    Raises:
        ValueError: There are no frames, or a prediction is not finite.
    """
    found = predict(frames, calculator, stress_key=stress_key, progress=progress)
    return beside_labels(
        frames,
        found.energies,
        found.forces,
        found.stresses,
        energy_key=energy_key,
        forces_key=forces_key,
        stress_key=stress_key,
    )


def predict(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    stress_key: str = "REF_stress",
    progress: Callable[[int], object] | None = None,
) -> Predictions:
    """Evaluate a calculator on frames.

    Args:
        frames: Structures, angstrom; they are copied, not changed.
        calculator: Any ASE calculator that gives an energy and forces.
        stress_key: Name of the stress label; frames without one are not asked for their stress.
        progress: Called with the number of frames done, after each of them.

    Returns:
        Energies, forces and stresses of the frames.

    Raises:
        ValueError: There are no frames, or the calculator fails at one of them, which is named.
    """
    if not frames:
        raise ValueError("no frames to evaluate")
    energies, forces, stresses = [], [], []
    for done, frame in enumerate(frames, start=1):
        atoms = frame.copy()
        atoms.calc = calculator
        labelled = not np.isnan(reference_stress(frame, stress_key)).any()
        try:
            energies.append(float(atoms.get_potential_energy()))
            forces.append(np.array(atoms.get_forces(), dtype=np.float64))
            stresses.append(_stress(atoms) if labelled else np.full(6, np.nan))
        except Exception as error:  # whatever a calculator raises about a frame
            raise ValueError(
                f"frame {done - 1} (counted from 0): the model failed: {error}"
            ) from error
        if progress is not None:
            progress(done)
    return Predictions(
        energies=np.array(energies), forces=np.concatenate(forces), stresses=np.array(stresses)
    )


def _stress(atoms: Atoms) -> Floats:
    """Predicted stress, shape ``[6]``, eV/angstrom^3; NaN where the calculator has none."""
    try:
        found = np.array(atoms.get_stress(), dtype=np.float64)
    except PropertyNotImplementedError:
        return np.full(6, np.nan)
    if not np.isfinite(found).all():
        raise ValueError("the predicted stress is not a finite number")
    return found


def energy_at(frame: Atoms, positions: Floats, calculator: Calculator) -> float:
    """Energy of a frame with its atoms elsewhere.

    Args:
        frame: Species, cell and boundary conditions; it is copied, not changed.
        positions: Where the atoms are instead, shape ``[n_atoms, 3]``, angstrom.
        calculator: Any ASE calculator.

    Returns:
        eV.

    Raises:
        ValueError: The energy is not finite.
    """
    atoms = _moved(frame, positions, calculator)
    energy = float(atoms.get_potential_energy())
    if not np.isfinite(energy):
        raise ValueError("the predicted energy of a displaced frame is not a finite number")
    return energy


def forces_at(frame: Atoms, positions: Floats, calculator: Calculator) -> Floats:
    """Forces of a frame with its atoms elsewhere.

    Args:
        frame: Species, cell and boundary conditions; it is copied, not changed.
        positions: Where the atoms are instead, shape ``[n_atoms, 3]``, angstrom.
        calculator: Any ASE calculator.

    Returns:
        -dE/dr, shape ``[n_atoms, 3]``, eV/angstrom.

    Raises:
        ValueError: A force is not finite.
    """
    forces = np.array(_moved(frame, positions, calculator).get_forces(), dtype=np.float64)
    if not np.isfinite(forces).all():
        raise ValueError("a predicted force of a displaced frame is not a finite number")
    return forces


def _moved(frame: Atoms, positions: Floats, calculator: Calculator) -> Atoms:
    atoms: Atoms = frame.copy()
    atoms.positions = positions
    atoms.calc = calculator
    return atoms


def beside_labels(
    frames: Sequence[Atoms],
    energies: Floats,
    forces: Floats,
    stresses: Floats | None = None,
    *,
    energy_key: str = "REF_energy",
    forces_key: str = "REF_forces",
    stress_key: str = "REF_stress",
) -> Comparison:
    """Put predictions beside the labels of their frames.

    Args:
        frames: Structures with labels in eV, eV/angstrom and eV/angstrom^3; a missing label is NaN
            afterwards.
        energies: Predictions in the order of the frames, shape ``[n_frames]``, eV.
        forces: Predictions, shape ``[sum(n_atoms), 3]``, eV/angstrom.
        stresses: Predictions, shape ``[n_frames, 6]``, eV/angstrom^3, or None.
        energy_key: Name of the energy label.
        forces_key: Name of the force labels.
        stress_key: Name of the stress label.

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
        stresses=stresses,
        reference_stresses=np.array([reference_stress(frame, stress_key) for frame in frames]),
    )
