"""Slices of the datasets of one group, checked before they are handed on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from h5py import h5g
from numpy.typing import NDArray

from piwsl_plugins.data.checks import MAX_NAMED
from piwsl_plugins.data.readers.base import DataError
from piwsl_plugins.data.readers.hdf5_file import Array, Handle, broken_file_named, open_array
from piwsl_plugins.data.readers.hdf5_index import Group
from piwsl_plugins.data.readers.hdf5_strings import first_string

Raw = NDArray[np.floating]
Buffers = dict[str, Raw]
Check = Callable[[str, int, Raw], None]
AHEAD = 500_000
"""Coordinates that are read at once: each call of HDF5 costs as much as a thousand."""
LARGEST = 1e150
"""Numbers beyond it count as infinite: what remains does not overflow in another unit or a sum."""


class OpenGroup:
    """A group whose datasets are opened when first read, and stay open as long as it lives.

    Attributes:
        group: what the index says of it.
        where: file and group, for messages.
    """

    def __init__(self, handle: Handle, group: Group, buffers: Buffers | None = None) -> None:
        """Nothing is read yet.

        Args:
            handle: the file.
            group: the group.
            buffers: where to keep what is read ahead for the frames that follow; none, nothing is.
        """
        self.group = group
        self.where = f"{handle.path}, group {group.name}"
        self._handle, self._buffers = handle, buffers
        self._data: dict[str, Array] = {}
        self._windows: dict[str, tuple[int, Raw]] = {}

    @functools.cached_property
    def _id(self) -> h5g.GroupID:
        return h5g.open(self._handle.root, self.group.name.encode())

    def text(self, name: str) -> str:
        """A string that holds for all frames, or "" where there is none."""
        with broken_file_named(self.where):
            return first_string(open_array(self._id, name, self.where), self._handle.path)

    def positions(self, name: str, start: int, stop: int) -> Raw:
        """Positions of the frames from ``start`` to ``stop``, shape [n_frames, n_atoms, 3].

        Raises:
            DataError: a broken file, or positions that are no numbers.
        """
        return self._read(name, start, stop, True, self._check_positions)

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
        return self._read(name, start, stop, per_atom, self._check_label)

    def unchecked(self, name: str, start: int, stop: int, *, per_atom: bool) -> Raw:
        """As :meth:`label`, infinite numbers and stray NaN included."""
        return self._read(name, start, stop, per_atom, lambda name, start, values: None)

    def _read(self, name: str, start: int, stop: int, per_atom: bool, check: Check) -> Raw:
        """Some rows of a dataset as they are; shape, type and numbers are checked."""
        first, values = self._windows.get(name, (0, None))
        if values is None or start < first or stop > first + len(values):
            with broken_file_named(self.where):
                data = self._data.get(name)
                if data is None:
                    data = self._data[name] = self._open(name, per_atom)
                first, values = start, self._rows(name, data, start, stop)
            check(name, start, values)
        return values[start - first : stop - first]

    def _rows(self, name: str, data: Array, start: int, stop: int) -> Raw:
        if self._buffers is None:
            return data.rows(start, stop)
        ahead = AHEAD // (3 * len(self.group.numbers))
        stop = max(stop, min(start + ahead, self.group.n_frames))
        buffer = self._buffers.get(name)
        values = data.rows(start, stop, buffer)
        if buffer is None or values.size > buffer.size:
            self._buffers[name] = values.ravel()
        self._windows[name] = start, values
        return values

    def _check_positions(self, name: str, start: int, values: Raw) -> None:
        if not _all_finite(values):
            self._name_frames(name, "positions that are not finite", start, ~_finite(values))

    def _check_label(self, name: str, start: int, values: Raw) -> None:
        if not _all_finite(values):
            missing = np.isnan(values.reshape(len(values), -1)).all(axis=1)
            bad = ~(missing | _finite(values))
            if bad.any():
                what = "vectors that are not finite" if values.ndim > 1 else "infinite energies"
                self._name_frames(name, what, start, bad)
            values[missing] = np.nan  # no signalling NaN, of which NumPy would warn

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
