"""Shortest distances between atoms, of many frames at once."""

from __future__ import annotations

import numpy as np

from piwsl_plugins.data.blocks import Block, Floats
from piwsl_plugins.data.checks import closest_pair

_PAIRS = 2_000_000  # distances that are computed at once
_LARGE = 400  # atoms from which a tree finds the closest pair faster


def shortest_distances(block: Block, cutoff: float) -> Floats:
    """Distance of the closest pair of atoms of each frame, periodic images included.

    Args:
        block: frames.
        cutoff: angstrom; what is longer need not be found.

    Returns:
        Shape [n_frames], angstrom; infinite where there is no pair, or none within the cutoff.
    """
    n_atoms = len(block.numbers)
    found = np.full(len(block), np.inf)
    if (block.pbc is not None and block.pbc.any()) or n_atoms > _LARGE:
        for number in range(len(block)):
            pair = closest_pair(block.atoms(number), cutoff)
            found[number] = np.inf if pair is None else pair[0]
        return found
    first, second = np.triu_indices(n_atoms, 1)
    if not len(first):
        return found
    step = max(1, _PAIRS // len(first))
    for start in range(0, len(block), step):
        some = block.positions[start : start + step]
        squared = np.square(some[:, first] - some[:, second]).sum(axis=-1)
        found[start : start + step] = np.sqrt(squared.min(axis=1))
    return np.where(found < cutoff, found, np.inf)
