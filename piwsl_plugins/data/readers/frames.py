"""What the readers of ASE's structures share: one pass to see what is there, then blocks."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from piwsl_plugins.data.blocks import Block, Floats
from piwsl_plugins.data.checks import MAX_NAMED
from piwsl_plugins.data.readers.base import BLOCK_SIZE, DataError, Source
from piwsl_plugins.data.readers.labels import Labels, energy_key, is_missing
from piwsl_plugins.data.readers.records import Record

MAX_ATOMS = 500_000
"""Atoms that a block holds, at most, however many frames may be asked for."""


@dataclasses.dataclass(slots=True)
class Contents:
    """What a whole file holds.

    Attributes:
        frames: number of frames.
        keys: frames that have a value under each name.
        scalars: names that are single numbers.
        elements: atomic numbers.
        twins: whether ``free_energy`` is the same as ``energy`` wherever both are.
    """

    frames: int = 0
    keys: Counter[str] = dataclasses.field(default_factory=Counter)
    scalars: set[str] = dataclasses.field(default_factory=set)
    elements: set[int] = dataclasses.field(default_factory=set)
    twins: bool = True

    def add(self, elements: Iterable[int], values: Mapping[str, Floats | None]) -> None:
        """Count a frame; a value may be None where it is there, but was not looked at."""
        self.frames += 1
        self.elements.update(elements)
        for key, value in values.items():
            if value is None:
                self.keys[key] += 1
                continue
            self.keys[key] += not is_missing(value)
            if value.shape == ():
                self.scalars.add(key)
        energy, free = values.get("energy"), values.get("free_energy")
        if energy is not None and free is not None:
            self.twins &= np.array_equal(energy, free, equal_nan=True)


class FrameSource(Source):
    """A source whose frames ASE makes.

    Subclasses read; this class looks through the file once, finds the labels, and makes blocks of
    neighbouring frames with the same atoms.
    """

    _contents: Contents | None = None
    _labels: Labels | None = None

    @abstractmethod
    def _records(self) -> Iterator[Record]:
        """All frames in the file's order."""

    @abstractmethod
    def _record(self, number: int) -> Record:
        """One frame; the number was checked."""

    def _look_through(self) -> Contents:
        """Read the file once, for what is in it."""
        contents = Contents()
        for record in tqdm(self._records(), f"looking through {self.path.name}", delay=2):
            contents.add(np.unique(record.atoms.numbers).tolist(), record.values)
        return contents

    @property
    def contents(self) -> Contents:
        """What the file holds; the first call reads it once."""
        if self._contents is None:
            contents = self._look_through()
            if contents.frames == 0:
                raise DataError(f"{self.path}: there are no frames in this file")
            self._contents = contents
        return self._contents

    @property
    def labels(self) -> Labels:
        """Takes the labels out of frames; the first call reads the file once."""
        if self._labels is None or self._labels.settings is not self.settings:
            contents, keys = self.contents, self.settings.keys
            if "energy" not in keys:
                key = energy_key(contents.scalars, contents.twins, self.path)
                keys = {"energy": key, **keys} if key else keys
            self._labels = Labels(self.settings, keys, contents.keys, self.path)
        return self._labels

    def __len__(self) -> int:
        return self.contents.frames

    @property
    def keys(self) -> dict[str, int]:
        """Name of every number the frames have, and the frames that have it."""
        return {key: number for key, number in self.contents.keys.items() if number}

    def elements(self) -> NDArray[np.int64]:
        """Atomic numbers in the file, sorted."""
        return np.array(sorted(self.contents.elements), dtype=np.int64)

    def blocks(self, size: int = BLOCK_SIZE) -> Iterator[Block]:
        """Neighbouring frames with the same atoms, ``size`` at once at most.

        Raises:
            DataError: a key that is not there, a broken file, or values that are not finite or of
                another shape; at most ten frames are named.
        """
        problems: list[str] = []
        for run in self._runs(size):
            block = self._block(run, problems)
            if not problems:
                yield block
            elif len(problems) >= MAX_NAMED:
                break
        refuse(problems)

    def frame(self, number: int) -> Block:
        """One frame, by random access."""
        problems: list[str] = []
        block = self._block([self.record(number)], problems)
        refuse(problems)
        return block

    def record(self, number: int) -> Record:
        """One frame as it is in the file, by random access.

        Raises:
            IndexError: there is no such frame.
            DataError: it is broken.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"{self.path}: there is no frame {number} among {len(self)}")
        return self._record(number)

    def name(self, place: int) -> str:
        """What a message calls a frame."""
        return f"{self.path}, frame {place}"

    def _runs(self, size: int) -> Iterator[list[Record]]:
        labels, run = self.labels, list[Record]()
        for record in self._records():
            most = min(size, max(1, MAX_ATOMS // max(1, len(record.atoms))))
            if run and (len(run) >= most or not _alike(run[0], record, labels.used)):
                yield run
                run = []
            run.append(record)
        if run:
            yield run

    def _block(self, run: list[Record], problems: list[str]) -> Block:
        labels, first = self.labels, run[0].atoms
        length = labels.factors["length"]
        found = []
        for record in run:
            name = self.name(record.place)
            problems.extend(f"{name}: {what}" for what in wrong_geometry(record.atoms))
            found.append(labels.of(record, name, problems))
        if problems:
            found = []
        periodic = bool(first.pbc.any())
        return Block(
            source=str(self.path),
            places=np.array([record.place for record in run]),
            group="",
            numbers=np.asarray(first.numbers, dtype=np.int64),
            positions=np.stack([record.atoms.positions for record in run]) * length,
            labels={
                label: np.stack([of_frame[label] for of_frame in found])
                for label in (labels.expressions if found else ())
            },
            cell=np.stack([r.atoms.cell.array for r in run]) * length if periodic else None,
            pbc=np.stack([record.atoms.pbc for record in run]) if periodic else None,
            info={
                key: [record.atoms.info[key] for record in run]
                for key in first.info
                if key not in labels.used
            },
        )


def refuse(problems: list[str]) -> None:
    """Raise an error that names the frames that were found bad, ten at most."""
    if problems:
        more = "\n  and more" if len(problems) > MAX_NAMED else ""
        raise DataError(
            "frames that cannot be used (counted from 0); correct or remove them:\n  "
            + "\n  ".join(problems[:MAX_NAMED])
            + more
        )


def wrong_geometry(atoms: ase.Atoms) -> list[str]:
    """What is wrong with the positions, elements and cell of a frame."""
    if len(atoms) == 0:
        return ["has no atoms"]
    wrong = []
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if len(bad):
        wrong.append(f"position of atom {bad[0]} is {atoms.positions[bad[0]]}")
    if not np.all(atoms.numbers > 0):
        wrong.append(f"atom {int(np.argmin(atoms.numbers))} is of no element")
    cell = atoms.cell.array
    if not np.isfinite(cell).all():
        wrong.append(f"cell is {cell.ravel()}")
    elif atoms.pbc.any() and np.linalg.matrix_rank(cell[atoms.pbc]) < atoms.pbc.sum():
        wrong.append(f"periodic along {atoms.pbc}, but the cell is {cell.tolist()}")
    return wrong


def _alike(one: Record, other: Record, used: frozenset[str]) -> bool:
    """Whether two frames go into one block: the same atoms, periodicity and names in info."""
    a, b = one.atoms, other.atoms
    return (
        np.array_equal(a.numbers, b.numbers)
        and bool(a.pbc.any()) == bool(b.pbc.any())
        and _names(a.info, used) == _names(b.info, used)
    )


def _names(info: Mapping[str, Any], used: frozenset[str]) -> set[str]:
    return set(info) - used
