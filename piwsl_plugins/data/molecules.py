"""Which frames show the same molecule: the same covalent bonds between the same elements."""

from __future__ import annotations

import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import natural_cutoffs, neighbor_list
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import Block, Floats

STRETCH = 1.3
"""Atoms nearer than so many times the sum of their covalent radii are bonded."""
_ROUNDS = 12  # two atoms are told apart by neighbours at most so many bonds away
_LARGEST = 4_000_000  # pairs of atoms that are looked at at once

Hashes = NDArray[np.uint64]


def bond_hashes(block: Block) -> Hashes:
    """Hash of the graph of covalent bonds of each frame, whatever the order of its atoms.

    Colours of the atoms, at first their elements, are refined by those of their neighbours
    (Weisfeiler and Lehman), and the hash is that of all final colours.

    Args:
        block: frames.

    Returns:
        Shape [n_frames]. The few molecules that the refinement does not tell apart, such as decalin
        and bicyclopentyl, have the same hash.
    """
    if block.pbc is not None and block.pbc.any():
        return np.array(
            [_refined(block.numbers, _periodic_bonds(block, i)[None])[0] for i in range(len(block))]
        )
    step = max(1, _LARGEST // len(block.numbers) ** 2)
    return np.concatenate(
        [
            _refined(block.numbers, _bonds(block.numbers, block.positions[start : start + step]))
            for start in range(0, len(block), step)
        ]
    )


def _bonds(numbers: NDArray[np.int64], positions: Floats) -> Hashes:
    """Number of bonds between two atoms, 0 or 1, shape [n_frames, n_atoms, n_atoms]."""
    radii = covalent_radii[numbers]
    longest = STRETCH * (radii[:, None] + radii)
    np.fill_diagonal(longest, -1.0)
    squared = np.zeros((len(positions), len(numbers), len(numbers)))
    for axis in range(3):
        squared += (positions[:, :, None, axis] - positions[:, None, :, axis]) ** 2
    bonds: Hashes = (np.sqrt(squared) < longest).astype(np.uint64)
    return bonds


def _periodic_bonds(block: Block, number: int) -> Hashes:
    """Number of bonds between two atoms, those to periodic images counted, [n_atoms, n_atoms]."""
    atoms = block.atoms(number)
    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=STRETCH))
    bonds = np.zeros((len(atoms), len(atoms)), dtype=np.uint64)
    np.add.at(bonds, (first, second), np.uint64(1))
    return bonds


def _refined(numbers: NDArray[np.int64], bonds: Hashes) -> Hashes:
    """Hash of each graph, shape [n_frames]; sums of mixed colours, which know no order."""
    colours = np.broadcast_to(_mix(numbers.astype(np.uint64)), bonds.shape[:2])
    for _ in range(min(_ROUNDS, len(numbers))):
        neighbours = (bonds @ _mix(colours)[..., None])[..., 0]
        colours = _mix(colours + np.uint64(1) + _mix(neighbours))
    hashes: Hashes = _mix(colours).sum(axis=1, dtype=np.uint64)
    return hashes


def _mix(values: Hashes) -> Hashes:
    """Scatter 64-bit numbers (the finaliser of splitmix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = values ^ (values >> np.uint64(31))
    return mixed
