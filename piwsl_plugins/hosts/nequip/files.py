"""NequIP's dataset of any file of energies: ANI's and SPICE's HDF5, databases, tables, extxyz."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nequip.data import AtomicDataDict, from_dict
from nequip.data.dataset import AtomicDataset, RandomSplitAndIndexDataset
from torch import Tensor

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.readers.per_process import PerProcess
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.targets import check_differences, targets
from piwsl_plugins.fields import unknown_name
from piwsl_plugins.hosts.nequip import seams
from piwsl_plugins.hosts.nequip.scan import LABELS_BLOCK, NAMES, scan

_SHAPES: dict[str, Callable[[int], tuple[int, ...]]] = {
    "energy": lambda atoms: (1, 1),
    "forces": lambda atoms: (atoms, 3),
    "weak_forces": lambda atoms: (atoms, 3),
    "stress": lambda atoms: (1, 3, 3),
}
_REST = "unused"


def label_settings(labels: Mapping[str, Any] | None) -> DataSettings:
    """Keys and units of a ``labels`` block.

    Args:
        labels: values by the names of :class:`DataSettings`.

    Raises:
        ValueError: an unknown name, with the nearest known one, or contradictory values.
    """
    given, known = dict(labels or {}), [field.name for field in dataclasses.fields(DataSettings)]
    nequips = {name: label for label, name in NAMES.items() if name != label}
    for name in given:
        if name in nequips:
            raise ValueError(f"{LABELS_BLOCK}: write {nequips[name]!r} for {name!r}")
        if name not in known:
            raise ValueError(f"{LABELS_BLOCK}: {unknown_name(str(name), known)}")
    try:
        settings = DataSettings(**given)
        check_differences(settings)
    except ValueError as error:
        raise ValueError(f"{LABELS_BLOCK}: {error}") from None
    return settings


class FileDataset(AtomicDataset):  # type: ignore[misc]
    """Frames of a file of energies, in eV and angstrom, each read when it is asked for.

    Only what ASE reads as text, up to some size, is held in memory. A label that some frames of
    the file have and others lack is NaN in those. Can be pickled, and read by several processes.

    Args:
        file_path: any file that :func:`piwsl_plugins.data.readers.open_source` opens.
        labels: keys and units, by the names of :class:`piwsl_plugins.data.settings.DataSettings`.
        transforms: NequIP's.
        everything: keep frames without labels, and isolated atoms.
        isolated_atoms: keep isolated atoms.
        cutoff: distance within which pairs of atoms are sought for a check, angstrom.

    Raises:
        ValueError: what is wrong with the file or the labels.
    """

    def __init__(
        self,
        file_path: str,
        labels: Mapping[str, Any] | None = None,
        transforms: Sequence[Callable[[Any], Any]] = (),
        everything: bool = False,
        isolated_atoms: bool = False,
        cutoff: float = 0.0,
    ) -> None:
        super().__init__(transforms=list(transforms))
        self.file_path = str(file_path)
        with seams.plain_errors():
            self.piwsl_scan = scan(self.file_path, label_settings(labels), cutoff)
            self.places = self.piwsl_scan.usable(isolated_atoms)
            if everything:
                self.places = np.arange(len(self.piwsl_scan.isolated))
            if not len(self.places):
                raise ValueError(self._nothing_usable())
        self._labels = [label for label, name in NAMES.items() if name in self.piwsl_scan.masks]
        self._file = PerProcess(self.piwsl_scan.source)

    @property
    def piwsl_masks(self) -> dict[str, Any]:
        """Which of the frames have which label."""
        return {name: mask[self.places] for name, mask in self.piwsl_scan.masks.items()}

    @property
    def piwsl_shortest(self) -> Any:
        """Distance of the closest pair of each frame, angstrom."""
        return self.piwsl_scan.shortest[self.places]

    def piwsl_place(self, index: int) -> int:
        """The frame's number in the file."""
        return int(self.places[index])

    def __len__(self) -> int:
        return len(self.places)

    def _get_data_list(self, indices: Any) -> list[dict[str, Tensor]]:
        if isinstance(indices, slice):
            indices = range(len(self))[indices]
        return [self._data(self._block(int(index))) for index in indices]

    def _block(self, index: int) -> Block:
        place = int(self.places[index])
        if self.piwsl_scan.blocks is not None:
            return self.piwsl_scan.blocks[place]
        return targets(self._file.source.frame(place))

    def _data(self, block: Block) -> dict[str, Tensor]:
        atoms = len(block.numbers)
        data: dict[str, Any] = {
            AtomicDataDict.POSITIONS_KEY: block.positions[0],
            AtomicDataDict.ATOMIC_NUMBERS_KEY: block.numbers,
            AtomicDataDict.PBC_KEY: np.zeros(3, bool) if block.pbc is None else block.pbc[0],
        }
        if self.piwsl_scan.has_cell:
            cell = np.zeros((3, 3)) if block.cell is None else block.cell[0]
            data[AtomicDataDict.CELL_KEY] = cell
        for label in self._labels:
            values = block.labels.get(label)
            shape = _SHAPES[label](atoms)
            data[NAMES[label]] = np.full(shape, np.nan) if values is None else values.reshape(shape)
        found: dict[str, Tensor] = from_dict(data)
        return found

    def _nothing_usable(self) -> str:
        source = self.piwsl_scan.source
        names = ", ".join(f"{key} ({number})" for key, number in sorted(source.keys.items()))
        return (
            f"{self.file_path}: none of its {len(source)} frames can be used: each is an isolated "
            "atom or has none of the labels asked for; the keys in the file, and the frames that "
            f"have them, are {names or 'none'}. Name them in {LABELS_BLOCK}, e.g. energy: KEY"
        )


def split(
    dataset: Any, split_dict: Mapping[str, float], dataset_key: str, seed: int
) -> torch.utils.data.Subset[Any]:
    """NequIP's ``RandomSplitAndIndexDataset``, whose counts may leave frames over.

    Args:
        dataset: the frames to split.
        split_dict: counts or fractions by part.
        dataset_key: the part that is wanted.
        seed: of the random order.

    Raises:
        ValueError: parts that are more than there is, or an empty part.
    """
    parts, total = dict(split_dict), len(dataset)
    name = getattr(dataset, "file_path", type(dataset).__name__)
    given = ", ".join(f"{part}: {size}" for part, size in parts.items())
    with seams.plain_errors():
        whole = all(isinstance(size, int) for size in parts.values())
        if whole and sum(parts.values()) < total:
            parts[_REST] = total - sum(parts.values())
        wrong = sum(parts.values()) != total if whole else abs(sum(parts.values()) - 1.0) > 1e-9
        if wrong or any(size < 0 for size in parts.values()):
            raise ValueError(
                f"data.split_dataset: {given} of {Path(name).name} is not to be had: give counts "
                f"that add up to its {total} usable frames or fewer, or fractions that add up to 1"
            )
        found: torch.utils.data.Subset[Any] = RandomSplitAndIndexDataset(
            dataset, parts, dataset_key, seed
        )
        if not len(found):
            raise ValueError(
                f"data.split_dataset: {given}: {dataset_key} has no frame of the {total} usable "
                f"ones of {Path(name).name}; give it a larger part"
            )
    return found
