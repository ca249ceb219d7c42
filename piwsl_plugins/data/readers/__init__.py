"""Readers, one module a kind of file; a file's is found by its content.

Each has ``KIND``, for messages, ``recognises(path)``, and ``read(path, settings)`` of all frames.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from piwsl_plugins.data.frames import DataError
from piwsl_plugins.data.readers import databases, extxyz, hdf5, tables

READERS = (hdf5, tables, extxyz, databases)


def reader_of(path: Path) -> ModuleType:
    """The reader of a file; a DataError says that it is missing, empty or of no known format."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file")
    if path.is_file() and not path.stat().st_size:
        raise DataError(f"{path}: the file is empty")
    for reader in READERS:
        if reader.recognises(path):
            return reader
    known = ", ".join(reader.KIND for reader in READERS)
    raise DataError(f"{path}: not a format that can be read; known are {known}")
