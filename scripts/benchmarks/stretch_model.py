"""Compare the curvature term's model Hessian with GFN2-xTB's, on molecules of ASE's G2 set.

    python scripts/benchmarks/stretch_model.py

For each molecule whose elements the term knows, slightly displaced, and random directions d: d'Hd
of both, eV/angstrom^2; GFN2-xTB's by central differences of forces.
"""

from __future__ import annotations

import sys

import ase.build
import numpy as np
import torch
from ase.collections import g2
from ase.data import covalent_radii
from numpy.typing import NDArray
from tqdm import tqdm

from piwsl_plugins.evaluation.dynamics import random_directions
from piwsl_plugins.losses import Pairs, stretch_product
from piwsl_plugins.losses.curvature import STRETCH_ELEMENTS

DIRECTIONS, STEP = 6, 0.005


def molecules() -> list[str]:
    """Names of the closed-shell molecules of three atoms and more with known elements."""
    found = []
    for name in g2.names:
        atoms = ase.build.molecule(name)
        known = set(atoms.get_chemical_symbols()) <= set(STRETCH_ELEMENTS)
        if known and len(atoms) > 2 and not sum(atoms.numbers) % 2 and "1d" not in name:
            found.append(name)
    return found


def curvatures(name: str, generator: np.random.Generator) -> NDArray[np.float64]:
    """Curvature d'Hd of GFN2-xTB and of the stretches, shape [2, DIRECTIONS], eV/angstrom^2."""
    from tblite.ase import TBLite

    atoms = ase.build.molecule(name)
    atoms.rattle(0.03, seed=1)
    start = atoms.positions.copy()
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.1)
    index = np.argwhere(~np.eye(len(atoms), dtype=bool)).T
    pairs = Pairs(
        index=torch.tensor(index),
        shifts=torch.zeros(index.shape[1], 3, dtype=torch.float64),
        radii=torch.tensor(covalent_radii[atoms.numbers]),
    )
    found: list[tuple[float, float]] = []
    for direction in random_directions(len(atoms), DIRECTIONS, generator):
        forces = []
        for sign in (1, -1):
            atoms.positions = start + sign * STEP * direction
            forces.append(atoms.get_forces())
        reference = ((forces[1] - forces[0]) * direction).sum() / (2 * STEP)
        d = torch.tensor(direction)
        model = float((d * stretch_product(torch.tensor(start), d, pairs)).sum())
        found.append((float(reference), model))
    table: NDArray[np.float64] = np.array(found).T
    return table


def main() -> int:
    """Print the comparison."""
    generator, names = np.random.default_rng(0), molecules()
    table = [curvatures(name, generator) for name in tqdm(names, "molecules")]
    reference, model = np.array(table).transpose(1, 0, 2)
    for name, ratio in zip(names, reference.mean(1) / model.mean(1), strict=True):
        print(f"{name:20s} {ratio:.2f}")
    slope = (reference * model).sum() / (model**2).sum()
    scatter = np.sqrt(np.mean((reference - model) ** 2)) / reference.mean()
    correlation = np.corrcoef(reference.ravel(), model.ravel())[0, 1]
    print(
        f"{len(names)} molecules, {reference.size} directions: GFN2-xTB / stretches {slope:.2f}, "
        f"root mean square difference {scatter:.0%} of the mean, correlation {correlation:.2f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
