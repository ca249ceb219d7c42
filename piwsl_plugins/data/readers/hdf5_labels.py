"""Which columns of an HDF5 file make the labels that the settings ask for, and their units."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import FORCES, Floats
from piwsl_plugins.data.expressions import ExpressionError, parse
from piwsl_plugins.data.readers.base import DataError
from piwsl_plugins.data.readers.hdf5_group import OpenGroup
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.units import ENERGY_UNITS, FORCE_UNITS, LENGTH_UNITS

if TYPE_CHECKING:
    from piwsl_plugins.data.readers.hdf5 import Hdf5Source


@dataclasses.dataclass(frozen=True, slots=True)
class Units:
    """Values of the file's units: eV, angstrom and eV/angstrom."""

    energy: float
    length: float
    forces: float
    weak_forces: float

    @classmethod
    def of(cls, settings: DataSettings, energy: str, length: str) -> Units:
        """Units of the settings, or else those of the format.

        Args:
            settings: what the user gave.
            energy: the format's energy unit.
            length: the format's length unit.
        """
        energy, length = settings.energy_unit or energy, settings.length_unit or length
        forces = settings.forces_unit or f"{energy}/{length}"
        return cls(
            ENERGY_UNITS[energy],
            LENGTH_UNITS[length],
            FORCE_UNITS[forces],
            FORCE_UNITS[settings.weak_forces_unit or forces],
        )


def scaled(values: NDArray[np.floating], factor: float) -> Floats:
    """A copy in double precision, times a factor."""
    copy = values.astype(np.float64)
    if factor != 1.0:
        copy *= factor
    return copy


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    """A sum of datasets in the unit of the file.

    Attributes:
        coefficients: factors by dataset, without unit.
        unit: value of the file's unit in eV or eV/angstrom.
        per_atom: whether it has a vector for each atom.
    """

    coefficients: Mapping[str, float]
    unit: float
    per_atom: bool

    def read(self, opened: OpenGroup, start: int, stop: int) -> Floats:
        """The label of some frames of a group, eV or eV/angstrom; NaN where a part is missing."""
        total: Floats | None = None
        for column, factor in self.coefficients.items():
            if column not in opened.group.columns:
                shape = (stop - start, len(opened.group.numbers), 3)
                return np.full(shape if self.per_atom else shape[:1], np.nan)
            values = opened.label(column, start, stop, per_atom=self.per_atom)
            part = scaled(values, factor * self.unit)
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None  # an expression has at least one column
        return total


def keys_of(source: Hdf5Source) -> dict[str, str]:
    """The keys of a file's settings, with that of its only energy where none was given.

    Raises:
        DataError: no key, and several energies to choose from.
    """
    keys = dict(source.settings.keys)
    if "energy" not in keys and (source.energies or not keys):
        keys["energy"] = _only_energy(source)
    return keys


def plan(source: Hdf5Source, keys: Mapping[str, str]) -> dict[str, Label]:
    """How to read labels.

    Args:
        source: the file.
        keys: a column or a sum of columns, by label.

    Returns:
        The datasets to read, by label.

    Raises:
        DataError: a key that is not there or is of the wrong kind.
    """
    if "stress" in keys:
        raise DataError(
            f"{source.path}: stress '{keys['stress']}' was asked for, but molecules in "
            f"{source.format} have none; leave the key out"
        )
    energy, forces = source.units.energy, source.units.forces
    units = {"forces": forces, "low_forces": forces, "weak_forces": source.units.weak_forces}
    return {
        name: Label(_coefficients(source, name, key), units.get(name, energy), name in FORCES)
        for name, key in keys.items()
    }


def _only_energy(source: Hdf5Source) -> str:
    """The key of the energy where none was given."""
    if len(source.energies) == 1:
        return source.energies[0]
    counts = source.count(source.energies)
    found = "".join(f"\n  {name}: {count} frames" for name, count in counts.items())
    if not found:
        raise DataError(
            f"{source.path}: no energies in it, expected a dataset of shape (Nc,) of "
            f"floating-point numbers; there are {_listed(source)}"
        )
    raise DataError(
        f"{source.path}: {len(counts)} energies to choose from, of {len(source)} frames:{found}\n"
        "Expected the key of one of them, or a sum of them such as 'a + b'"
    )


def _coefficients(source: Hdf5Source, name: str, key: str) -> dict[str, float]:
    """Factors of the datasets that make a label."""
    right, wrong = source.energies, source.vectors
    expected = "energies, one number a frame"
    if name in FORCES:
        right, wrong, expected = wrong, right, "a vector for each atom"
    try:
        expression = parse(key, (*right, *wrong))
    except ExpressionError as error:
        raise DataError(
            f"{source.path}: {name} '{key}': {error}\n  also there: {_listed(source)}"
        ) from None
    unfit = [column for column in expression.columns if column not in right]
    if unfit:
        raise DataError(
            f"{source.path}: {name} '{key}': '{unfit[0]}' is not of the right kind, expected "
            f"{expected}: {', '.join(right) or 'none in this file'}"
        )
    total: dict[str, float] = {}
    for column, coefficient in expression.coefficients.items():
        stored, factor = source.stored(column)
        total[stored] = total.get(stored, 0.0) + factor * coefficient
    return total


def _listed(source: Hdf5Source) -> str:
    """What the file holds beside energies and forces, in words."""
    others = (f"{name} ({what})" for name, what in source.index.others.items())
    return ", ".join(others) or "nothing else"
