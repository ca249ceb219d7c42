"""Small labelled molecules and crystals for the tests of the teacher."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential

from piwsl_plugins.data.frames import Frame


def rattled(atoms: ase.Atoms, n: int, length: float = 0.05, seed: int = 0) -> list[ase.Atoms]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        copy = atoms.copy()
        copy.positions += rng.normal(scale=length, size=copy.positions.shape)
        made.append(copy)
    return made


def labelled(
    frames: Sequence[ase.Atoms], *, forces: bool = False, stress: bool = False, low: float = 0.0
) -> list[Frame]:
    """Frames with energies of a Morse potential; ``low``: those of a scaled one beside them."""
    made = []
    for number, atoms in enumerate(frames):
        copy = atoms.copy()
        periodic = bool(copy.pbc.any())
        copy.calc = EMT() if periodic else MorsePotential(epsilon=2.0, r0=1.2, rho0=3.0)
        labels = {"energy": copy.get_potential_energy()}
        if forces:
            labels["forces"] = copy.get_forces()
        if stress:
            labels["stress"] = copy.get_stress(voigt=False)
        if low:
            copy.calc = MorsePotential(epsilon=2.0, r0=1.2 + low, rho0=3.0)
            labels["low_energy"] = copy.get_potential_energy()
            labels["low_forces"] = copy.get_forces()
        made.append(Frame(atoms=atoms, labels=labels, source="made.xyz", number=number))
    return made


def true_forces(frames: Sequence[Frame]) -> list[np.ndarray]:
    return [frame.labels["forces"] for frame in labelled([f.atoms for f in frames], forces=True)]


def molecules(n: int, seed: int = 0) -> list[ase.Atoms]:
    return rattled(molecule("CH3OH"), n, seed=seed)


def crystals(n: int, seed: int = 0) -> list[ase.Atoms]:
    """Small cells of a copper-gold alloy, strained and rattled."""
    rng = np.random.default_rng(seed)
    made = []
    for atoms in rattled(bulk("Cu", "fcc", a=3.7, cubic=True), n, 0.05, seed):
        atoms.symbols[0] = "Au"
        strain = np.eye(3) + rng.normal(scale=0.02, size=(3, 3))
        atoms.set_cell(atoms.cell @ (strain + strain.T) / 2, scale_atoms=True)
        made.append(atoms)
    return made
