"""Which sampled geometries are kept: those far from the known ones and from each other."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.descriptors import averaged_soap

MOST_KNOWN = 2000
"""Known geometries that others are kept away from; more are thinned out evenly."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What became of the sampled geometries.

    Attributes:
        chosen: Their numbers, those farthest from all others first.
        near_duplicates: How many were left out for being too near to another one.
    """

    chosen: NDArray[np.int64]
    near_duplicates: int


def check_libraries() -> None:
    """Check that what selects is installed.

    Raises:
        ValueError: dscribe or scikit-matter is not.
    """
    for module, name in (("dscribe", "dscribe"), ("skmatter", "scikit-matter")):
        if importlib.util.find_spec(module) is None:
            raise ValueError(
                f"{name} is not installed, which compares sampled geometries: "
                "pip install 'piwsl-plugins[weak]'"
            )


def choose(
    known: Sequence[Atoms], sampled: Sequence[Atoms], number: int | None, closest: float
) -> Choice:
    """Farthest-point selection in the space of averaged SOAP descriptors.

    Each geometry that is chosen is the farthest from the known ones and all chosen before it.

    Args:
        known: Geometries that are there already.
        sampled: Those to choose from.
        number: How many at most; None for all that are no near-duplicates.
        closest: Geometries that are nearer to one that is known or chosen are near-duplicates; in
            units of the spread of all, the median distance from their mean.

    Raises:
        ValueError: There is nothing to choose from, or a library is missing.
    """
    check_libraries()
    from skmatter.sample_selection import FPS

    if not sampled:
        raise ValueError("there are no sampled geometries to choose from")
    thinned = np.unique(np.linspace(0, len(known) - 1, MOST_KNOWN).round().astype(int))
    frames = [*(known[number] for number in thinned if len(known)), *sampled]
    if len(frames) < 2:
        return Choice(np.arange(len(sampled)), 0)
    first = len(frames) - len(sampled)
    points = descriptors(frames)
    spread = float(np.median(np.linalg.norm(points, axis=1)))
    search = FPS(n_to_select=len(frames), initialize=list(range(first)) or 0).fit(points)
    order = np.asarray(search.selected_idx_, dtype=np.int64)
    distance = np.sqrt(np.maximum(search.hausdorff_at_select_[order], 0.0))
    far = order[(order >= first) & (distance >= closest * spread)] - first
    return Choice(far[:number], len(sampled) - len(far))


def descriptors(frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """Averaged SOAP power spectra of frames, less their mean, shape ``[n_frames, n_features]``."""
    elements = sorted({int(number) for frame in frames for number in frame.numbers})
    periodic = any(bool(frame.pbc.any()) for frame in frames)
    found = averaged_soap(_blocks(frames), elements, periodic, len(frames)).astype(np.float64)
    return np.asarray(found - found.mean(axis=0), dtype=np.float64)


def _blocks(frames: Sequence[Atoms]) -> Iterator[Block]:
    """Each frame as a block of its own."""
    for place, frame in enumerate(frames):
        periodic = bool(frame.pbc.any())
        yield Block(
            source="",
            places=np.array([place]),
            group="",
            numbers=np.array(frame.numbers, dtype=np.int64),
            positions=np.array(frame.positions, dtype=np.float64)[None],
            labels={},
            cell=frame.cell.array[None] if periodic else None,
            pbc=frame.pbc[None] if periodic else None,
        )
