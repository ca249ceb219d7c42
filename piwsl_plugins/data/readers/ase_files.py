"""Everything that ASE reads: extxyz and the like, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.io.formats import UnknownFileTypeError, filetype
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.readers.base import BLOCK_SIZE, Source


class AseSource(Source):
    """A file that ASE reads; a first draft that only counts frames and finds no labels yet."""

    format = "a file that ASE reads"

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether ASE knows the format."""
        try:
            return bool(filetype(str(path)))
        except UnknownFileTypeError:
            return False

    def __len__(self) -> int:
        return sum(1 for _ in ase.io.iread(str(self.path)))

    @property
    def keys(self) -> dict[str, int]:
        """Labels and the frames that have them."""
        return {}

    def elements(self) -> NDArray[np.int64]:
        """Atomic numbers, sorted."""
        found: set[int] = set()
        for atoms in ase.io.iread(str(self.path)):
            found.update(int(number) for number in atoms.numbers)
        return np.array(sorted(found))

    def blocks(self, size: int = BLOCK_SIZE) -> Iterator[Block]:
        """The frames, one a block."""
        for number, atoms in enumerate(ase.io.iread(str(self.path))):
            yield self._block(number, atoms)

    def frame(self, number: int) -> Block:
        """One frame."""
        (atoms,) = ase.io.read(str(self.path), index=slice(number, number + 1))
        return self._block(number, atoms)

    def _block(self, number: int, atoms: ase.Atoms) -> Block:
        periodic = bool(atoms.pbc.any())
        return Block(
            source=str(self.path),
            places=np.array([number]),
            group="",
            numbers=np.asarray(atoms.numbers, dtype=np.int64),
            positions=np.asarray(atoms.positions, dtype=float)[None],
            labels={},
            cell=np.asarray(atoms.cell)[None] if periodic else None,
            pbc=np.asarray(atoms.pbc)[None] if periodic else None,
        )
