"""One frame as it was read: its atoms, and all its numbers by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import ase
import numpy as np

from piwsl_plugins.data.blocks import Floats

GEOMETRY = ("numbers", "positions")
"""Arrays of ``ase.Atoms`` that are no labels."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One frame as it was read, in the file's units.

    Attributes:
        place: its number in the file, from 0.
        atoms: geometry and info.
        values: its numbers by name.
        conflicts: names under which it has two values, and both of them for a message.
        others: what it has that is no number, by name.
    """

    place: int
    atoms: ase.Atoms
    values: Mapping[str, Floats]
    conflicts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    others: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def record_of(place: int, atoms: ase.Atoms) -> Record:
    """A frame as ASE's readers hand it on.

    They put ``energy``, ``forces``, ``stress`` and the like into the results of a
    ``SinglePointCalculator``, and every other name into info and arrays.

    Args:
        place: its number in the file, from 0.
        atoms: the frame.
    """
    results = getattr(atoms.calc, "results", {})
    return make_record(place, atoms, results, atoms.arrays, frames=(atoms.info,))


def make_record(
    place: int,
    atoms: ase.Atoms,
    *arrays: Mapping[str, Any],
    frames: tuple[Mapping[str, Any], ...],
) -> Record:
    """Collect the numbers of a frame.

    Args:
        place: its number in the file, from 0.
        atoms: geometry and info.
        arrays: values of the frame and of its atoms by name.
        frames: values of the frame by name, in which an array of one number is a single number.
    """
    values: dict[str, Floats] = {}
    conflicts: dict[str, str] = {}
    others: dict[str, Any] = {}
    for source in (*arrays, *frames):
        for key, value in source.items():
            if key in GEOMETRY or value is None:
                continue
            array = numeric(value)
            if array is None:
                others[key] = value
                continue
            if array.size == 1 and any(source is of_frame for of_frame in frames):
                array = array.reshape(())
            known = values.setdefault(key, array)
            if known is not array and not _same(known, array):
                conflicts[key] = f"{short(known)} and {short(array)}"
    return Record(place, atoms, values, conflicts, others)


def numeric(value: object) -> Floats | None:
    """A value as numbers, or None where it is text, true or false, nothing or ragged."""
    if isinstance(value, (str, bytes, bool, np.bool_)) or value is None:
        return None
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return None
    if array.dtype.kind not in "iuf" or array.size == 0:
        return None
    return array.astype(np.float64)


def short(value: Floats) -> str:
    """The first numbers of a value, for a message."""
    text = " ".join(f"{number:.6g}" for number in value.ravel()[:6])
    return text + (" ..." if value.size > 6 else "")


def _same(one: Floats, other: Floats) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-8, equal_nan=True)
