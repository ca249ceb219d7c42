"""Frames of our readers as MACE's configurations, made when they are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.readers.per_process import PerProcess
from piwsl_plugins.data.targets import TARGETS, targets
from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.geometry import WEAK

DEFAULT_TYPE = "Default"


@dataclasses.dataclass(frozen=True)
class Translation:
    """How a frame becomes MACE's ``Configuration``.

    Attributes:
        key_specification: MACE's keys; those of further properties are looked up in the frames'
            ``info``.
        config_type_weights: MACE's weight of each ``config_type``.
        head: name of the head.
    """

    key_specification: Any
    config_type_weights: Mapping[str, float] | None
    head: str

    def configuration(self, block: Block, number: int) -> Any:
        """A frame of a block, labels as :func:`targets` returns them."""
        from mace.data import Configuration

        info = {key: values[number] for key, values in block.info.items()}
        properties = self._properties(block, number, info)
        kind = info.get("config_type") or DEFAULT_TYPE
        weights = {
            name: 0.0 if value is None else info.get(f"config_{name}_weight", 1.0)
            for name, value in properties.items()
        }
        return Configuration(
            atomic_numbers=block.numbers,
            positions=block.positions[number],
            properties=properties,
            property_weights=weights,
            cell=np.zeros((3, 3)) if block.cell is None else block.cell[number],
            pbc=(False,) * 3 if block.pbc is None else tuple(block.pbc[number].tolist()),
            weight=info.get("config_weight", 1.0) * (self.config_type_weights or {}).get(kind, 1.0),
            config_type=kind,
            head=self.head,
        )

    def _properties(self, block: Block, number: int, info: Mapping[str, Any]) -> dict[str, Any]:
        keys = self.key_specification
        properties = {name: info.get(key) for name, key in keys.info_keys.items()}
        properties |= dict.fromkeys(keys.arrays_keys)
        properties["energy"] = block.scalar("energy", number)
        properties["forces"] = block.array("forces", number)
        properties["stress"] = block.array("stress", number)
        if "low_energy" in block.labels:
            properties["virials"] = None
        properties["head"] = self.head
        properties[WEAK] = block.array("weak_forces", number)
        return properties


@dataclasses.dataclass(frozen=True)
class Part:
    """Frames of one file: the file to read from, or MACE's configurations that were read."""

    file: PerProcess | Sequence[Any]
    translation: Translation

    def configuration(self, place: int) -> Any:
        """One frame."""
        if isinstance(self.file, PerProcess):
            return self.translation.configuration(targets(self.file.source.frame(place)), 0)
        return self.file[place]


@dataclasses.dataclass(frozen=True)
class Frames(Sequence[Any]):
    """MACE's configurations of some frames, each read when it is asked for.

    Attributes:
        parts: the files.
        part: number of each frame's file, shape [n_frames].
        place: number of each frame in its file, shape [n_frames].
        number: each frame's number among those that were looked at, -1 for none, [n_frames].
        has: which of :data:`TARGETS` each frame has, shape [n_frames, 4].
        config_type: of each frame, shape [n_frames].
    """

    parts: tuple[Part, ...]
    part: NDArray[np.int64]
    place: NDArray[np.int64]
    number: NDArray[np.int64]
    has: NDArray[np.bool_]
    config_type: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.place)

    @overload
    def __getitem__(self, number: int) -> Any: ...

    @overload
    def __getitem__(self, number: slice) -> Frames: ...

    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return self.take(np.arange(len(self))[number])
        return self.parts[self.part[number]].configuration(int(self.place[number]))

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    def __add__(self, other: Frames) -> Frames:
        """Both, one after the other."""
        arrays = {
            name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _ARRAYS
        }
        arrays["part"][len(self) :] += len(self.parts)
        return Frames(parts=self.parts + other.parts, **arrays)

    def __mul__(self, times: int) -> Frames:
        """The same frames several times, as MACE repeats those of a small head."""
        return self.take(np.tile(np.arange(len(self)), times))

    def take(self, chosen: NDArray[Any] | Sequence[int]) -> Frames:
        """The frames of an index array or a boolean mask."""
        numbers = np.asarray(chosen)
        arrays = {name: getattr(self, name)[numbers] for name in _ARRAYS}
        return dataclasses.replace(self, **arrays)

    def blocks(self) -> Iterator[Block]:
        """The frames, file by file in their order, labels as :func:`targets` returns them."""
        for number, part in enumerate(self.parts):
            places = np.sort(self.place[self.part == number])
            if not len(places):
                continue
            if isinstance(part.file, PerProcess):
                for block in part.file.source.blocks():
                    chosen = block.take(np.isin(block.places, places))
                    if len(chosen):
                        yield targets(chosen)
            else:
                yield from (block_of(part.file[place], int(place)) for place in places)


_ARRAYS = ("part", "place", "number", "has", "config_type")


def block_of(config: Any, place: int) -> Block:
    """One of MACE's configurations as a block; a label without weight is left out."""
    labels: dict[str, Any] = {}
    for label in TARGETS:
        name = WEAK if label == "weak_forces" else label
        value = config.properties.get(name)
        if value is not None and config.property_weights.get(name, 0.0) > 0:
            labels[label] = np.asarray(value, dtype=float)[None]
    periodic = config.pbc is not None and any(config.pbc)
    return Block(
        source=getattr(config, "piwsl_source", ""),
        places=np.array([place]),
        group="",
        numbers=np.asarray(config.atomic_numbers, dtype=np.int64),
        positions=np.asarray(config.positions, dtype=float)[None],
        labels=labels,
        cell=np.asarray(config.cell, dtype=float)[None] if periodic else None,
        pbc=np.array([config.pbc], dtype=bool) if periodic else None,
        info={"config_type": [config.config_type]},
    )


class LazyDataset(Dataset[Any]):
    """MACE's ``AtomicData`` of frames, each made when it is asked for.

    Args:
        frames: the frames.
        training: whether the model is trained on them; only then do they carry what the terms
            with displacements need.
        options: MACE's arguments for ``AtomicData.from_config``.
    """

    def __init__(self, frames: Frames, *, training: bool, **options: Any) -> None:
        self.frames = frames
        self._training = training
        self._options = options

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, number: int) -> Any:
        from mace.data import AtomicData

        active = run.active()
        skin = self._training and active is not None and active.training
        return AtomicData.from_config(self.frames[int(number)], **self._options, piwsl_skin=skin)
