"""Make large files of the layouts of ANI-1x and SPICE, to try readers and trainings on.

    python scripts/data/make_large_hdf5.py -o results/large_hdf5

Small molecules of ASE's G2 set, every atom displaced at random; energies and forces are those of a
Morse function for each bond, beside the energies of the atoms: cheap, smooth and exact derivatives
of each other, not quantum chemistry. ani.h5 has a group a formula, spice.h5 a group of 50
conformers a molecule. As in ANI-1x, the coupled-cluster energies are there for a tenth of the
conformers and NaN elsewhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import ase.build
import h5py
import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from numpy.typing import NDArray
from tqdm import tqdm

Floats = NDArray[np.float64]
MOLECULES = (
    *("CH4", "NH3", "H2O", "C2H2", "C2H4", "C2H6", "HCN", "H2CO", "CH3OH", "HCOOH", "N2H4"),
    *("H3CNH2", "CH3CHO", "H2CCO", "CH3CN", "CH3CH2OH", "CH3COCH3", "CH3CONH2", "C6H6"),
)
"""One molecule a formula; hydrogen, carbon, nitrogen and oxygen only."""
ATOMS = {1: -0.500, 6: -37.781, 7: -54.516, 8: -74.976}
"""Total energies of the atoms, hartree."""
DEPTH, WIDTH = 0.19, 1.9
"""Of a bond's Morse function, hartree and 1/angstrom."""
SPREAD = 0.04
"""Standard deviation of a coordinate, angstrom."""
SPICE_CONFORMERS, CCSD_SHARE = 50, 0.1


def bond_energies(atoms: Atoms, positions: Floats) -> tuple[Floats, Floats]:
    """Sum of the bonds' Morse functions, and the forces.

    Args:
        atoms: the molecule at rest; atoms nearer than 1.3 times their radii are bonded.
        positions: shape [n_frames, n_atoms, 3], angstrom.

    Returns:
        Energies, shape [n_frames], hartree, below zero; forces, -dE/dr, shape [n_frames, n_atoms,
        3], hartree/angstrom.
    """
    radii = covalent_radii[atoms.numbers]
    at_rest = atoms.get_all_distances()
    first, second = np.nonzero(np.triu(at_rest < 1.3 * (radii[:, None] + radii), 1))
    vectors = positions[:, first] - positions[:, second]
    lengths = np.linalg.norm(vectors, axis=2)
    decay = np.exp(-WIDTH * (lengths - at_rest[first, second]))
    energies = (DEPTH * ((1.0 - decay) ** 2 - 1.0)).sum(axis=1)
    pulls = (2.0 * DEPTH * WIDTH * (1.0 - decay) * decay / lengths)[:, :, None] * vectors
    ends = np.eye(len(atoms))
    return energies, np.einsum("fbx,ba->fax", pulls, ends[second] - ends[first])


def labels(
    layout: str, atoms: Atoms, positions: Floats, missing: NDArray[np.bool_]
) -> dict[str, Floats]:
    """Columns of a group by name: in hartree, and hartree/angstrom (ANI) or hartree/bohr (SPICE).

    Args:
        layout: ani or spice.
        atoms: the molecule at rest.
        positions: shape [n_frames, n_atoms, 3], angstrom.
        missing: frames without coupled-cluster energies, shape [n_frames].
    """
    alone = sum(ATOMS[int(number)] for number in atoms.numbers)
    bonds, forces = bond_energies(atoms, positions)
    if layout == "spice":
        found = {"conformations": positions / units.Bohr, "dft_total_energy": alone + bonds}
        return found | {"formation_energy": bonds, "dft_total_gradient": -forces * units.Bohr}
    correlation = 0.006 * alone + 0.25 * bonds
    costly = {"ccsd(t)_cbs.energy": alone + bonds}
    for n, basis in ((2, "dz"), (3, "tz"), (4, "qz")):  # correlation converges as n^-3
        costly[f"hf_{basis}.energy"] = (alone + bonds - correlation) * (1.0 - 2e-4 * 4.0 ** (2 - n))
        costly[f"mp2_{basis}.corr_energy"] = 0.95 * correlation * (1.0 - 1.5 / n**3)
    costly = {name: np.where(missing, np.nan, values) for name, values in costly.items()}
    cheap = {"wb97x_dz.energy": 0.9998 * alone + 1.05 * bonds, "wb97x_dz.forces": 1.05 * forces}
    return {"coordinates": positions} | cheap | costly


def write_file(path: Path, layout: str, conformers: int, seed: int) -> None:
    """Write a file of a layout with so many conformers."""
    size = SPICE_CONFORMERS if layout == "spice" else -(-conformers // len(MOLECULES))
    with h5py.File(path, "w") as file:
        for number in tqdm(range(-(-conformers // size)), path.name):
            random = np.random.default_rng((seed, len(layout), number))
            atoms = ase.build.molecule(MOLECULES[number % len(MOLECULES)])
            count = min(size, conformers - number * size)
            steps = SPREAD * random.normal(size=(count, len(atoms), 3))
            formula = atoms.get_chemical_formula()
            group = file.create_group(formula if layout == "ani" else f"{formula}-{number:06d}")
            group["atomic_numbers"] = atoms.numbers.astype("u1" if layout == "ani" else "i2")
            missing = random.random(count) >= CCSD_SHARE
            rattled = (atoms.positions + steps).astype("f4").astype("f8")
            for name, values in labels(layout, atoms, rattled, missing).items():
                group[name] = values.astype("f8" if values.ndim == 1 else "f4")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the files; ``arguments`` are the command line's, None for the real one's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("-o", "--output", type=Path, default=Path("results/large_hdf5"), help="(%(default)s)")
    add("-n", "--conformers", type=int, default=100_000, help="of each file (%(default)s)")
    add("--seed", type=int, default=1)
    add("--force", action="store_true", help="overwrite existing files")
    options = parser.parse_args(arguments)
    paths = {layout: options.output / f"{layout}.h5" for layout in ("ani", "spice")}
    if any(path.exists() for path in paths.values()) and not options.force:
        sys.exit(f"{options.output} has such files already; --force overwrites them")
    options.output.mkdir(parents=True, exist_ok=True)
    for layout, path in paths.items():
        write_file(path, layout, options.conformers, options.seed)
        print(f"{path}: {options.conformers} conformers, {path.stat().st_size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
