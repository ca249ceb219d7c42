"""Labels of a frame in eV and angstrom, each converted from its own unit."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from piwsl_plugins.data import checks, units
from piwsl_plugins.data.expressions import Expression
from piwsl_plugins.data.frames import DataError, Floats, Frame, RawFrame, short
from piwsl_plugins.data.keys import ENERGIES
from piwsl_plugins.data.settings import DataSettings


@dataclasses.dataclass(slots=True)
class Converter:
    """Makes frames of raw frames, with their labels in eV and angstrom.

    Attributes:
        expressions: the columns that make each label.
        counted: frames by label, or ``length``, and by the unit that it was found in.
        left_out: frames whose label was left out as a placeholder.
        stated: labels whose unit the file itself says.
    """

    path: str
    settings: DataSettings
    expressions: Mapping[str, Expression]
    spelling: Mapping[str, str]
    counted: dict[str, Counter[str]] = dataclasses.field(default_factory=dict)
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)
    frames: int = 0
    stated: set[str] = dataclasses.field(default_factory=set)

    def option(self, name: str) -> str:
        """How the user writes a setting."""
        return self.spelling.get(name, name)

    @property
    def taken(self) -> dict[str, str]:
        """The unit that each label, and the ``length``, was mostly taken to be in."""
        return {label: found.most_common(1)[0][0] for label, found in self.counted.items()}

    def summary(self) -> str:
        """What was taken for what, in one line."""
        parts = []
        for key in {"energy": None, "forces": None, **self.expressions}:
            units_of, what = self.counted.get(_label(key), Counter()), "none"
            if number := sum(units_of.values()) - self.left_out[_label(key)]:
                count = f"{number} of {self.frames}" if number < self.frames else str(number)
                plural = " frames" if key == "energy" else ""
                text, unit = self.expressions[key].text, " or ".join(units_of)
                what = f"{text!r} ({unit}), {count}{plural}"
            parts.append(f"{key.replace('_', ' ')}: {what}")
        return f"{Path(self.path).name}: {'; '.join(parts)}"

    def frame(self, raw: RawFrame, number: int) -> Frame:
        """A frame with its labels; a DataError says what is wrong with geometry or labels."""
        name = f"{self.path}, frame {number}" + (f" ({raw.where})" if raw.where else "")
        atoms = raw.atoms
        if wrong := checks.wrong_geometry(atoms):
            raise DataError(f"{name}: {wrong}")
        self.frames += 1
        unit = self.settings.length_unit or raw.length_unit
        self.counted.setdefault("length", Counter())[unit] += 1
        atoms.set_cell(atoms.cell.array * units.LENGTH_UNITS[unit])
        atoms.positions *= units.LENGTH_UNITS[unit]
        labels = {}
        used = {units.STATEMENT}
        for key, expression in self.expressions.items():
            value = self._value(key, expression, raw, name)
            if value is not None:
                labels[_label(key)] = float(value) if key in ENERGIES else value
            used |= {*expression.columns.values()}
        for column in used - {"numbers", "positions"}:
            atoms.info.pop(column, None)
            atoms.arrays.pop(column, None)
        atoms.constraints = []
        return Frame(atoms=atoms, labels=labels, source=self.path, number=number)

    def _unit(self, key: str, column: str, raw: RawFrame) -> str:
        """Unit of a column: stated by the file, set by the user, or the format's."""
        settings = self.settings
        self.stated |= {_label(key)} if column in raw.stated else set()
        if unit := raw.stated.get(column) or getattr(settings, f"{key}_unit"):
            return str(unit)
        if key in ENERGIES or key == "virials":
            return units.in_name(column) or raw.energy_unit
        if key == "stress":
            return "eV/angstrom^3"
        energy, length = raw.energy_unit, raw.length_unit
        if key == "forces" and column not in raw.foreign:
            energy, length = settings.energy_unit or energy, settings.length_unit or length
        return f"{energy}/{length}"

    def _value(self, key: str, expression: Expression, raw: RawFrame, name: str) -> Floats | None:
        """One label in eV and angstrom, or None where it, or a part of it, is missing."""
        atoms = raw.atoms
        parts: dict[str, Floats] = {}
        found_units: dict[str, None] = {}
        tensor = key in ("stress", "virials")
        shape = () if key in ENERGIES else (3, 3) if tensor else (len(atoms), 3)
        for column in expression.columns.values():
            value = raw.values.get(column, np.array(np.nan))
            if np.isnan(value).all() and column not in raw.texts:
                return None
            unit, known = self._unit(key, column, raw), units.UNITS_OF[key]
            if tensor and value.shape == (6,):  # xx, yy, zz, yz, xz, xy
                value = voigt_6_to_full_3x3_stress(value)
            value = value.reshape(3, 3) if tensor and value.size == 9 else value
            fault = ""
            if column in raw.texts:
                fault = f"is {raw.texts[column]!r}, expected a number"
            elif unit not in known:
                fault = f"is said to be in {unit!r}, expected one of {', '.join(known)}"
            elif value.shape != shape:
                fault = f"is of shape {value.shape}, expected {shape}"
            elif not np.isfinite(value).all():
                fault = f"is not finite throughout: {short(value)}"
            elif key == "virials" and atoms.cell.rank < 3:
                fault = "needs a cell of three vectors for its volume"
            if fault:
                raise DataError(f"{name}: {self.option(key)} {column!r} {fault}")
            parts[column], found_units[unit] = value * known[unit], None
        total = expression.evaluate(parts)
        if key == "energy" and self.settings.per_atom_energy:
            total = total * len(atoms)
        elif key == "virials":
            total = -total / atoms.get_volume()
        elif key == "stress" and self.settings.stress_sign == "compression":
            total = -total
        self.counted.setdefault(_label(key), Counter())[", ".join(found_units)] += 1
        return total


def _label(key: str) -> str:
    return "stress" if key == "virials" else key
