"""Strings of HDF5 files, read so that a damaged file can do no harm.

Strings of variable length lie in a heap without checksums, and HDF5 (2.0 as well) hangs or crashes
on some damaged ones. The strings of a contiguous dataset, which h5py makes by default, are
therefore read here, by the format's specification ("Global Heap", III.E), with every size checked.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from h5py import h5s

from piwsl_plugins.data.readers.hdf5_file import Array

_REFERENCE = struct.Struct("<IQI")  # length of the string, address of its collection, its number
_COLLECTION = struct.Struct("<4sB3xQ")  # "GCOL", version, size
_OBJECT = struct.Struct("<HHxxxxQ")  # number, references, size
LARGEST_COLLECTION = 1 << 26
"""Bytes of strings that lie together; HDF5 puts 4096 together unless one is longer."""


def first_string(array: Array, path: Path) -> str:
    """The first string of a dataset.

    Args:
        array: the dataset.
        path: the file.

    Returns:
        The string, or "" where there is none.

    Raises:
        ValueError: not a dataset of strings, or a damaged one.
        OSError: the file cannot be read there.
    """
    kind = h5py.check_string_dtype(array.dtype)
    if kind is None:
        raise ValueError(f"{array.dtype} where strings should be")
    if 0 in array.shape:
        return ""
    place = array.data.get_offset()
    if kind.length is None and place is not None:
        return _from_heap(path, place).decode()
    found = np.empty(array.shape, array.dtype)
    array.data.read(h5s.ALL, h5s.ALL, found)
    value = found.flat[0]
    return value.decode() if isinstance(value, bytes) else str(value)


def _from_heap(path: Path, place: int) -> bytes:
    """The string that a reference at some place of a file means."""
    with path.open("rb") as file:
        length, address, wanted = _REFERENCE.unpack(_part(file, place, 16))
        if length == 0 or address == 0:
            return b""
        name, version, size = _COLLECTION.unpack(_part(file, address, 16))
        if name != b"GCOL" or version != 1 or not 16 <= size <= LARGEST_COLLECTION:
            raise ValueError("a reference to a string that leads elsewhere")
        heap = _part(file, address + 16, size - 16)
    start = 0
    while start + _OBJECT.size <= len(heap):
        number, _, size = _OBJECT.unpack_from(heap, start)
        start += _OBJECT.size
        if number == 0:  # the free space at the end
            break
        if number == wanted and length <= size <= len(heap) - start:
            return heap[start : start + length]
        start += size + -size % 8
    raise ValueError("a reference to a string that is not there")


def _part(file: BinaryIO, place: int, size: int) -> bytes:
    """Some bytes of a file, all of them."""
    file.seek(place)
    found = file.read(size)
    if len(found) < size:
        raise ValueError(f"bytes {place} to {place + size} are meant, the file ends before")
    return found
