"""Labels of a frame that ASE has read, under whatever name and in whatever unit they are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from piwsl_plugins.data.blocks import ENERGIES, Floats
from piwsl_plugins.data.expressions import Expression, ExpressionError, parse
from piwsl_plugins.data.readers.base import DataError
from piwsl_plugins.data.readers.records import Record, short
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.units import ENERGY_UNITS, FORCE_UNITS, LENGTH_UNITS

REFERENCE = "REF_energy"
"""The energy where several could be meant and none is named."""


def is_missing(value: Floats) -> bool:
    """Whether a value stands for none: NaN throughout, or empty."""
    return bool(np.isnan(value).all())


def energy_key(scalars: Iterable[str], twins: bool, path: object) -> str | None:
    """The key of the energy where the user named none.

    Args:
        scalars: names of the single numbers in the file.
        twins: whether ``free_energy`` is the same as ``energy`` in every frame.
        path: the file, for the message.

    Returns:
        The key, or None where no name speaks of an energy.

    Raises:
        DataError: there is more than one candidate.
    """
    found = sorted(name for name in scalars if "energy" in name.lower())
    if REFERENCE in found:
        return REFERENCE
    if twins and "energy" in found and "free_energy" in found:
        found.remove("free_energy")
    if len(found) > 1:
        raise DataError(
            f"{path}: several keys may be the energy: {', '.join(found)}; say which one is meant "
            "as the key of the energy"
        )
    return found[0] if found else None


class Labels:
    """Takes the labels out of frames.

    Args:
        settings: keys, which may be sums, and units.
        keys: keys by label, that of the energy included where it was left out.
        known: names in the file, and the number of frames that have each.
        path: the file, for messages.

    Attributes:
        settings: these settings.
        factors: what to multiply each label, and the ``length``, with.
        used: names that labels are made of.

    Raises:
        DataError: a key that no frame has; the message lists those that are there.
    """

    def __init__(
        self,
        settings: DataSettings,
        keys: Mapping[str, str],
        known: Mapping[str, int],
        path: object,
    ) -> None:
        self.settings = settings
        self.factors = factors(settings)
        self.expressions: dict[str, Expression] = {}
        for label, key in keys.items():
            try:
                self.expressions[label] = parse(key, [name for name, n in known.items() if n])
            except ExpressionError as error:
                raise DataError(
                    f"{path}: key of the {label.replace('_', ' ')}: {_why(key, known, error)}"
                ) from error
        self.used = frozenset(
            column for parsed in self.expressions.values() for column in parsed.columns
        )

    def of(self, record: Record, name: str, problems: list[str]) -> dict[str, Floats]:
        """The labels of one frame.

        Args:
            record: the frame.
            name: how a message calls it.
            problems: what is wrong with its labels is added here.

        Returns:
            Each label in eV and angstrom; NaN where it, or a part of it, is missing.
        """
        values, atoms = record.values, len(record.atoms)
        for column in sorted(self.used & record.conflicts.keys()):
            problems.append(
                f"{name}: has two values named {column!r}, {record.conflicts[column]}; "
                "rename or remove one"
            )
        for column in sorted(self.used & record.others.keys() - values.keys()):
            problems.append(f"{name}: {column!r} is {record.others[column]!r}, not a number")
        found = {}
        for label, expression in self.expressions.items():
            shape = shape_of(label, atoms)
            found[label] = np.full(shape, np.nan)
            parts = {column: values.get(column) for column in expression.columns}
            present = {key: part for key, part in parts.items() if part is not None}
            if len(present) < len(parts) or any(map(is_missing, present.values())):
                continue
            if label == "stress":
                present = {key: _as_tensor(part) for key, part in present.items()}
            wrong = [
                f"{key!r} {_fault(part, shape)}"
                for key, part in present.items()
                if _fault(part, shape)
            ]
            if wrong:
                problems.append(f"{name}, {label.replace('_', ' ')}: {'; '.join(wrong)}")
            else:
                value = expression.evaluate({k: np.atleast_1d(v) for k, v in present.items()})
                found[label] = value.reshape(shape) * self.factors[label]
        return found


def shape_of(label: str, atoms: int) -> tuple[int, ...]:
    """Shape of one frame's label."""
    if label in ENERGIES:
        return ()
    return (3, 3) if label == "stress" else (atoms, 3)


def factors(
    settings: DataSettings, energy: str = "eV", length: str = "angstrom"
) -> dict[str, float]:
    """What to multiply labels, and the ``length``, with to have eV and angstrom.

    Args:
        settings: units.
        energy: unit of the format's energies, where none is set.
        length: unit of the format's lengths, where none is set.

    Returns:
        Factors by label, and that of ``length``.
    """
    energy_factor = ENERGY_UNITS[settings.energy_unit or energy]
    length_factor = LENGTH_UNITS[settings.length_unit or length]
    forces = (
        FORCE_UNITS[settings.forces_unit] if settings.forces_unit else energy_factor / length_factor
    )
    weak = FORCE_UNITS[settings.weak_forces_unit] if settings.weak_forces_unit else forces
    return {
        "energy": energy_factor,
        "low_energy": energy_factor,
        "forces": forces,
        "low_forces": forces,
        "weak_forces": weak,
        "stress": energy_factor / length_factor**3,
        "length": length_factor,
    }


def _as_tensor(stress: Floats) -> Floats:
    """Stress as a matrix; six numbers are in Voigt's order xx, yy, zz, yz, xz, xy."""
    if stress.shape == (6,):
        return np.asarray(voigt_6_to_full_3x3_stress(stress))
    return stress.reshape(3, 3) if stress.size == 9 else stress


def _fault(value: Floats, shape: tuple[int, ...]) -> str:
    """What is wrong with a value, or nothing."""
    if value.shape != shape:
        return f"is of shape {value.shape}, expected {shape}"
    return "" if np.isfinite(value).all() else f"is not finite throughout: {short(value)}"


def _why(key: str, known: Mapping[str, int], error: Exception) -> str:
    """What to tell where a key, or a part of it, is not there."""
    if any(sign in key for sign in "+*/()`"):
        return str(error)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    names = ", ".join(f"{name} ({n} frames)" for name, n in sorted(known.items()))
    return f"no frame has {key!r}{hint}; the keys in the file are {names or 'none'}"
