"""What is where in an HDF5 file of one group a molecule; positions and labels are not read."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
from h5py import h5g
from numpy.typing import NDArray
from tqdm import tqdm

from piwsl_plugins.data.checks import MAX_NAMED
from piwsl_plugins.data.readers.base import DataError
from piwsl_plugins.data.readers.hdf5_file import (
    address,
    broken_file_named,
    find_array,
    links,
    open_array,
    open_group,
)

NUMBERS = "atomic_numbers"
MOST_ATOMS = 1_000_000
"""Atoms of a molecule; more are taken for a damaged file."""
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """A group of the file: conformers of one molecule, or of one formula.

    Attributes:
        name: its name in the file.
        start: place of its first frame in the file.
        n_frames: its frames.
        numbers: atomic numbers, shape [n_atoms].
        columns: names of its datasets.
    """

    name: str
    start: int
    n_frames: int
    numbers: NDArray[np.int64]
    columns: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Index:
    """All groups of a file.

    Attributes:
        groups: those with frames, in the file's order.
        starts: place of each group's first frame, and the number of all frames at the end, shape
            [n_groups + 1].
        energies: names of the columns with one number a frame.
        vectors: names of the columns with a vector for each atom of each frame.
        others: what else there is, by name, in words.
    """

    groups: Sequence[Group]
    starts: NDArray[np.int64]
    energies: tuple[str, ...]
    vectors: tuple[str, ...]
    others: dict[str, str]

    def find(self, place: int) -> tuple[Group, int]:
        """Group of a frame, and the frame's number in it."""
        number = int(np.searchsorted(self.starts, place, side="right")) - 1
        return self.groups[number], place - int(self.starts[number])


def build(root: h5g.GroupID, path: str, positions: str) -> Index:
    """List the groups of a file.

    Args:
        root: its root group.
        path: its path, for messages.
        positions: name of the dataset of positions, shape [n_frames, n_atoms, 3].

    Returns:
        The index.

    Raises:
        DataError: a group that lacks the atomic numbers or positions, or where they do not fit.
    """
    with broken_file_named(path):
        names = [name.decode() for name in root]
    groups: list[Group] = []
    empty: list[str] = []
    addresses: dict[object, str] = {}
    kinds = _Kinds(positions)
    place = 0
    for name in tqdm(names, f"listing {path}", unit=" groups", delay=2, leave=False):
        where = f"{path}, group {name}"
        with broken_file_named(where):
            group = open_group(root, name)
            if group is None:
                continue
            twin = addresses.setdefault(address(group), name)
            if twin != name or len(addresses) == len(groups) + len(empty):
                raise DataError(
                    f"{where}: the same group as '{twin}', so that its frames would count twice; "
                    "a damaged file, or a link to remove"
                )
            columns = kinds.same(links(group))
            if not columns:
                empty.append(name)
                continue
            numbers, n_frames = _size(group, columns, positions, where)
            if len(numbers) == 0 or n_frames == 0:
                empty.append(name)
                continue
            kinds.add(group, columns, n_frames, len(numbers))
        groups.append(Group(name, place, n_frames, numbers, columns))
        place += n_frames
    if empty:
        named = ", ".join(empty[:MAX_NAMED]) + (", ..." if len(empty) > MAX_NAMED else "")
        _log.warning("%s: %d groups without atoms or frames, skipped: %s", path, len(empty), named)
    if not groups:
        raise DataError(f"{path}: no frames in it, expected groups with {NUMBERS} and {positions}")
    starts = np.array([*(group.start for group in groups), place], dtype=np.int64)
    return Index(groups, starts, tuple(kinds.energies), tuple(kinds.vectors), kinds.others)


def _size(
    group: h5g.GroupID, columns: Sequence[str], positions: str, where: str
) -> tuple[NDArray[np.int64], int]:
    """Atomic numbers and number of frames of a group, checked against each other."""
    for name in (NUMBERS, positions):
        if name not in columns:
            raise DataError(f"{where}: no dataset '{name}'; there are {', '.join(sorted(columns))}")
    data = open_array(group, NUMBERS, where)
    shape = data.shape
    if len(shape) != 1 or data.dtype.kind not in "iu" or shape[0] > MOST_ATOMS:
        raise DataError(
            f"{where}: {NUMBERS} is {data.dtype} of shape {shape}, expected integers of shape "
            f"(Na,) for at most {MOST_ATOMS} atoms"
        )
    found = find_array(group, positions)
    if found is None or len(found.shape) != 3 or found.shape[1:] != (shape[0], 3):
        what = "a group" if found is None else f"{found.dtype} of shape {found.shape}"
        raise DataError(
            f"{where}: {positions} is {what}, expected (Nc, {shape[0]}, 3) for the "
            f"{shape[0]} atoms of {NUMBERS}"
        )
    numbers = data.rows(0, shape[0]).astype(np.int64)
    wrong = numbers[(numbers < 1) | (numbers > 118)]
    if len(wrong) > 0:
        raise DataError(f"{where}: {NUMBERS} has {wrong[0]}, expected 1 to 118")
    return numbers, found.shape[0]


class _Kinds:
    """Which columns hold energies, which forces; each is looked at in the first group with it."""

    def __init__(self, positions: str) -> None:
        self.energies: list[str] = []
        self.vectors: list[str] = []
        self.others: dict[str, str] = {}
        self.seen = {NUMBERS, positions}
        self.sets: dict[tuple[str, ...], tuple[str, ...]] = {}

    def same(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """One tuple for all groups with these columns."""
        return self.sets.setdefault(columns, columns)

    def add(self, group: h5g.GroupID, columns: Sequence[str], n_frames: int, n_atoms: int) -> None:
        if self.seen.issuperset(columns):
            return
        for name in columns:
            if name in self.seen:
                continue
            self.seen.add(name)
            data = find_array(group, name)
            if data is None:
                self.others[name] = "a group"
                continue
            shape, is_float = data.shape, data.dtype.kind == "f"
            if is_float and len(shape) == 1 and (shape[0] != n_atoms or n_atoms == n_frames):
                self.energies.append(name)
            elif is_float and len(shape) == 3 and shape[1:] == (n_atoms, 3):
                self.vectors.append(name)
            else:
                self.others[name] = f"{data.dtype} of shape {shape}"
