"""Sources that live in memory, for tests of whatever reads sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import FORCES, LABELS, Block
from piwsl_plugins.data.readers import BLOCK_SIZE, Source
from piwsl_plugins.data.settings import DataSettings


def block(
    atoms: Sequence[ase.Atoms], *, first: int = 0, group: str = "", **labels: Sequence[Any]
) -> Block:
    """Frames of the same atoms; a label's value None is a missing one."""
    shapes = {"stress": (3, 3)} | dict.fromkeys(FORCES, (len(atoms[0]), 3))
    periodic = any(frame.pbc.any() for frame in atoms)
    keys = {key for frame in atoms for key in frame.info}
    return Block(
        source="memory.xyz",
        places=np.arange(first, first + len(atoms)),
        group=group,
        numbers=np.asarray(atoms[0].numbers, dtype=np.int64),
        positions=np.array([frame.positions for frame in atoms]),
        labels={
            name: np.array(
                [
                    np.full(shapes.get(name, ()), np.nan if value is None else value)
                    for value in values
                ],
                dtype=float,
            )
            for name, values in labels.items()
        },
        cell=np.array([frame.cell[:] for frame in atoms]) if periodic else None,
        pbc=np.array([frame.pbc for frame in atoms]) if periodic else None,
        info={key: [frame.info.get(key) for frame in atoms] for key in sorted(keys)},
    )


class MemorySource(Source):
    """Blocks that are there already."""

    format = "memory"

    def __init__(self, *blocks: Block, settings: DataSettings | None = None) -> None:
        super().__init__(Path("memory.xyz"), settings or DataSettings())
        self._blocks = blocks

    @staticmethod
    def recognises(path: Path) -> bool:
        return False

    def __len__(self) -> int:
        return sum(len(block) for block in self._blocks)

    @property
    def keys(self) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for block in self._blocks:
            counts.update({name: int(block.has(name).sum()) for name in LABELS})
        return {f"REF_{name}": count for name, count in counts.items() if count}

    def elements(self) -> NDArray[np.int64]:
        return np.unique(np.concatenate([block.numbers for block in self._blocks]))

    def blocks(self, size: int = BLOCK_SIZE) -> Iterator[Block]:
        for block in self._blocks:
            for start in range(0, len(block), size):
                yield block.take(slice(start, start + size))

    def frame(self, number: int) -> Block:
        for block in self._blocks:
            if number < len(block):
                return block.take([number])
            number -= len(block)
        raise IndexError(number)
