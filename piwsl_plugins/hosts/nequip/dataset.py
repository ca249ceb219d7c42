"""Frames of files, in memory or read one by one, as a dataset of NequIP's."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
from ase.data import chemical_symbols
from nequip.data import AtomicDataDict, from_dict
from nequip.data.dataset import AtomicDataset, RandomSplitAndIndexDataset
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper
from nequip.utils import RankedLogger
from torch import Tensor
from torch.utils.data import Subset

from piwsl_plugins.data.frames import TARGETS, DataError, Frame
from piwsl_plugins.data.readers import databases
from piwsl_plugins.data.reading import open_labelled, read
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.targets import differences
from piwsl_plugins.hosts.nequip.extension import WEAK_FORCES_WEIGHTS

LABELS_BLOCK = "data.labels"
SPELLING = {name: f"{LABELS_BLOCK}.{name}" for name in DataSettings.model_fields}
_log = RankedLogger(__name__, rank_zero_only=True)


class DatabaseFrames:
    """Frames of an LMDB database in ASE's layout, each read when it is asked for."""

    def __init__(self, path: str, settings: DataSettings) -> None:
        _database.cache_clear()  # LMDB opens a file once in a process
        opened = open_labelled(path, settings, SPELLING, needs_energies=False)
        self.path, self.converter, self.remarks = path, opened.converter, opened.remarks
        self.ids = sorted(_database(path).ids)

    @property
    def summary(self) -> str:
        """What was taken for what, once all frames were read."""
        return self.converter.summary()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Frame:
        row = _database(self.path).get(id=self.ids[index])  # whose IndexError ends a loop
        return self.converter.frame(databases._frame(row), index)


@functools.lru_cache(maxsize=4)
def _database(path: str) -> Any:
    return ase.db.connect(path, type="aselmdb", use_lock_file=False, readonly=True)


os.register_at_fork(before=_database.cache_clear)  # LMDB's must not be shared with a fork


@functools.lru_cache(maxsize=16)
def _read(path: str, stamp: int, settings: DataSettings, subtract: bool) -> FrameDataset:
    """All frames of a file, which is read again only if it changed (the stamp)."""
    whole: Any
    frames: Any
    if Path(path).suffix == ".aselmdb" and not subtract:
        whole = frames = DatabaseFrames(path, settings)
    else:
        whole = read(path, settings, spelling=SPELLING, needs_energies=False)
        frames = differences(whole.frames) if subtract else whole.frames
    found = FrameDataset(frames)
    if not len(found):
        raise DataError(f"{path}: each of its {len(frames)} frames is an isolated atom")
    _log.info(f"{whole.summary}; {len(found.isolated)} isolated atoms are no frames")
    for remark in whole.remarks:
        _log.warning(remark)
    return found


class FrameDataset(AtomicDataset):  # type: ignore[misc]
    """Frames, in eV and angstrom, as a dataset of NequIP's; missing labels are NaN.

    Molecules have no cell where no frame has one, rather than one without volume, in which stress
    would be NaN.

    Args:
        frames: the frames; isolated atoms among them are for the free atoms' energies alone.
        transforms: NequIP's.

    Attributes:
        has: which frames have a label, each of shape [n_frames]; all frames get these labels.
    """

    def __init__(
        self,
        frames: Sequence[Frame] = (),
        transforms: Iterable[Callable[[Any], Any]] = (),
    ) -> None:
        super().__init__(transforms=list(transforms))
        self.isolated, self.elements, self.has_cell = list[Frame](), set[int](), False
        kept, labels = list[int](), list[Iterable[str]]()
        for number, frame in enumerate(frames):
            if frame.is_isolated_atom:
                self.isolated.append(frame)
                continue
            kept.append(number)
            labels.append(frame.labels.keys())
            self.elements.update(frame.atoms.numbers.tolist())
            self.has_cell = self.has_cell or bool(frame.atoms.cell.any())
        self.frames: Any = Subset(frames, kept)  # type: ignore[arg-type]  # any sequence will do
        known = {label: np.array([label in own for own in labels]) for label in TARGETS}
        self.has = {label: mask for label, mask in known.items() if mask.any()}

    def part(self, numbers: Sequence[int]) -> FrameDataset:
        """Some of the frames, with the elements, cell and isolated atoms of all of them."""
        found = copy.copy(self)
        found.frames = Subset(self.frames, numbers)
        found.has = {label: mask[numbers] for label, mask in self.has.items()}
        return found

    def __len__(self) -> int:
        return len(self.frames)

    def count(self, label: str) -> int:
        """How many frames have a label."""
        return int(self.has[label].sum()) if label in self.has else 0

    def _get_data_list(self, indices: Any) -> list[dict[str, Tensor]]:
        numbers = range(len(self))[indices] if isinstance(indices, slice) else indices
        return [self._data(self.frames[int(number)]) for number in numbers]

    def _data(self, frame: Frame) -> dict[str, Tensor]:
        atoms = frame.atoms
        data: dict[str, Any] = {
            AtomicDataDict.POSITIONS_KEY: atoms.positions,
            AtomicDataDict.ATOMIC_NUMBERS_KEY: atoms.numbers,
            AtomicDataDict.PBC_KEY: atoms.pbc,
        }
        if self.has_cell:
            data[AtomicDataDict.CELL_KEY] = atoms.cell.array
        shapes = {"energy": (1, 1), "stress": (1, 3, 3), WEAK_FORCES_WEIGHTS: (len(atoms), 1)}
        for label in self.has:
            shape = shapes.get(label, (len(atoms), 3))
            values = np.asarray(frame.labels.get(label, np.full(shape, np.nan)), dtype=float)
            field = AtomicDataDict.TOTAL_ENERGY_KEY if label == "energy" else label
            data[field] = values.reshape(shape)
        return from_dict(data)  # type: ignore[no-any-return]


def file_dataset(
    file_path: str,
    labels: Mapping[str, Any],
    subtract: bool = True,
    transforms: Iterable[Callable[[Any], Any]] = (),
    part: str | None = None,
    split: Mapping[str, float] | None = None,
    seed: int = 0,
) -> FrameDataset:
    """The frames of a file, or a random part of them, in NequIP's order, without isolated atoms.

    ``labels`` and ``split`` are as in ``PiwslDataModule``, ``part`` is one of the names of the
    split; ``subtract`` hands on differences where a cheaper method's energies are read.
    """
    settings, path = DataSettings.from_mapping(dict(labels), LABELS_BLOCK), Path(file_path)
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    whole = _read(str(file_path), stamp, settings, subtract and settings.low_energy is not None)
    numbers: Sequence[int] = range(len(whole))
    if part is not None:
        numbers = _indices(len(whole), dict(split or {}), part, seed, path.name)
    found = whole.part(numbers)
    found.transforms = list(transforms)
    types = types_of(found.transforms)
    for number in sorted(whole.elements - types.keys()) if types else ():
        frame = next(frame for frame in whole.frames if number in frame.atoms.numbers)
        raise DataError(
            f"{frame.source}: type_names {sorted(set(types.values()))} lacks "
            f"{chemical_symbols[number]}, which frame {frame.number} has; add it (to a new model), "
            "or leave the frame out"
        )
    return found


def _indices(total: int, parts: dict[str, float], part: str, seed: int, name: str) -> list[int]:
    given = ", ".join(f"{own}: {size}" for own, size in parts.items())
    whole, asked = all(isinstance(size, int) for size in parts.values()), sum(parts.values())
    found: list[int] = []
    if min(parts.values()) >= 0 and (asked <= total if whole else abs(asked - 1.0) < 1e-9):
        left = {"left": total - asked} if whole else {}
        found = [*RandomSplitAndIndexDataset(range(total), parts | left, part, seed).indices]
    if not found:
        raise DataError(
            f"data.split_dataset: {given} of {name} leaves no frame for {part}: give counts that "
            f"add up to its {total} frames or fewer, or fractions that add up to 1"
        )
    return found


def types_of(transforms: Iterable[Any]) -> dict[int, str]:
    """Type by atomic number, of the transform that makes types of elements; empty without one."""
    for mapper in transforms:
        if isinstance(mapper, ChemicalSpeciesToAtomTypeMapper):
            names, types = mapper.model_type_names, enumerate(mapper.lookup_table.tolist())
            return {number: names[index] for number, index in types if index >= 0}
    return {}
