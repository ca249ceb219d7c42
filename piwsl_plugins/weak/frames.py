"""The frames of a file as they shall be written again, and the labels that they bring."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase
import numpy as np

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.readers import DataError, Source, open_source
from piwsl_plugins.data.readers.frames import FrameSource
from piwsl_plugins.data.readers.records import Record
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.weak.tasks import Floats, Labels

REFERENCE = ("REF_energy", "energy")
"""Where the reference energy is looked for, unless its key is given."""
REFERENCE_FORCES = ("REF_forces", "forces")
WRITTEN = {"energy": "REF_energy", "forces": "REF_forces", "stress": "REF_stress"}
"""Names of the labels of a file that keeps them otherwise than ASE does."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame.

    Attributes:
        name: how messages call it.
        atoms: geometry, angstrom, and all that goes along with it.
        keys: names of its labels and everything else that it brings.
        energy: reference energy, eV, or None.
        forces: reference forces, eV/angstrom, or None.
        low: labels of a cheap method that the file has, where keys of them were given.
    """

    name: str
    atoms: ase.Atoms
    keys: frozenset[str]
    energy: float | None
    forces: Floats | None
    low: Labels | None = None


class Frames:
    """The frames of a file, read anew each time that they are gone through.

    Args:
        path: any file that :func:`piwsl_plugins.data.readers.open_source` reads.
        reference: keys of energy and forces, and units.
        low: keys of a cheap method's energy, forces and stress, as those of a reference.

    Raises:
        DataError: there is no such file, or its format is unknown.
    """

    def __init__(self, path: Path, reference: DataSettings, low: DataSettings | None) -> None:
        self.source = _with_usual_keys(path, reference)
        self.low = None if low is None else open_source(path, low)
        units = (reference.energy_unit, reference.length_unit, reference.forces_unit)
        self.as_they_are = isinstance(self.source, FrameSource) and set(units) == {None}

    @property
    def has_reference(self) -> bool:
        """Whether a key of a reference energy is known."""
        return self.source.settings.energy is not None

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Frame]:
        if self.as_they_are:
            yield from self._as_ase_reads_them()
            return
        low = None if self.low is None else self.low.blocks()
        for block in self.source.blocks():
            beside = None if low is None else next(low)
            if beside is not None and not np.array_equal(beside.places, block.places):
                raise DataError(f"{self.source.path}: {block.name(0)} is read in two orders")
            yield from _of_block(block, beside)

    def _as_ase_reads_them(self) -> Iterator[Frame]:
        """Frames with everything that ASE has read of them."""
        source, low = self.source, self.low
        assert isinstance(source, FrameSource)
        for record in source._records():
            found = _labels(source, record) if self.has_reference else {}
            yield Frame(
                name=source.name(record.place),
                atoms=record.atoms,
                keys=frozenset(record.atoms.info) | frozenset(record.values),
                energy=_scalar(found.get("energy")),
                forces=_known(found.get("forces")),
                low=_low(_labels(low, record)) if isinstance(low, FrameSource) else None,
            )


def _with_usual_keys(path: Path, reference: DataSettings) -> Source:
    """Open a file with the keys of its reference labels, usual ones where none are given."""
    source = open_source(path, reference)
    keys, chosen = source.keys, dict[str, Any]()
    if reference.energy is None:
        chosen["energy"] = next((key for key in REFERENCE if key in keys), None)
    if reference.forces is None:
        chosen["forces"] = next((key for key in REFERENCE_FORCES if key in keys), None)
    settings = dataclasses.replace(reference, **chosen)
    if isinstance(source, FrameSource):  # it has looked through the file, and not for labels yet
        source.settings = settings
        return source
    return open_source(path, settings)


def _labels(source: FrameSource, record: Record) -> dict[str, Floats]:
    problems: list[str] = []
    found = source.labels.of(record, source.name(record.place), problems)
    if problems:
        raise DataError("\n".join(problems))
    return found


def _of_block(block: Block, low: Block | None) -> Iterator[Frame]:
    """Frames of a block, whose labels get names that the hosts' users are used to."""
    for number in range(len(block)):
        atoms = block.atoms(number)
        found: dict[str, Any] = {
            "energy": block.scalar("energy", number),
            "forces": block.array("forces", number),
            "stress": block.array("stress", number),
        }
        for label, value in found.items():
            if value is not None:
                at = atoms.arrays if label == "forces" else atoms.info
                at[WRITTEN[label]] = value if label != "stress" else np.ravel(value)
        labels = None
        if low is not None:
            names = ("energy", "forces", "stress")
            labels = _low({n: low.labels[n][number] for n in names if n in low.labels})
        yield Frame(
            name=block.name(number),
            atoms=atoms,
            keys=frozenset(atoms.info) | frozenset(atoms.arrays),
            energy=found["energy"],
            forces=found["forces"],
            low=labels,
        )


def _low(found: dict[str, Floats]) -> Labels | None:
    energy = _scalar(found.get("energy"))
    if energy is None:
        return None
    forces, stress = _known(found.get("forces")), _known(found.get("stress"))
    return Labels(energy=energy, forces=forces, stress=stress)


def _known(values: Floats | None) -> Floats | None:
    return None if values is None or np.isnan(values).all() else values


def _scalar(value: Floats | None) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
