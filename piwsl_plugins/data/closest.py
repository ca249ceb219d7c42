"""Shortest distance of each pair of elements in a file, with the frame and the atoms."""

from __future__ import annotations

import dataclasses

import ase
import numpy as np
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list

from piwsl_plugins.data.blocks import Block, Floats
from piwsl_plugins.data.fingerprints import Numbers

MOST_SLOW = 1000
"""Periodic or large frames, whose neighbours must be searched, that are looked at."""
_LARGE = 300  # atoms
_PAIRS = 2_000_000  # distances that are computed at once
_FIRST, _LAST = 3.0, 24.0  # angstrom: search radius, doubled until there is a pair


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """Two atoms of a frame.

    Attributes:
        distance: angstrom.
        elements: their symbols, e.g. ``C-H``.
        frame: the frame's number in the file.
        atoms: the atoms' indices.
    """

    distance: float
    elements: str
    frame: int
    atoms: tuple[int, int]


class ShortestPairs:
    """Collects the shortest distance of each pair of elements.

    Args:
        frames: number of all frames, of which so many are looked at, evenly spaced, that no more
            than :data:`MOST_SLOW` searches are needed.
    """

    def __init__(self, frames: int) -> None:
        self._every = max(1, -(-frames // MOST_SLOW))
        self._radius = _FIRST
        self._found: dict[str, Pair] = {}
        self.looked_at = 0

    @property
    def pairs(self) -> list[Pair]:
        """The pairs, the shortest first."""
        return sorted(self._found.values(), key=lambda pair: pair.distance)

    def add(self, block: Block) -> None:
        """Look at the frames of a block."""
        if len(block.numbers) > _LARGE or (block.pbc is not None and block.pbc.any()):
            for i in np.flatnonzero(block.places % self._every == 0):
                self._search(block.atoms(int(i)), int(block.places[i]))
                self.looked_at += 1
            return
        self.looked_at += len(block)
        first, second = np.triu_indices(len(block.numbers), 1)
        if not len(first):
            return
        step = max(1, _PAIRS // len(first))
        for start in range(0, len(block), step):
            some = block.positions[start : start + step]
            squared = np.zeros((len(some), len(first)))
            for axis in range(3):
                squared += (some[:, first, axis] - some[:, second, axis]) ** 2
            nearest = squared.argmin(axis=0)
            distances = np.sqrt(squared[nearest, np.arange(len(first))])
            places = block.places[start : start + step][nearest]
            self._keep(block.numbers, first, second, distances, places)

    def _search(self, atoms: ase.Atoms, place: int) -> None:
        while self._radius <= _LAST:
            first, second, distances = neighbor_list("ijd", atoms, self._radius)
            if len(first) or (len(atoms) < 2 and not atoms.pbc.any()):
                break
            self._radius *= 2.0
        places = np.full(len(first), place)
        self._keep(np.asarray(atoms.numbers), first, second, distances, places)

    def _keep(
        self, numbers: Numbers, first: Numbers, second: Numbers, distances: Floats, places: Numbers
    ) -> None:
        low = np.minimum(numbers[first], numbers[second])
        high = np.maximum(numbers[first], numbers[second])
        order = np.argsort(distances, kind="stable")
        kinds, where = np.unique(low[order] * 1000 + high[order], return_index=True)
        for kind, best in zip(kinds.tolist(), order[where].tolist(), strict=True):
            elements = f"{chemical_symbols[kind // 1000]}-{chemical_symbols[kind % 1000]}"
            known = self._found.get(elements)
            if known is None or distances[best] < known.distance:
                self._found[elements] = Pair(
                    float(distances[best]),
                    elements,
                    int(places[best]),
                    (int(first[best]), int(second[best])),
                )
