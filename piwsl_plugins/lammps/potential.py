"""A model's energy, forces and virial of a geometry in LAMMPS's box."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from piwsl_plugins.models import LoadedModel

Floats = NDArray[np.float64]
MARGIN = 1.0
"""Empty space beyond the model's cutoff where LAMMPS's box does not repeat, angstrom."""
NEAR, FAR = 0.01, 0.5
"""A mass is an element's within the first, and not an element's beyond the second, relative."""


class FailedError(ValueError):
    """The model gave no usable numbers."""


@dataclass(slots=True)
class Potential:
    """A model, and the chemical symbol of each of LAMMPS's atom types, from type 1.

    An infinite cutoff says that the model holds a method without one. The time spent in the model
    and the number of evaluations are counted.

    Raises:
        ValueError: the model does not know an element.
    """

    model: LoadedModel
    elements: Sequence[str]
    evaluations: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.elements) - self.model.elements):
            raise ValueError(
                f"atom types {' '.join(self.elements)}: the model does not know "
                f"{', '.join(unknown)}; it knows {', '.join(sorted(self.model.elements))}"
            )

    def evaluate(self, atoms: Atoms) -> tuple[float, Floats, Floats, Floats]:
        """Ask the model about a geometry in LAMMPS's box, angstrom.

        Returns:
            Energy (eV), energies of the atoms ([n_atoms], eV; NaN where the model does not tell),
            forces ([n_atoms, 3], eV/angstrom), virial, -dE/dstrain (xx yy zz xy xz yz, eV); a
            FailedError where geometry or answer are no finite numbers, or the model failed.
        """
        if not np.isfinite([*atoms.positions, *atoms.cell]).all():
            raise FailedError("positions or box are not finite numbers")
        if not len(atoms):
            return 0.0, np.zeros(0), np.zeros((0, 3)), np.zeros(6)
        asked, wanted = Atoms(atoms.numbers, positions=atoms.positions), ["energy", "forces"]
        if atoms.pbc.any():
            if not (atoms.pbc.all() or np.isfinite(self.model.cutoff)):
                raise FailedError(
                    "this model holds a method without a cutoff, which cannot repeat in some "
                    "directions alone; write 'boundary p p p' with a vacuum, or 'boundary f f f'"
                )
            asked.set_cell(padded_cell(atoms, self.model.cutoff))
            asked.pbc = True
            wanted.append("stress")
        start = time.perf_counter()
        try:
            self.model.calculator.calculate(asked, wanted, all_changes)
        except Exception as error:  # whatever a host raises far from what its model knows
            raise FailedError(f"the model failed: {type(error).__name__}: {error}") from error
        self.seconds += time.perf_counter() - start
        self.evaluations += 1
        results = self.model.calculator.results
        for name in wanted:
            if name not in results:
                raise FailedError(f"the model gives no {name}")
            finite = np.isfinite(results[name])
            if bad := finite.size - finite.sum():
                raise FailedError(f"the model's {name}: {bad} of {finite.size} are not finite")
        forces = np.asarray(results["forces"], dtype=float)
        if asked.pbc.any():
            xx, yy, zz, yz, xz, xy = -asked.get_volume() * np.asarray(results["stress"], float)
        else:  # nothing repeats: the virial is the sum of r F
            product = (atoms.positions - atoms.positions.mean(axis=0)).T @ forces
            (xx, xy, xz), (_, yy, yz), (_, _, zz) = 0.5 * (product + product.T)
        energies = np.asarray(results.get("energies", np.full(len(atoms), np.nan)), dtype=float)
        return float(results["energy"]), energies, forces, np.array([xx, yy, zz, xy, xz, yz])

    def check_masses(self, masses: Sequence[float]) -> None:
        """Refuse elements that are not in the order of the atom types, whose masses (g/mol) tell.

        Raises:
            ValueError: a type has the mass of another of the elements.
        """
        own = {name: atomic_masses[atomic_numbers[name]] for name in self.elements}
        for number, (name, mass) in enumerate(zip(self.elements, masses, strict=True), start=1):
            same = [other for other, its in own.items() if abs(mass / its - 1.0) < NEAR]
            if same and name not in same and abs(mass / own[name] - 1.0) > FAR:
                raise ValueError(
                    f"atom type {number} is {name}, the elements being {' '.join(self.elements)}, "
                    f"but its mass is {mass:g}, that of {same[0]}: give the elements in the order "
                    "of the atom types"
                )


def padded_cell(atoms: Atoms, cutoff: float) -> Floats:
    """Edges, as rows, of a cell that repeats everywhere and leaves each atom its neighbours.

    An edge in which the box does not repeat gives way to one at right angles to all that do, long
    enough that an atom and an image across it are farther apart than ``cutoff``, in angstrom. So
    energy and forces are those of the open boundary, and the stress is the same in every host.
    """
    cell = np.array(atoms.cell, dtype=float)
    if not atoms.pbc.all():
        _, _, rows = np.linalg.svd(cell[atoms.pbc])
        across = rows[int(atoms.pbc.sum()) :]
        lengths = np.ptp(atoms.positions @ across.T, axis=0) + cutoff + MARGIN
        cell[~atoms.pbc] = lengths[:, None] * across
    return cell
