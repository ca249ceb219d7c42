"""Compare the curvature term's model Hessian with GFN2-xTB's, on molecules of ASE's G2 set.

    pip install -e '.[datasets]' && python scripts/check_stretch_model.py

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
from rich.progress import track

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


def curvatures(name: str, generator: np.random.Generator) -> tuple[list[float], list[float]]:
    """Curvature d'Hd of GFN2-xTB and of the stretches for random unit vectors d, eV/angstrom^2."""
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
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(DIRECTIONS):
        direction = generator.normal(size=start.shape)
        direction /= np.linalg.norm(direction)
        forces = []
        for sign in (1, -1):
            atoms.positions = start + sign * STEP * direction
            forces.append(atoms.get_forces())
        found[0].append(float(((forces[1] - forces[0]) * direction).sum() / (2 * STEP)))
        d = torch.tensor(direction)
        found[1].append(float((d * stretch_product(torch.tensor(start), d, pairs)).sum()))
    return found


def main() -> int:
    """Print the comparison."""
    generator = np.random.default_rng(0)
    names = molecules()
    table = [curvatures(name, generator) for name in track(names, "molecules")]
    reference, model = (np.array([row[k] for row in table]) for k in (0, 1))
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
