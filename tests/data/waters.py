"""Labelled water molecules and files of them, for tests of the readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator


def waters(number: int, seed: int = 0) -> list[ase.Atoms]:
    """Distorted water molecules with ``ccsd`` (eV) and ``dft_forces`` (eV/angstrom)."""
    generator = np.random.default_rng(seed)
    frames = []
    for i in range(number):
        atoms = ase.build.molecule("H2O")
        atoms.positions += generator.normal(scale=0.05, size=(3, 3))
        atoms.info["ccsd"] = -2078.0 + 0.01 * i
        atoms.info["config_type"] = "liquid" if i % 2 else "gas"
        atoms.arrays["dft_forces"] = generator.normal(size=(3, 3))
        frames.append(atoms)
    return frames


def calculated(number: int) -> list[ase.Atoms]:
    """The same with energy, forces and stress as results of a calculator, in a cell."""
    frames = waters(number)
    for i, atoms in enumerate(frames):
        atoms.set_cell([9.0, 9.0, 9.0])
        atoms.pbc = True
        atoms.calc = SinglePointCalculator(
            atoms, energy=-14.0 - i, forces=np.full((3, 3), 0.5 * i), stress=np.arange(6.0) + i
        )
    return frames


def write(path: Path, frames: Sequence[ase.Atoms]) -> Path:
    """Write frames as the name of the file says."""
    ase.io.write(path, list(frames))
    return path
