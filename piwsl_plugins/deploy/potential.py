"""A model's energy, forces and virial, handed to LAMMPS at each step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from piwsl_plugins.deploy.cells import Floats, padded_cell, virial_of_forces, virial_of_stress
from piwsl_plugins.hosts.calculators import LoadedModel

#: A mass belongs to an element that is as near as this, and not to one farther than that, relative.
NEAR, FAR = 0.01, 0.5


class FailedError(ValueError):
    """The model gave no usable numbers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of one geometry.

    Attributes:
        energy: eV.
        energies: Of the atoms, shape ``[n_atoms]``, eV; NaN where the model does not tell.
        forces: Shape ``[n_atoms, 3]``, eV/angstrom.
        virial: Shape ``[6]``, LAMMPS's order, eV.
    """

    energy: float
    energies: Floats
    forces: Floats
    virial: Floats


@dataclass(slots=True)
class Potential:
    """A model and the elements of LAMMPS's atom types.

    Attributes:
        model: The loaded model.
        elements: Chemical symbol of each atom type, from type 1.
        is_local: Whether atoms farther apart than the cutoff of the model's layers do not meet, as
            in MACE and NequIP; a correction to another method sees as far as that method.
        seconds: Time spent in the model, s.
        evaluations: How often it was asked.
    """

    model: LoadedModel
    elements: Sequence[str]
    is_local: bool = True
    seconds: float = 0.0
    evaluations: int = 0
    numbers: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.elements) - self.model.elements)
        if unknown:
            raise ValueError(
                f"atom types {' '.join(self.elements)}: the model does not know "
                f"{', '.join(unknown)}; it knows {', '.join(sorted(self.model.elements))}"
            )
        self.numbers = np.array([0, *(atomic_numbers[name] for name in self.elements)])

    def evaluate(
        self, types: NDArray[np.int32], positions: Floats, cell: Floats, periodic: NDArray[np.bool_]
    ) -> Answer:
        """Ask the model.

        Args:
            types: LAMMPS's atom types, from 1, shape ``[n_atoms]``.
            positions: Shape ``[n_atoms, 3]``, angstrom.
            cell: Edges as rows, shape ``[3, 3]``, angstrom.
            periodic: In which of them the box repeats, shape ``[3]``.

        Raises:
            FailedError: Geometry or answer are no finite numbers, or the model raised an error.
        """
        if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
            raise FailedError("positions or box are no finite numbers")
        if not len(types):
            return Answer(0.0, np.zeros(0), np.zeros((0, 3)), np.zeros(6))
        atoms = Atoms(self.numbers[types], positions=positions)
        if periodic.any() and not (periodic.all() or self.is_local):
            raise FailedError(
                "this model holds a method without a cutoff, which cannot repeat in some "
                "directions alone; write 'boundary p p p' with a vacuum, or 'boundary f f f'"
            )
        if periodic.any():
            atoms.cell = padded_cell(cell, periodic, positions, self.model.cutoff)
            atoms.pbc = True
        results = self._ask(atoms, ["energy", "forces", *["stress"] * bool(periodic.any())])
        energy = float(results["energy"])
        forces = np.asarray(results["forces"], dtype=float)
        if not np.isfinite(energy):
            raise FailedError("the model's energy is no finite number")
        if bad := int((~np.isfinite(forces)).any(axis=1).sum()):
            raise FailedError(
                f"the model's forces on {bad} of {len(types)} atoms are no finite numbers"
            )
        if periodic.any():
            virial = virial_of_stress(results["stress"], np.array(atoms.cell))
        else:
            virial = virial_of_forces(positions, forces)
        if not np.isfinite(virial).all():
            raise FailedError("the model's stress is no finite number")
        energies = np.asarray(results.get("energies", np.full(len(types), np.nan)), dtype=float)
        return Answer(energy, energies, forces, virial)

    def _ask(self, atoms: Atoms, properties: list[str]) -> dict[str, Any]:
        start = time.perf_counter()
        try:
            self.model.calculator.calculate(atoms, properties, all_changes)
        except Exception as error:  # whatever a host raises far from what its model knows
            raise FailedError(f"the model failed: {type(error).__name__}: {error}") from error
        self.seconds += time.perf_counter() - start
        self.evaluations += 1
        results: dict[str, Any] = self.model.calculator.results
        if missing := [name for name in properties if name not in results]:
            raise FailedError(f"the model gives no {' and no '.join(missing)}")
        return results

    def check_masses(self, masses: Sequence[float]) -> None:
        """Refuse elements in another order than that of the atom types.

        Args:
            masses: Of the atom types, from type 1, g/mol.

        Raises:
            ValueError: A type has the mass of another of the elements.
        """
        for number, (name, mass) in enumerate(zip(self.elements, masses, strict=True), start=1):
            own = atomic_masses[atomic_numbers[name]]
            other = [
                one
                for one in self.elements
                if abs(mass / atomic_masses[atomic_numbers[one]] - 1.0) < NEAR
            ]
            if other and name not in other and abs(mass / own - 1.0) > FAR:
                raise ValueError(
                    f"atom type {number} is {name}, the model's elements being "
                    f"{' '.join(self.elements)}, but its mass is {mass:g}, that of {other[0]}: "
                    "give the elements in the order of the atom types"
                )
