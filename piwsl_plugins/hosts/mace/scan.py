"""One look at each frame before training: labels, shortest distances, copies, elements."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.checks import Counts, Frame
from piwsl_plugins.data.distances import shortest_distances
from piwsl_plugins.data.duplicates import shared_frames
from piwsl_plugins.data.fingerprints import Fingerprints, Numbers
from piwsl_plugins.data.isolated import is_isolated


class Scan:
    """What is known of the frames of a head.

    Attributes:
        closest: the closest pair of the training frames so far, angstrom, and its frame.
    """

    def __init__(self) -> None:
        self.closest: tuple[float, Frame] | None = None
        self._fingerprints = Fingerprints()
        self._blocks: list[tuple[Callable[[int], str], Numbers, NDArray[np.int64]]] = []
        self._starts: list[int] = [0]
        self._lone: set[int] = set()

    def add(self, block: Block, name: Callable[[int], str] | None = None) -> Numbers:
        """Look at some frames.

        Args:
            block: the frames.
            name: what to call a frame by its place in the file; default, file and place.

        Returns:
            Their numbers, by which the other methods know them.
        """
        first = self._starts[-1]
        numbers = np.arange(first, first + len(block))
        self._fingerprints.add(block)
        named = name or partial(_name, block.source)
        self._blocks.append((named, block.places, np.unique(block.numbers)))
        self._starts.append(first + len(block))
        self._lone.update(numbers[is_isolated(block)].tolist())
        return numbers

    def name(self, number: int) -> str:
        """What to call a frame."""
        index = int(np.searchsorted(self._starts, number, side="right")) - 1
        named, places, _ = self._blocks[index]
        return named(int(places[number - self._starts[index]]))

    def elements(self, numbers: Numbers) -> set[int]:
        """Atomic numbers in some frames."""
        blocks = np.unique(np.searchsorted(self._starts, numbers[numbers >= 0], side="right") - 1)
        return {int(element) for index in blocks for element in self._blocks[index][2]}

    def shared(self, training: Numbers, other: Numbers) -> Numbers:
        """Frames of ``other`` that are copies of training frames, each with the first of them.

        Isolated atoms may be in both.
        """
        training, other = (some[some >= 0] for some in (training, other))
        pairs = shared_frames(self._fingerprints.groups(), training, other)
        return pairs[~np.isin(pairs[:, 0], list(self._lone))]

    def look_at_distances(self, block: Block, cutoff: float) -> None:
        """Remember the closest pair of these training frames, if it is nearer than ``cutoff``."""
        distances = shortest_distances(block, cutoff)
        worst = int(np.argmin(distances))
        if distances[worst] < cutoff and (
            self.closest is None or distances[worst] < self.closest[0]
        ):
            (frame,) = block.take([worst]).frames()
            self.closest = (float(distances[worst]), frame)


def _name(source: str, place: int) -> str:
    return f"{source}, frame {place}"


def counts_of(has: NDArray[np.bool_]) -> Counts:
    """Counts of frames and labels; has: energy, forces, stress, ..., shape [n_frames, n]."""
    energies, forces, stresses = has[:, :3].sum(axis=0).tolist()
    return Counts(len(has), energies, forces, stresses)
