"""Small files of energies in the layouts of ANI and SPICE, of made-up energies that add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import ase
import ase.build
import h5py
import numpy as np
from ase import units

ATOMS = {"H": -13.6, "C": -1028.0, "O": -2041.0}
"""Energies of the free atoms in these files, eV."""
NAMES = ("H2O", "H2CO", "CH3OH", "H2", "CO")


def conformers(name: str, count: int, seed: int = 0) -> list[ase.Atoms]:
    """Differently rattled copies of a molecule."""
    frames = [ase.build.molecule(name) for _ in range(count)]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=100 * seed + number)
    return frames


def energy(atoms: ase.Atoms) -> float:
    """An energy that is the free atoms' and a little, eV."""
    free = sum(ATOMS[symbol] for symbol in atoms.get_chemical_symbols())
    return float(free - 2.0 * len(atoms) + 0.5 * np.sin(atoms.positions).sum())


def forces(atoms: ase.Atoms) -> np.ndarray:
    """Minus its gradient, eV/angstrom."""
    return -0.5 * np.cos(atoms.positions)


def spice_file(path: Path, frames: int = 4, names: Sequence[str] = NAMES, seed: int = 0) -> Path:
    """A file in SPICE's layout: bohr, hartree, gradients."""
    with h5py.File(path, "w") as file:
        for name in names:
            atoms = conformers(name, frames, seed)
            group = file.create_group(name)
            group["atomic_numbers"] = atoms[0].numbers.astype(np.int16)
            group["conformations"] = np.array([a.positions for a in atoms]) / units.Bohr
            group["dft_total_energy"] = np.array([energy(a) for a in atoms]) / units.Hartree
            gradient = -np.array([forces(a) for a in atoms])
            group["dft_total_gradient"] = gradient * units.Bohr / units.Hartree
            group["subset"], group["smiles"] = [b"made up"], [b"O"]
    return path


def ani_file(
    path: Path,
    frames: int = 4,
    names: Sequence[str] = NAMES,
    missing: Mapping[str, Sequence[int]] | None = None,
) -> Path:
    """A file in ANI's layout: two parts of an energy, of which the second may be NaN, and forces.

    Args:
        path: the file.
        frames: conformers of each molecule.
        names: the molecules.
        missing: by molecule, the conformers without ``mp2_qz.corr_energy``.
    """
    with h5py.File(path, "w") as file:
        for name in names:
            atoms = conformers(name, frames)
            whole = np.array([energy(a) for a in atoms]) / units.Hartree
            correlation = 0.01 * whole
            correlation[list((missing or {}).get(name, ()))] = np.nan
            group = file.create_group(name)
            group["atomic_numbers"] = atoms[0].numbers.astype(np.uint8)
            group["coordinates"] = np.array([a.positions for a in atoms]).astype(np.float64)
            group["hf_qz.energy"] = 0.99 * whole
            group["mp2_qz.corr_energy"] = correlation
            group["wb97x_dz.energy"] = whole + 0.1
            group["wb97x_dz.forces"] = np.array([forces(a) for a in atoms]) / units.Hartree
    return path
