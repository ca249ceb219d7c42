"""The interface of every reader."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.settings import DataSettings

BLOCK_SIZE = 1024
"""Frames that a reader holds at once, at most."""


class DataError(ValueError):
    """Something wrong with a data file: the message names file, frame, found, expected, remedy."""


class Source(ABC):
    """An open file of frames, read lazily.

    Sources can be pickled (they reopen their file), so that data-loader processes may hold them.

    Attributes:
        path: the file.
        format: what kind of file it is, for messages, e.g. ``ANI HDF5``.
        settings: keys and units.
        energy_unit: unit of the format's energies, where the settings give none.
        length_unit: unit of its positions, where the settings give none.
    """

    format = ""
    energy_unit = "eV"
    length_unit = "angstrom"

    def __init__(self, path: Path, settings: DataSettings) -> None:
        self.path = path
        self.settings = settings

    @staticmethod
    @abstractmethod
    def recognises(path: Path) -> bool:
        """Whether a file is of this format, by its content."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of frames."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read, ``path`` first."""
        return (self.path,)

    @property
    @abstractmethod
    def keys(self) -> dict[str, int]:
        """Name of every label the file has, under whatever name, and the frames that have it."""

    @abstractmethod
    def elements(self) -> NDArray[np.int64]:
        """Atomic numbers in the file, sorted; without reading its positions where possible."""

    @abstractmethod
    def blocks(self, size: int = BLOCK_SIZE) -> Iterator[Block]:
        """All frames in the file's order, ``size`` at once at most.

        Raises:
            DataError: a key that is not there (the keys that are get listed), a broken file.
        """

    @abstractmethod
    def frame(self, number: int) -> Block:
        """One frame, by random access.

        Raises:
            IndexError: there is no such frame.
            DataError: as for :meth:`blocks`.
        """
