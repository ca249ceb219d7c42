"""Splits of a file's frames: what stays together, and what goes where."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from piwsl_plugins.data import descriptors
from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.composition import formula
from piwsl_plugins.data.fingerprints import Fingerprints, Numbers
from piwsl_plugins.data.isolated import is_isolated
from piwsl_plugins.data.molecules import bond_hashes
from piwsl_plugins.data.selection import Selected
from piwsl_plugins.data.splits import NOWHERE, Sizes, check_parts, split, targets
from piwsl_plugins.data.writers import GROUP

UNITS = {
    "frame": "frames or groups of copies",
    "formula": "formulas",
    "molecule": "molecules",
    "farthest-point": "frames or groups of copies",
}
"""What stays together, by kind of split."""


@dataclasses.dataclass(frozen=True, slots=True)
class Partition:
    """Where each selected frame goes.

    Attributes:
        places: number of each frame in the file, shape [n_frames].
        parts: number of its part, or :data:`~piwsl_plugins.data.splits.NOWHERE`, shape [n_frames].
        units: number of units that stay together, isolated atoms left out.
        copies: number of frames that are copies of an earlier one.
    """

    places: Numbers
    parts: NDArray[np.int8]
    units: int
    copies: int


def partition(selected: Selected, sizes: Sizes, by: str, seed: int) -> Partition:
    """Split frames.

    Copies of a frame stay together. Isolated atoms, the reference of all others, go to the first
    part and do not count. With ``farthest-point`` the first part are the frames that are farthest
    from each other, and the others are random frames of the rest.

    Args:
        selected: the frames.
        sizes: size of each part.
        by: one of :data:`UNITS`.
        seed: of the random numbers.

    Raises:
        DataError: parts that are larger than all frames together, or empty.
    """
    survey = _Survey(selected, by)
    units = survey.units()
    random = np.random.default_rng([seed, 1])
    parts = np.zeros(len(units), dtype=np.int8)
    free = np.flatnonzero(~survey.isolated)
    wanted = targets(sizes, len(free))
    if by == "farthest-point":
        parts[free] = _farthest(selected, survey, units[free], wanted, random)
    else:
        parts[free] = split(units[free], wanted, random)
    number = len(np.unique(units[free]))
    check_parts(parts[free], sizes, number, UNITS[by])
    copies = int((survey.groups != np.arange(len(units))).sum())
    return Partition(survey.places, parts, number, copies)


class _Survey:
    """What a split needs to know of all frames, collected in one pass."""

    def __init__(self, selected: Selected, by: str) -> None:
        found, places, kinds, isolated = Fingerprints(), [], [], []
        names: dict[object, int] = {}
        self.elements: set[int] = set()
        self.periodic = False
        for block in selected.blocks("looking for copies"):
            found.add(block)
            places.append(block.places)
            isolated.append(is_isolated(block))
            kinds.append(_kinds(block, by, names))
            self.elements.update(block.numbers.tolist())
            self.periodic |= block.pbc is not None
        self.places = np.concatenate(places)
        self.isolated = np.concatenate(isolated)
        self.groups = found.groups()
        self._kinds = np.concatenate(kinds)

    def units(self) -> Numbers:
        """Number of the unit of each frame: its kind, those that share copies joined."""
        if (self._kinds == NOWHERE).all():
            return self.groups
        pairs = (self._kinds, self._kinds[self.groups])
        size = int(self._kinds.max()) + 1
        graph = coo_array((np.ones(len(self._kinds)), pairs), shape=(size, size))
        joined: Numbers = connected_components(graph, directed=False)[1][self._kinds]
        return joined


def _kinds(block: Block, by: str, names: dict[object, int]) -> Numbers:
    """Number of each frame's formula or molecule; ``names`` holds those that are known."""
    keys: list[object]
    if by == "formula":
        keys = [formula(block.numbers)] * len(block)
    elif by == "molecule" and block.group:
        keys = [block.group] * len(block)
    elif by == "molecule" and GROUP in block.info:
        keys = [str(name) for name in block.info[GROUP]]
    elif by == "molecule":
        keys = bond_hashes(block).tolist()
    else:
        return np.full(len(block), NOWHERE)
    return np.array([names.setdefault(key, len(names)) for key in keys])


def _farthest(
    selected: Selected,
    survey: _Survey,
    units: Numbers,
    wanted: Numbers,
    random: np.random.Generator,
) -> NDArray[np.int8]:
    """Farthest frames to the first part, random ones to the others."""
    numbers, first, sizes = np.unique(units, return_index=True, return_counts=True)
    free = np.flatnonzero(~survey.isolated)
    soap = descriptors.averaged_soap(
        _at(selected, survey.places[free[first]]),
        sorted(survey.elements),
        survey.periodic,
        len(numbers),
    )
    if wanted[0] == 0:
        order = np.zeros(0, dtype=np.int64)
    else:
        start = int(random.integers(len(numbers)))
        order = descriptors.farthest_points(soap, min(int(wanted[0]), len(numbers)), start)
    # as many as reach the size
    chosen = order[np.cumsum(sizes[order]) - sizes[order] < wanted[0]]
    parts = np.full(len(units), NOWHERE, dtype=np.int8)
    first_part = np.isin(units, numbers[chosen])
    parts[first_part] = 0
    left = np.flatnonzero(~first_part)
    if len(wanted) > 1 and len(left):
        rest = wanted[1:].copy()
        surplus = rest.sum() - len(left)  # copies may have made the first part larger
        rest[-1] -= max(0, surplus)
        dealt = split(units[left], np.maximum(rest, 0), random)
        parts[left] = np.where(dealt == NOWHERE, NOWHERE, dealt + 1)
    return parts


def _at(selected: Selected, places: Numbers) -> Iterator[Block]:
    """The frames at some places, sorted."""
    for block in selected.blocks("descriptors"):
        inside = np.isin(block.places, places)
        if inside.any():
            yield block.take(inside)
