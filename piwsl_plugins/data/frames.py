"""A frame: one geometry with its labels, as it stands in a file, and as all who read get it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.data import units

Floats = NDArray[np.float64]
LABELS = ("energy", "forces", "stress", "weak_forces", "low_energy", "low_forces")
"""Names of all labels: energies are numbers (eV), forces have shape [n_atoms, 3] (eV/angstrom), the
stress shape [3, 3] (eV/angstrom^3, positive under tension)."""
TARGETS = ("energy", "forces", "stress", "weak_forces")  # what a model may be trained on


class DataError(ValueError):
    """Something wrong with a data file: file, frame, found, expected, remedy."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Frame:
    """One geometry with its labels.

    Attributes:
        atoms: geometry, angstrom, and all that is no label, without a calculator.
        labels: some of :data:`LABELS`; a missing label has no entry.
        source: path of the file; ``number`` is that of the frame in it, from 0.
    """

    atoms: ase.Atoms
    labels: Mapping[str, Any]
    source: str
    number: int

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.source}, frame {self.number}"

    @property
    def is_isolated_atom(self) -> bool:
        """Whether it is a single atom, not periodic or marked ``config_type=IsolatedAtom``."""
        marked = str(self.atoms.info.get("config_type", "")).replace("_", "").lower()
        return len(self.atoms) == 1 and (not self.atoms.pbc.any() or marked == "isolatedatom")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FrameSet:
    """All frames of one file, in its order.

    Attributes:
        summary: what was taken for what, with keys, units and counts; all who read print it.
        remarks: what is odd and was not refused, one sentence each; printed as warnings.
        keys: names of the numbers in the file, for messages.
    """

    frames: Sequence[Frame]
    path: str
    summary: str
    remarks: Sequence[str] = ()
    keys: Sequence[str] = ()

    def count(self, label: str) -> int:
        """Number of frames that have a label."""
        return sum(label in frame.labels for frame in self.frames)

    def energies(self) -> Floats:
        """Reference energies of all frames, NaN where there is none, shape [n_frames], eV."""
        return np.array([frame.labels.get("energy", np.nan) for frame in self.frames], dtype=float)


@dataclasses.dataclass(slots=True)
class RawFrame:
    """One frame as a reader hands it on.

    Attributes:
        atoms: geometry in ``length_unit``, with all other information; no calculator.
        values: numbers by name; ``texts`` is what is no number, ``stated`` their units where the
            file says them, ``foreign`` the names of those in a structure file beside a table.
        where: where it stands in the file, for messages; ``file`` is that beside a table.
    """

    atoms: ase.Atoms
    values: dict[str, Floats]
    energy_unit: str = "eV"
    length_unit: str = "angstrom"
    stated: dict[str, str] = dataclasses.field(default_factory=dict)
    foreign: frozenset[str] = frozenset()
    texts: dict[str, Any] = dataclasses.field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    where: str = ""
    file: str = ""

    @classmethod
    def of_atoms(cls, atoms: ase.Atoms, *more: Mapping[str, Any], where: str = "") -> RawFrame:
        """The frame that ASE made, with its results, and more values by name."""
        results = getattr(atoms.calc, "results", {})
        atoms.calc = None
        frame = cls(atoms, {}, where=where, stated=units.stated(atoms.info.get(units.STATEMENT)))
        frame.remarks = ("constraints are dropped",) if atoms.constraints else ()
        for values in (results, atoms.info, *more, atoms.arrays):
            for key, value in values.items():
                if key not in ("numbers", "positions") and value is not None:
                    frame.add(key, value)
        return frame

    def add(self, key: str, value: object) -> None:
        """Add numbers or something else; two different ones of one name are none."""
        if (array := numeric(value)) is None:
            self.texts[key] = value
            return
        known = self.values.setdefault(key, array)
        if known.shape != array.shape or not np.allclose(known, array, rtol=1e-8, equal_nan=True):
            self.texts[key] = f"{short(known)} and {short(array)}"


def numeric(value: object) -> Floats | None:
    """A value as numbers, or None where it is text, true or false, nothing or ragged."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return None
    if array.dtype.kind not in "iuf" or not array.size:
        return None
    return array.astype(np.float64).reshape(() if array.shape == (1,) else array.shape)


def short(value: Floats) -> str:
    """The first numbers of a value, for a message."""
    return " ".join(f"{x:.6g}" for x in value.ravel()[:6]) + (" ..." if value.size > 6 else "")
