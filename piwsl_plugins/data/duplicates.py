"""Frames that are there twice: in training and test data, or with different energies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from piwsl_plugins.data.blocks import Floats
from piwsl_plugins.data.checks import MAX_NAMED, listed
from piwsl_plugins.data.fingerprints import Fingerprints, Numbers, Places
from piwsl_plugins.data.isolated import is_isolated
from piwsl_plugins.data.progress import watched
from piwsl_plugins.data.readers.base import DataError, Source

ENERGY_TOLERANCE = 1e-3
"""Energies of copies that differ by more, eV, contradict each other."""


@dataclasses.dataclass(frozen=True, slots=True)
class Duplicates:
    """Frames that are there more than once.

    Attributes:
        copies: frames that are a copy of an earlier one.
        examples: at most ten of them, each with the earlier one.
        contradictions: copies whose energy differs from that of an earlier one.
        contradicting: at most ten of those, with the energies.
    """

    copies: int
    examples: tuple[str, ...]
    contradictions: int
    contradicting: tuple[str, ...]


def check_no_overlap(
    train: Sequence[Source],
    test: Sequence[Source],
    names: tuple[str, str] = ("training", "test"),
) -> None:
    """Check that no frame is in two sets of files; isolated atoms may be.

    Args:
        train: one set of files.
        test: the other one.
        names: what the sets are, for the message.

    Raises:
        DataError: frames that are in both, at most ten of them named.
    """
    sources = [*train, *test]
    found, places = Fingerprints(), Places(sources)
    for number, source in enumerate(sources):
        what = f"frames in {names[0]} and {names[1]} data, {source.path.name}"
        for block in watched(source.blocks(), what, len(source)):
            kept = block.take(~is_isolated(block))
            if len(kept):
                found.add(kept)
                places.add(number, kept)
    training, tested = np.split(np.arange(len(found)), [places.start(len(train))])
    shared = shared_frames(found.groups(), training, tested)
    if len(shared):
        raise DataError(
            f"{len(shared)} of {len(tested)} frames of the {names[1]} data are in the {names[0]} "
            f"data as well {list_copies(shared, places.name)}\nRemove them from one of the "
            f"two; errors on frames that were in the {names[0]} data say nothing about others"
        )


def shared_frames(groups: Numbers, training: Numbers, other: Numbers) -> Numbers:
    """Frames that are copies of training frames.

    Args:
        groups: groups of copies, as of :meth:`Fingerprints.groups`, shape [n_frames].
        training: numbers of the training frames.
        other: numbers of the frames that are compared with them.

    Returns:
        Each copy and the first training frame that it is a copy of, shape [n_copies, 2].
    """
    first = _first_of(groups, np.sort(training))[groups[other]]
    return np.column_stack([other, first])[first >= 0]


def list_copies(pairs: Numbers, name: Callable[[int], str]) -> str:
    """Lines of a message on copies, ten at most.

    Args:
        pairs: frames and what they are copies of, shape [n_copies, 2].
        name: what to call a frame.
    """
    lines = [f"{name(copy)} is {name(first)}" for copy, first in pairs[:MAX_NAMED].tolist()]
    return "(frames counted from 0):" + listed(lines, len(pairs))


def _first_of(groups: Numbers, frames: Numbers) -> Numbers:
    """The first of some frames, which are in order, in each group; -1 where there is none."""
    first = np.full(len(groups), -1)
    first[groups[frames][::-1]] = frames[::-1]
    return first


def check_duplicates(sources: Sequence[Source]) -> Duplicates:
    """Check that frames that are there more than once have one energy.

    Args:
        sources: the files.

    Returns:
        What is there more than once.

    Raises:
        DataError: copies with different energies, at most ten of them named.
    """
    found, places = Fingerprints(), Places(sources)
    energies: list[Floats] = []
    for number, source in enumerate(sources):
        for block in watched(source.blocks(), f"duplicates, {source.path.name}", len(source)):
            found.add(block)
            places.add(number, block)
            energies.append(block.labels.get("energy", np.full(len(block), np.nan)))
    duplicates = find_duplicates(found.groups(), np.concatenate([*energies, []]), places)
    if duplicates.contradictions:
        raise DataError(
            f"{duplicates.contradictions} frames are copies of an earlier one with another energy "
            "(frames counted from 0):"
            + listed(duplicates.contradicting, duplicates.contradictions)
            + "\nKeep the copy that is right"
        )
    return duplicates


def find_duplicates(groups: Numbers, energies: Floats, places: Places) -> Duplicates:
    """What is there more than once.

    Args:
        groups: groups of copies, as of :meth:`Fingerprints.groups`, shape [n_frames].
        energies: eV, NaN where a frame has none, shape [n_frames].
        places: where the frames are.
    """
    copies = np.flatnonzero(groups != np.arange(len(groups)))
    # a group's energy is that of its first frame which has one
    known = np.flatnonzero(~np.isnan(energies))
    first = _first_of(groups, known)
    earlier = first[groups[copies]]
    differ = (earlier >= 0) & (np.abs(energies[copies] - energies[earlier]) > ENERGY_TOLERANCE)
    contradictions = copies[differ]
    return Duplicates(
        len(copies),
        tuple(f"{places.name(f)} is {places.name(groups[f])}" for f in copies[:MAX_NAMED]),
        len(contradictions),
        tuple(
            f"{places.name(f)}: {energies[f]:.6f} eV; {places.name(first[groups[f]])}: "
            f"{energies[first[groups[f]]]:.6f} eV"
            for f in contradictions[:MAX_NAMED]
        ),
    )
