#!/usr/bin/env python3
"""Make large files of the layouts of ANI-1x and SPICE, to try readers and trainings on.

Small molecules of ASE's G2 set, every atom displaced at random as at 300 to 600 K; energies and
forces are those of a Morse function for each bond, whose depths and widths depend on the elements,
beside the energies of the atoms. They are cheap, smooth and exact derivatives of each other, not
quantum chemistry::

    python scripts/make_large_hdf5.py -o results/large_hdf5

writes ani.h5 (a group a formula) and spice.h5 (a group of 50 conformers a molecule), 100,000
conformers each. As in ANI-1x, the coupled-cluster energies are there for a tenth of the conformers
and NaN elsewhere; the correlation energies of two basis sets differ from their limit as n^-3.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import ase.build
import h5py
import numpy as np
from ase import units
from ase.data import covalent_radii
from numpy.typing import NDArray
from rich.progress import Progress

Floats = NDArray[np.float64]
#: Of ASE's G2 set, one molecule a formula; hydrogen, carbon, nitrogen and oxygen only.
MOLECULES = (
    *("CH4", "NH3", "H2O", "C2H2", "C2H4", "C2H6", "HCN", "H2CO", "CH3OH", "HCOOH", "N2H4"),
    *("H3CNH2", "CH3CHO", "H2CCO", "CH3CN", "CH3CH2OH", "CH3COCH3", "CH3CONH2", "CH3CH2NH2"),
    *("C3H8", "C4H4O", "C4H4NH", "C5H5N", "C6H6", "isobutane"),
)
#: hartree, total energies of the atoms.
ATOMS = {1: -0.500, 6: -37.781, 7: -54.516, 8: -74.976}
#: hartree; 1/angstrom.
DEPTH, WIDTH = {1: 0.16, 6: 0.22, 7: 0.19, 8: 0.20}, {1: 1.9, 6: 1.8, 7: 2.0, 8: 2.1}
#: angstrom, standard deviation of a coordinate at 300 K; kelvin.
SPREAD, TEMPERATURES = 0.03, (300.0, 600.0)
#: Conformers of a SPICE molecule; share of conformers with coupled-cluster energies.
SPICE_CONFORMERS, CCSD_SHARE = 50, 0.1
#: Conformers that are made at once.
SLICE = 5000
FILES = {"ani": "ani.h5", "spice": "spice.h5"}


@dataclasses.dataclass(frozen=True, slots=True)
class Molecule:
    """A structure and its bonds.

    Attributes:
        name: formula.
        numbers: atomic numbers, shape [n_atoms].
        positions: shape [n_atoms, 3], angstrom.
        bonds: bonded atoms, shape [n_bonds, 2].
    """

    name: str
    numbers: NDArray[np.int64]
    positions: Floats
    bonds: NDArray[np.int64]

    @classmethod
    def of(cls, name: str) -> Molecule:
        """A molecule of the G2 set; atoms nearer than 1.3 times their radii are bonded."""
        atoms = ase.build.molecule(name)
        radii = covalent_radii[atoms.numbers]
        near = atoms.get_all_distances() < 1.3 * (radii[:, None] + radii)
        bonds = np.argwhere(np.triu(near, 1))
        return cls(atoms.get_chemical_formula(), atoms.numbers, atoms.positions, bonds)

    def rattled(self, count: int, random: np.random.Generator) -> Floats:
        """Conformers, shape [count, n_atoms, 3], angstrom, rounded to single precision."""
        spread = SPREAD * np.sqrt(random.uniform(*TEMPERATURES, count) / TEMPERATURES[0])
        steps = random.normal(size=(count, *self.positions.shape))
        return (self.positions + spread[:, None, None] * steps).astype("f4").astype("f8")

    def bond_energies(self, positions: Floats) -> tuple[Floats, Floats]:
        """Sum of the bonds' Morse functions, and the forces.

        Args:
            positions: shape [n_frames, n_atoms, 3], angstrom.

        Returns:
            Energies, shape [n_frames], hartree, below zero; forces, -dE/dr, shape [n_frames,
            n_atoms, 3], hartree/angstrom.
        """
        first, second = self.bonds.T
        depth = 0.5 * sum(_by_element(DEPTH, self.numbers[end]) for end in (first, second))
        width = 0.5 * sum(_by_element(WIDTH, self.numbers[end]) for end in (first, second))
        at_rest = np.linalg.norm(self.positions[first] - self.positions[second], axis=1)
        vectors = positions[:, first] - positions[:, second]
        lengths = np.linalg.norm(vectors, axis=2)
        decay = np.exp(-width * (lengths - at_rest))
        energies = (depth * ((1.0 - decay) ** 2 - 1.0)).sum(axis=1)
        slopes = 2.0 * depth * width * (1.0 - decay) * decay
        pulls = (slopes / lengths)[:, :, None] * vectors
        forces = np.zeros_like(positions)
        for bond, (one, other) in enumerate(self.bonds):
            forces[:, one] -= pulls[:, bond]
            forces[:, other] += pulls[:, bond]
        return energies, forces

    @property
    def atoms_energy(self) -> float:
        """Total energy of the atoms, hartree."""
        return float(_by_element(ATOMS, self.numbers).sum())


def _by_element(table: dict[int, float], numbers: NDArray[np.int64]) -> Floats:
    return np.array([table[int(number)] for number in numbers])


def ani_labels(
    molecule: Molecule, positions: Floats, random: np.random.Generator
) -> dict[str, Floats]:
    """Labels as in ANI-1x, hartree and hartree/angstrom, NaN where missing."""
    atoms, count = molecule.atoms_energy, len(positions)
    bonds, forces = molecule.bond_energies(positions)
    correlation = 0.006 * atoms + 0.25 * bonds  # of CCSD(T) at the complete basis set
    labels = {
        "wb97x_dz.energy": 0.9998 * atoms + 1.05 * bonds,
        "wb97x_tz.energy": atoms + 0.98 * bonds,
        "wb97x_dz.forces": 1.05 * forces,
        "wb97x_tz.forces": 0.98 * forces,
        "ccsd(t)_cbs.energy": atoms + bonds,
    }
    for n, basis in ((2, "dz"), (3, "tz"), (4, "qz")):
        labels[f"hf_{basis}.energy"] = (atoms + bonds - correlation) * (1.0 - 2e-4 * 4.0 ** (2 - n))
        labels[f"mp2_{basis}.corr_energy"] = 0.95 * correlation * (1.0 - 1.5 / n**3)
        if basis != "qz":
            labels[f"npno_ccsd(t)_{basis}.corr_energy"] = correlation * (1.0 - 1.5 / n**3)
    labels["tpno_ccsd(t)_dz.corr_energy"] = 1.001 * labels["npno_ccsd(t)_dz.corr_energy"]
    no_ccsd = random.random(count) >= CCSD_SHARE
    no_tz = random.random(count) < 0.01
    for name, values in labels.items():
        if not name.startswith("wb97x_dz"):
            values[no_tz if name.startswith("wb97x_tz") else no_ccsd] = np.nan
    return labels


def spice_labels(
    molecule: Molecule, positions: Floats, random: np.random.Generator
) -> dict[str, Floats]:
    """Labels as in SPICE, hartree and hartree/bohr."""
    bonds, forces = molecule.bond_energies(positions)
    return {
        "dft_total_energy": molecule.atoms_energy + bonds,
        "formation_energy": bonds,
        "dft_total_gradient": -forces * units.Bohr,
    }


def ani_groups(conformers: int) -> Iterator[tuple[str, Molecule, int]]:
    """Name, molecule and number of conformers of each group: a formula each."""
    shares = np.array_split(np.arange(conformers), len(MOLECULES))
    for name, share in zip(MOLECULES, shares, strict=True):
        molecule = Molecule.of(name)
        yield molecule.name, molecule, len(share)


def spice_groups(conformers: int) -> Iterator[tuple[str, Molecule, int]]:
    """The same, with many groups of few conformers."""
    for number in range(-(-conformers // SPICE_CONFORMERS)):
        molecule = Molecule.of(MOLECULES[number % len(MOLECULES)])
        left = conformers - number * SPICE_CONFORMERS
        yield f"{molecule.name.lower()}-{number:06d}", molecule, min(left, SPICE_CONFORMERS)


def write_group(
    group: h5py.Group, layout: str, molecule: Molecule, count: int, random: np.random.Generator
) -> Iterator[int]:
    """Write a group slice by slice; yields how many conformers each had."""
    group["atomic_numbers"] = molecule.numbers.astype("u1" if layout == "ani" else "i2")
    name, length = ("coordinates", 1.0) if layout == "ani" else ("conformations", units.Bohr)
    if layout == "spice":
        text = h5py.string_dtype()
        group.create_dataset("subset", data=["G2, rattled"], dtype=text)
        group.create_dataset("smiles", data=[molecule.name], dtype=text)
    for start in range(0, count, SLICE):
        rows = slice(start, min(start + SLICE, count))
        positions = molecule.rattled(rows.stop - start, random)
        make = ani_labels if layout == "ani" else spice_labels
        for column, values in {
            name: positions / length,
            **make(molecule, positions, random),
        }.items():
            if column not in group:
                kind = "f8" if values.ndim == 1 else "f4"
                group.create_dataset(column, (count, *values.shape[1:]), kind)
            group[column][rows] = values
        yield rows.stop - start


def write_file(path: Path, layout: str, conformers: int, seed: int, bars: Progress) -> None:
    """Write a file under another name, and give it its own when it is whole."""
    partial = path.with_name(path.name + ".part")
    task = bars.add_task(path.name, total=conformers)
    groups = ani_groups(conformers) if layout == "ani" else spice_groups(conformers)
    try:
        with h5py.File(partial, "w") as file:
            for number, (name, molecule, count) in enumerate(groups):
                random = np.random.default_rng((seed, tuple(FILES).index(layout), number))
                group = file.create_group(name)
                for done in write_group(group, layout, molecule, count, random):
                    bars.advance(task, done)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("-o", "--output", type=Path, default=Path("results/large_hdf5"), help="(%(default)s)")
    add("-n", "--conformers", type=int, default=100_000, help="of each file (%(default)s)")
    add("--layout", choices=tuple(FILES), action="append", help="only this one (both)")
    add("--seed", type=int, default=1)
    add("--force", action="store_true", help="overwrite existing files")
    options = parser.parse_args(arguments)
    if options.conformers < len(MOLECULES):
        parser.error(f"-n: got {options.conformers}, expected at least {len(MOLECULES)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the files.

    Args:
        arguments: Words of the command line; None for the real ones.
    """
    options = parse(arguments)
    paths = {layout: options.output / FILES[layout] for layout in options.layout or FILES}
    existing = [str(path) for path in paths.values() if path.exists()]
    if existing and not options.force:
        sys.exit(f"{', '.join(existing)} exist; --force overwrites them")
    options.output.mkdir(parents=True, exist_ok=True)
    with Progress() as bars:
        for layout, path in paths.items():
            write_file(path, layout, options.conformers, options.seed, bars)
    for path in paths.values():
        print(f"{path}: {options.conformers} conformers, {path.stat().st_size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
