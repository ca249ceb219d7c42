"""Which frames are the same, within a file and between files, whatever their labels.

A hash of rounded positions would miss copies that another number of digits, float32 or a unit's
conversion has changed in the last place of some coordinate; so the positions are projected on three
fixed random directions, and frames are the same where all three agree to a tolerance.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from piwsl_plugins.data.blocks import Block, Floats
from piwsl_plugins.data.readers.base import Source

TOLERANCE = 1e-6
"""Root mean square difference of the coordinates, angstrom, below which frames are the same."""
_DIRECTIONS = 3  # five million frames of one molecule meet by chance in less than one pair of 1e4
_SEED = 2408_05215

Numbers = NDArray[np.int64]


class Fingerprints:
    """Collects fingerprints of frames, 32 bytes each.

    The same are frames with the same atoms in the same order, at the same positions relative to
    each other, with the same periodic cell; rotated copies and those with wrapped or reordered
    atoms count as different.
    """

    def __init__(self) -> None:
        self._keys: list[NDArray[np.uint64]] = []
        self._points: list[Floats] = []

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._keys)

    def add(self, block: Block) -> None:
        """Add the frames of a block."""
        weights, cell_weights = _directions(len(block.numbers))
        points = block.positions.reshape(len(block), -1) @ weights
        pbc = np.zeros((len(block), 3), dtype=bool) if block.pbc is None else block.pbc
        if block.cell is not None:
            # in directions that are not periodic the cell's vectors mean nothing
            points += (block.cell * pbc[:, :, None]).reshape(len(block), 9) @ cell_weights
        keys = np.array([_key(block.numbers.tobytes(), code) for code in range(8)], dtype=np.uint64)
        self._keys.append(keys[pbc @ [1, 2, 4]])
        self._points.append(points)

    def extend(self, other: Fingerprints) -> None:
        """Add the frames of another collection."""
        self._keys += other._keys
        self._points += other._points

    def groups(self) -> Numbers:
        """Number of each frame's group of copies, in the order in which the frames were added.

        Returns:
            Shape [n_frames]; frames with the same number are the same. The number is that of the
            group's first frame, so that it equals the frame's own where there is no earlier copy.
        """
        if not self._keys:
            return np.zeros(0, dtype=np.int64)
        keys, points = np.concatenate(self._keys), np.concatenate(self._points)
        self._keys, self._points = [keys], [points]
        groups = np.arange(len(keys))
        chosen = _candidates(keys, points)
        if len(chosen) == 0:
            return groups
        # the atoms' key becomes a coordinate in which different atoms are far apart
        atoms = np.unique(keys[chosen], return_inverse=True)[1].astype(float)
        where = np.column_stack([atoms, points[chosen]])
        exact, member = np.unique(where, axis=0, return_inverse=True)
        pairs = cKDTree(exact, balanced_tree=False).query_pairs(
            TOLERANCE, p=np.inf, output_type="ndarray"
        )
        graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(exact), len(exact)))
        label = connected_components(graph, directed=False)[1][member.ravel()]
        first = np.full(label.max() + 1, len(keys))
        np.minimum.at(first, label, chosen)
        groups[chosen] = first[label]
        return groups


class Places:
    """Where frames that were added one after the other are, 8 bytes each."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._places: list[Numbers] = []
        self._starts = np.zeros(len(sources) + 1, dtype=np.int64)

    def add(self, source: int, block: Block) -> None:
        """Add the frames of a block of the source with that number."""
        self._places.append(block.places)
        self._starts[source + 1 :] += len(block)

    def extend(self, source: int, other: Places) -> None:
        """Add the places of another collection, of one source, as those of the given source."""
        self._places += other._places
        self._starts[source + 1 :] += other._starts[-1]

    def start(self, source: int) -> int:
        """Number of frames before those of a source."""
        return int(self._starts[source])

    def name(self, frame: int) -> str:
        """What to call a frame in a message."""
        if len(self._places) > 1:
            self._places = [np.concatenate(self._places)]
        source = int(np.searchsorted(self._starts, frame, side="right")) - 1
        return f"{self._sources[source].path}, frame {self._places[0][frame]}"


def _candidates(keys: NDArray[np.uint64], points: Floats) -> Numbers:
    """Frames whose first projection is near that of another frame of the same atoms."""
    order = np.lexsort((points[:, 0], keys))
    near = (keys[order][1:] == keys[order][:-1]) & (np.diff(points[order, 0]) <= TOLERANCE)
    either = np.zeros(len(keys), dtype=bool)
    either[1:] |= near
    either[:-1] |= near
    return np.sort(order[either])


@functools.lru_cache(maxsize=64)
def _directions(atoms: int) -> tuple[Floats, Floats]:
    """Random directions for the positions of some atoms and for the cell.

    Returns:
        Shapes [3 n_atoms, 3] and [9, 3]; the former of length one and without a component along a
        translation of all atoms.
    """
    random = np.random.default_rng([_SEED, atoms])
    weights = random.standard_normal((atoms, 3, _DIRECTIONS))
    weights -= weights.mean(axis=0)
    weights = weights.reshape(-1, _DIRECTIONS)
    length = np.linalg.norm(weights, axis=0)
    cell = random.standard_normal((9, _DIRECTIONS))
    return weights / np.where(length > 0, length, 1.0), cell / np.linalg.norm(cell, axis=0)


@functools.lru_cache(maxsize=1024)
def _key(numbers: bytes, pbc: int) -> int:
    """64-bit hash of the atoms and the periodic directions."""
    return int.from_bytes(hashlib.blake2b(numbers + bytes([pbc]), digest_size=8).digest(), "little")
