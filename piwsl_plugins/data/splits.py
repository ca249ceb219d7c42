"""Which frames go into which part of a split."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.data.fingerprints import Numbers
from piwsl_plugins.data.readers.base import DataError

NOWHERE = -1
"""Part of a frame that is in none."""
_SIZE = re.compile(r"(?P<name>[A-Za-z0-9_-]+)=(?P<size>[0-9.eE+-]+)")
_ROUNDING = 1e-9  # of fractions that should add up to one

Sizes = Mapping[str, int | float]
"""Size of each part by name: a number of frames, or a fraction of all."""


def parse_sizes(words: Sequence[str]) -> dict[str, int | float]:
    """Read sizes of parts.

    Args:
        words: ``train=0.8`` (a fraction) or ``train=1000`` (a number of frames), and so on.

    Returns:
        Number (int) or fraction (float) of frames by part.

    Raises:
        DataError: a word that is something else, a part named twice, fractions that add up to
            more than one.
    """
    sizes: dict[str, int | float] = {}
    for word in words:
        found = _SIZE.fullmatch(word)
        try:
            text = found["size"] if found else ""
            size = int(text) if text.isdecimal() else float(text)
        except ValueError:
            size = 0
        if not found or not (size > 0 if isinstance(size, int) else 0 < size <= 1):
            raise DataError(
                f"--split: got {word!r}, expected a name and a fraction of the frames above 0 and "
                "at most 1.0, or a whole number of them from 1 on, e.g. train=0.8 or train=1000"
            )
        if found["name"] in sizes:
            raise DataError(f"--split: {found['name']} is there twice")
        sizes[found["name"]] = size
    total = sum(size for size in sizes.values() if isinstance(size, float))
    if total > 1 + _ROUNDING:
        listed = " + ".join(f"{size:g}" for size in sizes.values() if isinstance(size, float))
        raise DataError(f"--split: the fractions {listed} add up to {total:g}, expected at most 1")
    return sizes


def targets(sizes: Sizes, frames: int) -> Numbers:
    """Number of frames of each part.

    Args:
        sizes: numbers and fractions.
        frames: number of all frames.

    Returns:
        Shape [n_parts].

    Raises:
        DataError: the parts together have more frames than there are.
    """
    fractions = np.array([size if isinstance(size, float) else 0.0 for size in sizes.values()])
    # rounding of the running sum, so that fractions of one in all leave no frame out
    ends = np.floor(np.cumsum(fractions) * frames + 0.5 + _ROUNDING).astype(np.int64)
    wanted = np.diff(np.concatenate([[0], ends]))
    wanted += np.array([size if isinstance(size, int) else 0 for size in sizes.values()])
    if wanted.sum() > frames:
        raise DataError(
            f"--split: {_listed(sizes, wanted)} are {wanted.sum()} frames, but there are {frames} "
            "to split"
        )
    return wanted


def split(units: Numbers, wanted: Numbers, random: np.random.Generator) -> NDArray[np.int8]:
    """Deal units of frames out to parts at random, so that each comes near its size.

    Args:
        units: number of the unit of each frame; a unit stays together. Shape [n_frames].
        wanted: frames of each part, shape [n_parts].
        random: where the chance comes from.

    Returns:
        Number of each frame's part, or :data:`NOWHERE`, shape [n_frames]. Where all units are
        single frames, parts are exactly as large as wanted.
    """
    _, unit, sizes = np.unique(units, return_inverse=True, return_counts=True)
    order = random.permutation(len(sizes))
    parts = _deal(sizes, order, wanted, random)
    counts = np.bincount(parts[parts >= 0], minlength=len(wanted))
    if (counts == 0).any():  # a large unit that came late may have overfilled a small part
        order = order[np.argsort(-sizes[order], kind="stable")]
        parts = _deal(sizes, order, wanted, random)
    return parts[unit]


def _deal(
    sizes: Numbers, order: Numbers, wanted: Numbers, random: np.random.Generator
) -> NDArray[np.int8]:
    """Part of each unit: the larger ones go where most is missing, single frames fill up."""
    missing = np.append(wanted, sizes.sum() - wanted.sum())  # the last is the part of no part
    parts = np.full(len(sizes), NOWHERE, dtype=np.int8)
    for number in order[sizes[order] > 1]:
        part = int(np.argmax(missing))
        missing[part] -= sizes[number]
        parts[number] = part
    single = order[sizes[order] == 1]
    places = np.repeat(np.arange(len(missing)), np.maximum(missing, 0))
    parts[single] = random.permutation(places)[: len(single)]
    parts[parts == len(wanted)] = NOWHERE
    return parts


def check_parts(parts: NDArray[np.int8], sizes: Sizes, units: int, kind: str) -> None:
    """Check that no part is empty.

    Args:
        parts: part of each frame.
        sizes: the parts' names and sizes.
        units: number of units.
        kind: what the units are, for the message.

    Raises:
        DataError: an empty part.
    """
    counts = np.bincount(parts[parts >= 0], minlength=len(sizes))
    empty = [name for name, count in zip(sizes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"--split: no frame is left for {', '.join(empty)}: {len(parts)} frames of {units} "
            f"{kind} that stay together do not fill {_listed(sizes, None)}; ask for fewer parts, "
            "other sizes or another --split-by"
        )


def _listed(sizes: Sizes, wanted: Numbers | None) -> str:
    numbers = [None] * len(sizes) if wanted is None else wanted.tolist()
    return ", ".join(
        f"{name}={size:g}" + (f" ({number})" if isinstance(size, float) and number else "")
        for (name, size), number in zip(sizes.items(), numbers, strict=True)
    )
