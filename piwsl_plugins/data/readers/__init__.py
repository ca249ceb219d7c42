"""Readers of energy-only data, one module a format; :func:`open_source` picks one by content."""

from __future__ import annotations

from pathlib import Path

from piwsl_plugins.data.readers.base import BLOCK_SIZE, DataError, Source
from piwsl_plugins.data.settings import DataSettings

__all__ = ["BLOCK_SIZE", "DataError", "Source", "open_source"]


def open_source(path: str | Path, settings: DataSettings | None = None) -> Source:
    """Open a file of frames.

    Args:
        path: the file.
        settings: keys and units; default, those of the format.

    Returns:
        The open file.

    Raises:
        DataError: there is no such file, or no reader knows its format.
    """
    from piwsl_plugins.data.readers import formats

    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: there is no such file")
    for kind in formats.ALL:
        if kind.recognises(path):
            return kind(path, settings or DataSettings())
    known = ", ".join(kind.format for kind in formats.ALL)
    raise DataError(f"{path}: not a format that can be read; known are {known}")
