"""Access to HDF5 files: one handle a process, arrays checked before use, errors that say where."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5o, h5s
from numpy.typing import NDArray

from piwsl_plugins.data.readers.base import DataError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
CHUNK_CACHE = 1 << 20
"""Bytes of chunks that HDF5 keeps of each open dataset."""
_BROKEN = (
    OSError,
    RuntimeError,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    SystemError,
)


def has_signature(path: Path) -> bool:
    """Whether a file begins as HDF5 files do."""
    try:
        with path.open("rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


@contextlib.contextmanager
def broken_file_named(where: str) -> Iterator[None]:
    """Turn whatever h5py raises on a damaged file into a DataError.

    Args:
        where: file and group, for the message.

    Raises:
        DataError: instead of h5py's own error.
    """
    try:
        yield
    except DataError:
        raise
    except (FileNotFoundError, PermissionError, BlockingIOError) as error:
        raise DataError(f"{where}: cannot be opened: {error}") from error
    except _BROKEN as error:
        found = str(error).strip('"') or type(error).__name__
        raise DataError(
            f"{where}: a truncated or corrupt HDF5 file, found: {found}. Expected a file that "
            "can be read from end to end: copy or download it again and compare its checksum"
        ) from error


class Handle:
    """A file that is opened when first used, once in each process, and never shared by a fork.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: h5py.File | None = None
        self._root: h5g.GroupID | None = None
        self._process = -1

    @property
    def root(self) -> h5g.GroupID:
        """The root group, open in this process."""
        if self._root is None or self._process != os.getpid():
            with broken_file_named(str(self.path)):
                self._file = h5py.File(
                    self.path, "r", locking="best-effort", rdcc_nbytes=CHUNK_CACHE
                )
                self._root = self._file["/"].id
            self._process = os.getpid()
        return self._root

    def close(self) -> None:
        """Close the file; it opens again when used again."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = self._root = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_root": None, "_process": -1}


def open_group(parent: h5g.GroupID, name: str) -> h5g.GroupID | None:
    """A group by its name, or None where something else bears it."""
    found = h5o.open(parent, name.encode())
    return found if isinstance(found, h5g.GroupID) else None


def address(group: h5g.GroupID) -> tuple[int, ...]:
    """Where in the file a group stands, the same for all of its names."""
    return tuple(h5g.get_objinfo(group).objno)


def links(group: h5g.GroupID) -> tuple[str, ...]:
    """Names of what a group holds."""
    found: list[bytes] = []
    group.links.iterate(found.append)
    return tuple(name.decode() for name in found)


@dataclasses.dataclass(frozen=True, slots=True)
class Array:
    """An open dataset.

    Attributes:
        data: h5py's own handle of it.
        shape: its shape.
        dtype: type of its elements.
    """

    data: h5d.DatasetID
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def rows(self, start: int, stop: int, buffer: NDArray[Any] | None = None) -> NDArray[Any]:
        """Rows ``start`` to ``stop``, in the file's own type; in ``buffer`` where they fit."""
        shape = (stop - start, *self.shape[1:])
        size = math.prod(shape)
        if buffer is not None and buffer.dtype == self.dtype and buffer.size >= size:
            out = buffer[:size].reshape(shape)
        else:
            out = np.empty(shape, self.dtype)
        if stop - start == self.shape[0]:
            self.data.read(h5s.ALL, h5s.ALL, out)
            return out
        space = h5s.create_simple(self.shape)
        space.select_hyperslab((start,) + (0,) * (len(shape) - 1), shape)
        self.data.read(h5s.create_simple(shape), space, out)
        return out


def find_array(group: h5g.GroupID, name: str) -> Array | None:
    """A dataset by its name, or None where a group bears it."""
    found = h5o.open(group, name.encode())
    if not isinstance(found, h5d.DatasetID):
        return None
    return Array(found, found.shape, found.dtype)


def open_array(group: h5g.GroupID, name: str, where: str) -> Array:
    """Open a dataset, and make sure that all of it was written.

    HDF5 gives zeros, without a word, for parts of a dataset that were never written, as an
    interrupted conversion leaves them.

    Args:
        group: its group.
        name: its name.
        where: file and group, for the message.

    Returns:
        The open dataset.

    Raises:
        DataError: parts of it are not in the file.
    """
    found = find_array(group, name)
    if found is None:
        raise DataError(f"{where}: '{name}' is a group, expected a dataset")
    data = found.data
    if data.get_space_status() != h5d.SPACE_STATUS_ALLOCATED and 0 not in found.shape:
        fill = np.zeros((), found.dtype)
        data.get_create_plist().get_fill_value(fill)
        if fill.dtype.kind != "f" or not np.isnan(fill):
            raise DataError(
                f"{where}: parts of '{name}' were never written, HDF5 would give {fill} for them; "
                "was the program that made this file interrupted? Make it again"
            )
    return found
