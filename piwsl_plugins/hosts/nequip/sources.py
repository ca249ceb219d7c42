"""Frames of NequIP's datasets, and of ours, as sources of blocks; comparison of such data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.duplicates import check_no_overlap
from piwsl_plugins.data.plausibility import check_units
from piwsl_plugins.data.readers import BLOCK_SIZE, DataError, Source
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.hosts.nequip import labels
from piwsl_plugins.hosts.nequip.scan import Scan

_log = RankedLogger(__name__, rank_zero_only=True)


def source_of(dataset: Any, *, isolated_atoms: bool = False) -> Source:
    """Frames of a dataset, or of a part of one, as a source of blocks.

    Args:
        dataset: one of ours or of NequIP's.
        isolated_atoms: add the isolated atoms of the whole file; of a dataset of NequIP's, all of
            its frames.
    """
    base, indices = labels.unwrapped(dataset)
    if hasattr(base, "piwsl_scan"):
        places = base.places if indices is None else base.places[indices]
        if isolated_atoms:
            places = np.union1d(places, np.flatnonzero(base.piwsl_scan.isolated))
        return Chosen(base.piwsl_scan, places)
    return HostFrames(base, range(len(base)) if isolated_atoms or indices is None else indices)


def point_out_units(sources: Iterable[Source]) -> None:
    """Warn of numbers that look as if they were in other units than eV and angstrom."""
    for source in sources:
        for finding in check_units(source):
            if finding.unusual:
                _log.warning(
                    f"{source.path}: {finding.reason}; the losses and their settings are in eV and "
                    "angstrom, and piwsl_plugins.hosts.nequip.PiwslFilesDataModule converts to them"
                )


def check_overlaps(sources: Mapping[str, Sequence[Source]], *, allow_overlap: bool) -> None:
    """Refuse test frames that are trained on; point out validation frames that are.

    Args:
        sources: the ``training``, ``validation`` and ``test`` data.
        allow_overlap: only point them out in the test data, too.

    Raises:
        DataError: names the frames.
    """
    for other in ("validation", "test"):
        if not sources[other]:
            continue
        try:
            check_no_overlap(sources["training"], sources[other], ("training", other))
        except DataError as error:
            if other == "test" and not allow_overlap:
                raise DataError(f"{error}; or set data.allow_overlap: true") from None
            _log.warning(f"{error}")


class Chosen(Source):
    """Some frames of a scanned file, labels as they are in the file.

    Attributes:
        file: the whole file.

    Args:
        found: the file.
        places: numbers of its frames.
    """

    def __init__(self, found: Scan, places: NDArray[np.int64]) -> None:
        super().__init__(found.source.path, found.source.settings)
        self.format = found.source.format
        self.file = found.source
        self._mask = np.zeros(len(found.isolated), dtype=bool)
        self._mask[places] = True

    @staticmethod
    def recognises(path: Path) -> bool:
        """These are no files."""
        return False

    def __len__(self) -> int:
        return int(self._mask.sum())

    @property
    def keys(self) -> dict[str, int]:
        """Those of the file."""
        return self.file.keys

    def elements(self) -> NDArray[np.int64]:
        """Atomic numbers of the chosen frames, sorted."""
        found = [np.unique(block.numbers) for block in self.blocks()]
        return np.unique(np.concatenate([*found, np.zeros(0, dtype=np.int64)]))

    def blocks(self, size: int = BLOCK_SIZE) -> Iterator[Block]:
        """The chosen frames, in the file's order."""
        for block in self.file.blocks(size):
            chosen = self._mask[block.places]
            if chosen.any():
                yield block.take(chosen)

    def frame(self, number: int) -> Block:
        """One of the chosen frames."""
        return self.file.frame(int(np.flatnonzero(self._mask)[number]))


class HostFrames(Source):
    """Frames of any dataset of NequIP's, one a block, with their energies and forces.

    Args:
        dataset: the dataset.
        indices: the frames that are meant.
    """

    format = "data of NequIP's"

    def __init__(self, dataset: Any, indices: Sequence[int] | NDArray[np.int64] | range) -> None:
        path = getattr(dataset, "file_path", None) or type(dataset).__name__
        super().__init__(Path(str(path)), DataSettings(allow_unusual_units=True))
        self._read = labels.reader(dataset)[0]
        self._indices = indices

    @staticmethod
    def recognises(path: Path) -> bool:
        """These are no files."""
        return False

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def keys(self) -> dict[str, int]:
        """Nothing: the labels are what NequIP calls so."""
        return {}

    def elements(self) -> NDArray[np.int64]:
        """Atomic numbers, sorted."""
        return np.unique(np.concatenate([block.numbers for block in self.blocks()]))

    def blocks(self, size: int = BLOCK_SIZE) -> Iterator[Block]:
        """The frames one by one."""
        return (self.frame(number) for number in range(len(self)))

    def frame(self, number: int) -> Block:
        """One frame with its labels."""
        place = int(self._indices[number])
        data = self._read(place)
        energy, forces = data.get(labels.ENERGY), data.get(labels.FORCES)
        found = {} if energy is None else {"energy": energy.numpy().astype(float).reshape(1)}
        if forces is not None:
            found["forces"] = forces.numpy().astype(float)[None]
        cell, pbc = data.get(AtomicDataDict.CELL_KEY), data.get(AtomicDataDict.PBC_KEY)
        periodic = pbc is not None and cell is not None and bool(pbc.any())
        return Block(
            source=str(self.path),
            places=np.array([place]),
            group="",
            numbers=data[AtomicDataDict.ATOMIC_NUMBERS_KEY].numpy().astype(np.int64).ravel(),
            positions=data[AtomicDataDict.POSITIONS_KEY].numpy().astype(float)[None],
            labels=found,
            cell=cell.numpy().reshape(1, 3, 3) if periodic and cell is not None else None,
            pbc=pbc.numpy().reshape(1, 3) if periodic and pbc is not None else None,
        )
