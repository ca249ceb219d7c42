"""HDF5 files with a group for each molecule or formula: what ANI's and SPICE's have in common."""

from __future__ import annotations

import functools
import itertools
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from h5py import h5g
from numpy.typing import NDArray
from tqdm import tqdm

from piwsl_plugins.data.blocks import Block, Floats
from piwsl_plugins.data.readers.base import BLOCK_SIZE, Source
from piwsl_plugins.data.readers.hdf5_file import (
    Handle,
    broken_file_named,
    has_signature,
    links,
    open_group,
)
from piwsl_plugins.data.readers.hdf5_group import Buffers, OpenGroup, Texts
from piwsl_plugins.data.readers.hdf5_index import NUMBERS, Group, Index, build
from piwsl_plugins.data.readers.hdf5_labels import Label, Units, keys_of, plan, scaled
from piwsl_plugins.data.settings import DataSettings

LARGEST_BLOCK = 2_000_000
"""Atoms of all frames that are held at once, at most (a larger frame comes alone)."""

KEPT = 16
"""Groups that stay open for random access; each holds at most a chunk or so of each dataset."""
LOOKED_AT = 16
"""Groups that are looked at to recognise a file."""


class Hdf5Source(Source):
    """Groups of ``atomic_numbers`` (Na), positions (Nc, Na, 3) and labels, read slice by slice.

    Attributes:
        positions: name of the dataset of positions.
        texts: names of the datasets of strings that go into the frames' info.
        energy_unit: unit of the energies where the settings give none.
        length_unit: unit of the positions where the settings give none.
        derived: columns that follow from another, by name: that column and the factor to it.
    """

    positions = ""
    texts: tuple[str, ...] = ()
    energy_unit = "hartree"
    length_unit = "angstrom"
    derived: ClassVar[Mapping[str, tuple[str, float]]] = {}

    def __init__(self, path: Path, settings: DataSettings) -> None:
        super().__init__(Path(path), settings)
        self._handle = Handle(self.path)
        self._counts: dict[str, int] = {}
        self._kept: OrderedDict[str, OpenGroup] = OrderedDict()
        self._kept_of: h5g.GroupID | None = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether one of the first groups has this layout's datasets.

        Raises:
            DataError: an HDF5 file that cannot be opened.
        """
        if not has_signature(path):
            return False
        handle = Handle(path)
        try:
            with broken_file_named(str(path)):
                root = handle.root
                for name in itertools.islice(root, LOOKED_AT):
                    group = open_group(root, name.decode())
                    if group is not None and {NUMBERS, cls.positions} <= set(links(group)):
                        return True
        finally:
            handle.close()
        return False

    def forces_of(self, energy: str) -> str | None:
        """The column of the forces that belong to a column of energies, if there is one."""
        return None

    def close(self) -> None:
        """Close the file; it opens again when read again."""
        self._kept.clear()
        self._handle.close()

    @functools.cached_property
    def index(self) -> Index:
        """The file's groups; listed when first needed."""
        return build(self._handle.root, str(self.path), self.positions)

    @functools.cached_property
    def units(self) -> Units:
        """The units of the file, those of the settings before those of the format."""
        return Units.of(self.settings, self.energy_unit, self.length_unit)

    @property
    def energies(self) -> tuple[str, ...]:
        """Names of the columns of energies, shape [n_frames]."""
        return self.index.energies

    @functools.cached_property
    def vectors(self) -> tuple[str, ...]:
        """Names of the columns of forces or gradients, [n_frames, n_atoms, 3], derived ones too."""
        stored = self.index.vectors
        new = (name for name, (column, _) in self.derived.items() if column in stored)
        return (*stored, *(name for name in new if name not in stored))

    def stored(self, column: str) -> tuple[str, float]:
        """The dataset that a column comes from, and the factor to it."""
        if column in self.derived and column not in self.index.vectors:
            return self.derived[column]
        return column, 1.0

    @functools.cached_property
    def plan(self) -> Mapping[str, Label]:
        """How to read what the settings ask for, by label.

        Raises:
            DataError: a key that is not there, or several energies and no key.
        """
        return plan(self, keys_of(self))

    def __len__(self) -> int:
        return int(self.index.starts[-1])

    @property
    def keys(self) -> dict[str, int]:
        """The columns of energies and forces, and the frames that have a number in them."""
        return self.count((*self.energies, *self.vectors))

    def count(self, columns: Sequence[str]) -> dict[str, int]:
        """How many frames have a number in each of some columns; each is read through once."""
        stored = {name: self.stored(name)[0] for name in columns}
        new = sorted(set(stored.values()) - set(self._counts))
        if new:
            counts = dict.fromkeys(new, 0)
            bar = tqdm(self.index.groups, "counting labels", unit=" groups", delay=2, leave=False)
            for group in bar:
                opened = self.open(group)
                for name in group.columns:
                    if name in counts:
                        counts[name] += self._count(opened, name)
            self._counts.update(counts)
        return {name: self._counts[column] for name, column in stored.items()}

    def _count(self, opened: OpenGroup, name: str) -> int:
        total, per_atom = 0, name in self.index.vectors
        for start, stop in self._slices(opened.group, BLOCK_SIZE):
            values = opened.unchecked(name, start, stop, per_atom=per_atom)
            total += int((~np.isnan(values.reshape(stop - start, -1))).any(axis=1).sum())
        return total

    def elements(self) -> NDArray[np.int64]:
        """Atomic numbers in the file, sorted."""
        found: set[int] = set()
        for group in self.index.groups:
            found.update(group.numbers.tolist())
        return np.array(sorted(found), dtype=np.int64)

    def blocks(self, size: int = BLOCK_SIZE) -> Iterator[Block]:
        """All frames in the file's order, ``size`` of one group at once at most.

        Raises:
            ValueError: ``size`` is not positive.
            DataError: a key that is not there, a broken file, labels that are no numbers.
        """
        if size < 1:
            raise ValueError(f"size: got {size}, expected at least 1")
        buffers: Buffers = {}
        for group in self.index.groups:
            opened = self.open(group, buffers)
            for start, stop in self._slices(group, size):
                yield self.read(opened, start, stop, self.plan)

    def frame(self, number: int) -> Block:
        """One frame, by random access; errors as for :meth:`blocks`."""
        if not 0 <= number < len(self):
            raise IndexError(f"{self.path}: frame {number}, expected 0 to {len(self) - 1}")
        group, place = self.index.find(number)
        return self.read(self._open_kept(group), place, place + 1, self.plan)

    def _open_kept(self, group: Group) -> OpenGroup:
        """A group whose datasets stay open for the next frame of it that is asked for."""
        if self._kept_of is not self._handle.root:  # of another process, or closed
            self._kept.clear()
            self._kept_of = self._handle.root
        opened = self._kept.pop(group.name, None) or self.open(group)
        self._kept[group.name] = opened
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return opened

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": OrderedDict(), "_kept_of": None}

    def open(self, group: Group, buffers: Buffers | None = None) -> OpenGroup:
        """A group of the index, to read from; ``buffers`` as for :class:`OpenGroup`."""
        return OpenGroup(self._handle, group, buffers)

    def _slices(self, group: Group, size: int) -> Iterator[tuple[int, int]]:
        step = max(1, min(size, LARGEST_BLOCK // len(group.numbers)))
        for start in range(0, group.n_frames, step):
            yield start, min(start + step, group.n_frames)

    def read(self, opened: OpenGroup, start: int, stop: int, labels: Mapping[str, Label]) -> Block:
        """The frames of a group from ``start`` to ``stop``, with some labels."""
        group = opened.group
        texts = [name for name in self.texts if name in group.columns]
        positions = opened.positions(self.positions, start, stop)
        return Block(
            source=str(self.path),
            places=np.arange(group.start + start, group.start + stop, dtype=np.int64),
            group=group.name,
            numbers=group.numbers,
            positions=scaled(positions, self.units.length),
            labels={name: label.read(opened, start, stop) for name, label in labels.items()},
            info=Texts(self.open(group), texts, stop - start) if texts else {},
        )

    def columns(
        self, opened: OpenGroup, start: int, stop: int, leave_out: Collection[str | None] = ()
    ) -> dict[str, Floats]:
        """The file's energies and forces for some frames, eV and eV/angstrom, NaN where missing."""
        found = {}
        for name in (*self.index.energies, *self.index.vectors):
            if name in opened.group.columns and name not in leave_out:
                per_atom = name in self.index.vectors
                unit = self.units.forces if per_atom else self.units.energy
                found[name] = Label({name: 1.0}, unit, per_atom).read(opened, start, stop)
        return found
