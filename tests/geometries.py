"""Displaced copies of structures, for the tests of both hosts."""

from __future__ import annotations

import ase
import numpy as np


def displaced(frames: list[ase.Atoms], length: float, seed: int = 0) -> list[ase.Atoms]:
    """Displace each atom by exactly ``length`` in a random direction."""
    generator = np.random.default_rng(seed)
    moved = []
    for atoms in frames:
        direction = generator.normal(size=(len(atoms), 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        copy = atoms.copy()
        copy.positions += length * direction
        moved.append(copy)
    return moved
