"""Slices of the datasets of one group, checked before they are handed on."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from h5py import h5g
from numpy.typing import NDArray

from piwsl_plugins.data.checks import MAX_NAMED
from piwsl_plugins.data.readers.base import DataError
from piwsl_plugins.data.readers.hdf5_file import Array, broken_file_named, open_array
from piwsl_plugins.data.readers.hdf5_index import Group

Raw = NDArray[np.floating]
LARGEST = 1e150
"""Numbers beyond it count as infinite: what remains does not overflow in another unit or a sum."""


class OpenGroup:
    """A group whose datasets are opened when first read, and stay open as long as it lives.

    Attributes:
        group: what the index says of it.
        where: file and group, for messages.
    """

    def __init__(self, root: h5g.GroupID, group: Group, path: str) -> None:
        self.group = group
        self.where = f"{path}, group {group.name}"
        self._root = root
        self._data: dict[str, Array] = {}

    @functools.cached_property
    def _id(self) -> h5g.GroupID:
        return h5g.open(self._root, self.group.name.encode())

    def text(self, name: str) -> str:
        """A string that holds for all frames, or "" where there is none."""
        with broken_file_named(self.where):
            return open_array(self._id, name, self.where).text()

    def positions(self, name: str, start: int, stop: int) -> Raw:
        """Positions of the frames from ``start`` to ``stop``, shape [n_frames, n_atoms, 3].

        Raises:
            DataError: a broken file, or positions that are no numbers.
        """
        values = self.read(name, start, stop, per_atom=True)
        if not _all_finite(values):
            self._name_frames(name, "positions that are not finite", start, ~_finite(values))
        return values

    def label(self, name: str, start: int, stop: int, *, per_atom: bool) -> Raw:
        """A label of some frames; one that is missing is NaN throughout.

        Args:
            name: the dataset.
            start: first frame.
            stop: the frame after the last.
            per_atom: whether it has a vector for each atom, else one number.

        Returns:
            Shape [n_frames, n_atoms, 3] or [n_frames], in the file's type and unit.

        Raises:
            DataError: a broken file, infinite numbers, or vectors of which some are NaN.
        """
        values = self.read(name, start, stop, per_atom=per_atom)
        if not _all_finite(values):
            missing = np.isnan(values.reshape(len(values), -1)).all(axis=1)
            bad = ~(missing | _finite(values))
            if bad.any():
                what = "vectors that are not finite" if per_atom else "infinite energies"
                self._name_frames(name, what, start, bad)
        return values

    def read(self, name: str, start: int, stop: int, *, per_atom: bool) -> Raw:
        """Some rows of a dataset of this group as they are, its shape and type checked.

        Raises:
            DataError: a broken file, another shape, or no floating-point numbers.
        """
        with broken_file_named(self.where):
            data = self._data.get(name)
            if data is None:
                data = self._data[name] = self._open(name, per_atom)
            return data.rows(start, stop)

    def _open(self, name: str, per_atom: bool) -> Array:
        data = open_array(self._id, name, self.where)
        n_frames, n_atoms = self.group.n_frames, len(self.group.numbers)
        expected = (n_frames, n_atoms, 3) if per_atom else (n_frames,)
        if data.shape != expected or data.dtype.kind != "f":
            raise DataError(
                f"{self.where}: '{name}' is {data.dtype} of shape {data.shape}, expected "
                f"floating-point numbers of shape {expected} for {n_frames} frames of {n_atoms} "
                "atoms; correct the file or remove the group"
            )
        return data

    def _name_frames(
        self, name: str, what: str, start: int, bad: NDArray[np.bool_] | np.bool_
    ) -> None:
        numbers = np.flatnonzero(bad) + self.group.start + start
        named = ", ".join(str(number) for number in numbers[:MAX_NAMED])
        more = f" and {len(numbers) - MAX_NAMED} more" if len(numbers) > MAX_NAMED else ""
        raise DataError(
            f"{self.where}: {what} in '{name}' of the file's frames {named}{more} (counted from "
            "0). Expected finite numbers, or NaN throughout for a label that is missing; correct "
            "or remove these frames"
        )


class Texts(Mapping[str, Sequence[str]]):
    """Strings of a group as a block's info, read from the file when looked at.

    Most runs never look, and opening a dataset costs as much as reading a hundred conformers.
    """

    def __init__(self, opened: OpenGroup, names: Sequence[str], n_frames: int) -> None:
        self._opened, self._names, self._n_frames = opened, names, n_frames
        self._read: dict[str, list[str]] = {}

    def __getitem__(self, name: str) -> list[str]:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            self._read[name] = [self._opened.text(name)] * self._n_frames
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[type[dict[str, list[str]]], tuple[dict[str, list[str]]]]:
        return dict, (dict(self),)


def _all_finite(values: Raw) -> bool:
    """Whether all are usable numbers, without a copy: NaN fails every comparison."""
    return float(values.min()) > -LARGEST and float(values.max()) < LARGEST


def _finite(values: Raw) -> NDArray[np.bool_]:
    """Which rows are usable numbers throughout."""
    limit = min(LARGEST, float(np.finfo(values.dtype).max))
    return np.asarray((np.abs(values.reshape(len(values), -1)) <= limit).all(axis=1))
