"""Calculators with known answers: harmonic springs, and a swirl that no energy can have."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes


class Harmonic(Calculator):
    """E = k/2 |r - c|^2 in all coordinates, plus forces w x (r - c) that are no gradient.

    Args:
        stiffness: k, eV/angstrom^2.
        centre: c, shape [n_atoms, 3], angstrom.
        swirl: w, shape [3], eV/angstrom^2; its circulation around a triangle of one atom with the
            edges a and b is w . (a x b).
        single: whether energies are rounded to single precision.
    """

    implemented_properties = ("energy", "forces")

    def __init__(
        self,
        stiffness: float = 10.0,
        centre: Any = 0.0,
        swirl: tuple[float, float, float] = (0.0, 0.0, 0.0),
        *,
        single: bool = False,
    ) -> None:
        super().__init__()
        self.stiffness, self.centre, self.single = stiffness, centre, single
        self.swirl = np.array(swirl)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        away = self.atoms.positions - self.centre
        energy = 0.5 * self.stiffness * float(np.sum(away**2))
        self.results = {
            "energy": float(np.float32(energy + 1000.0)) if self.single else energy,
            "forces": -self.stiffness * away + np.cross(self.swirl, away),
        }
