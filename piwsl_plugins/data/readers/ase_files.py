"""Everything that ASE reads: extxyz and the like, frame by frame."""

from __future__ import annotations

import io
import itertools
import lzma
import os
import shutil
import tempfile
import weakref
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import ase.io
import numpy as np
from ase.io.bundletrajectory import BundleTrajectory
from ase.io.formats import (
    UnknownFileTypeError,
    filetype,
    get_compression,
    ioformats,
    open_with_compression,
)
from tqdm import tqdm

from piwsl_plugins.data import ase_format
from piwsl_plugins.data.readers import extxyz
from piwsl_plugins.data.readers.base import DataError
from piwsl_plugins.data.readers.frames import Contents, FrameSource
from piwsl_plugins.data.readers.records import Record, record_of
from piwsl_plugins.data.settings import DataSettings

WINDOW = 256
"""Neighbouring frames that are read together where one of them is asked for, other than extxyz."""
WINDOWS = 16
"""Such groups that are kept."""
_NO_CURSOR: tuple[int, int, Iterator[Record]] = (0, 0, iter(()))
"""Process, next window and reader of the windows: none yet."""
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)


class AseSource(FrameSource):
    """A file that ASE reads.

    In extxyz, plain or compressed, a frame is found by its place in the file, and all that is
    kept of the file are these places. Other formats ASE reads from their start; the frames around
    the one that is asked for are kept for the next.

    Raises:
        DataError: the file is empty, or cannot be opened.
    """

    format = "a file that ASE reads"

    def __init__(self, path: Path, settings: DataSettings) -> None:
        super().__init__(path, settings)
        kind = _kind(path)
        if kind is None:
            raise DataError(f"{path}: ASE does not know this format")
        self.kind = kind
        self._starts = np.empty(0, dtype=np.int64)
        self._lines = np.empty(0, dtype=np.int64)
        self._stamp = _stamp(path)
        self._plain: int | None = None
        self._windows: OrderedDict[int, list[Record]] = OrderedDict()
        self._cursor = _NO_CURSOR

    def __getstate__(self) -> dict[str, Any]:
        fresh: dict[str, Any] = {"_plain": None, "_windows": OrderedDict(), "_cursor": _NO_CURSOR}
        return {**self.__dict__, **fresh}

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether ASE reads the format, or would if the file were not empty or broken."""
        try:
            return _kind(path) is not None
        except DataError:
            return True

    @property
    def is_extxyz(self) -> bool:
        """Whether the file is extxyz."""
        return self.kind == "extxyz"

    def _look_through(self) -> Contents:
        if not self.is_extxyz:
            return super()._look_through()
        contents, starts, lines = Contents(), [], []
        with self._open() as stream:
            texts = extxyz.frame_texts(stream, str(self.path))
            for text in tqdm(texts, f"looking through {self.path.name}", unit=" frames", delay=2):
                contents.add(*extxyz.header(text))
                starts.append(text.offset)
                lines.append(text.line)
            starts.append(stream.tell())
        self._starts, self._lines = np.array(starts), np.array(lines)
        return contents

    def _records(self) -> Iterator[Record]:
        if not self.is_extxyz:
            yield from self._read_by_ase(0, None)
            return
        with self._open() as stream:
            for text in extxyz.frame_texts(stream, str(self.path)):
                yield record_of(text.number, extxyz.build(text))

    def _record(self, number: int) -> Record:
        if not self.is_extxyz:
            return self._windowed(number)
        start, end = (int(place) for place in self._starts[number : number + 2])
        line, raw = int(self._lines[number]), io.BytesIO(self._bytes(start, end))
        text = next(extxyz.frame_texts(raw, str(self.path), number, line))
        return record_of(number, extxyz.build(text))

    def _windowed(self, number: int) -> Record:
        index = number // WINDOW
        if index in self._windows:
            self._windows.move_to_end(index)
        else:
            self._windows[index] = self._window(index)
            if len(self._windows) > WINDOWS:
                self._windows.popitem(last=False)
        return self._windows[index][number % WINDOW]

    def _window(self, index: int) -> list[Record]:
        """Some frames; going forward, the reading goes on where it was."""
        process, at, records = self._cursor
        if process != os.getpid() or not at <= index < at + WINDOWS:
            at, records = index, self._read_by_ase(index * WINDOW, None)
        for _ in range(at, index):
            deque(itertools.islice(records, WINDOW), maxlen=0)
        self._cursor = os.getpid(), index + 1, records
        return list(itertools.islice(records, WINDOW))

    def _read_by_ase(self, first: int, end: int | None) -> Iterator[Record]:
        self._check_stamp()
        single = ioformats[self.kind].single
        index = slice(None) if single else slice(first, end)
        number = first
        try:
            for atoms in ase.io.iread(
                str(self.path), index=index, format=self.kind, do_not_split_by_at_sign=True
            ):
                yield record_of(number, atoms)
                number += 1
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                f"{self.path}: ASE cannot read frame {number} of this file ({self.kind}): "
                f"{type(error).__name__}: {error}"
            ) from error

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        """The file's bytes, uncompressed."""
        self._check_stamp()
        try:
            with closing(open_with_compression(str(self.path), "rb")) as stream:
                yield cast(BinaryIO, stream)
        except _BROKEN as error:
            raise DataError(f"{self.path}: cannot be read: {error}") from error

    def _bytes(self, start: int, end: int) -> bytes:
        """Some of the file's bytes, uncompressed; of a compressed file from a temporary copy."""
        if get_compression(str(self.path))[1] is None:
            with self._open() as stream:
                return os.pread(stream.fileno(), end - start, start)
        if self._plain is None:
            self._plain = self._uncompressed()
        return os.pread(self._plain, end - start, start)

    def _uncompressed(self) -> int:
        """Make the temporary copy, which has no name and goes with this source."""
        descriptor, name = tempfile.mkstemp()
        weakref.finalize(self, os.close, descriptor)
        os.unlink(name)
        with self._open() as stream, os.fdopen(os.dup(descriptor), "wb") as copy:
            shutil.copyfileobj(stream, copy)
        return descriptor

    def _check_stamp(self) -> None:
        if _stamp(self.path) != self._stamp:
            raise DataError(f"{self.path}: the file has changed since it was opened; open it again")


def _kind(path: Path) -> str | None:
    """ASE's name for the format of a file, or None where ASE reads no such files.

    Raises:
        DataError: the file is empty, or cannot be opened.
    """
    if path.is_dir() and not BundleTrajectory.is_bundle(str(path)):
        return None
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    try:
        kind = filetype(str(path))
    except UnknownFileTypeError as error:
        if "Empty file" in str(error):
            raise DataError(f"{path}: the file is empty") from error
        return None
    except _BROKEN as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if kind == ase_format.NAME:  # an HDF5 file that our own reader of that format did not know
        return None
    return kind if kind in ioformats and ioformats[kind].can_read else None


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
