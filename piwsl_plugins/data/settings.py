"""What to read from a file of labels, once for both hosts and for ``piwsl data``."""

from __future__ import annotations

import dataclasses

from piwsl_plugins.data.units import ENERGY_UNITS, FORCE_UNITS, LENGTH_UNITS
from piwsl_plugins.fields import setting, unknown_name


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Keys and units of the labels.

    A key is the name under which the file holds a label, or a sum of such names, as in
    ``hf_qz.energy + mp2_qz.corr_energy`` (see :mod:`piwsl_plugins.data.expressions`).

    Raises:
        ValueError: an unknown unit; the message names the field and the known units.
    """

    energy: str | None = setting(
        None, "key of the reference energy; may be left out where the file has only one"
    )
    forces: str | None = setting(None, "key of the reference forces, -dE/dr")
    stress: str | None = setting(None, "key of the reference stress")
    weak_forces: str | None = setting(
        None, "key of the forces of a cheaper method, which have a loss term of their own"
    )
    low_energy: str | None = setting(
        None, "key of the energy of a cheaper method that is subtracted from the reference"
    )
    low_forces: str | None = setting(
        None, "key of the forces of a cheaper method that are subtracted from the reference"
    )
    energy_unit: str | None = setting(
        None,
        "unit of the file's energies; left out, that of the format",
        choices=tuple(ENERGY_UNITS),
    )
    length_unit: str | None = setting(
        None,
        "unit of the file's positions; left out, that of the format",
        choices=tuple(LENGTH_UNITS),
    )
    forces_unit: str | None = setting(
        None,
        "unit of the file's forces; left out, its energy unit per its length unit",
        choices=tuple(FORCE_UNITS),
    )
    weak_forces_unit: str | None = setting(
        None, "unit of the weak forces; left out, that of the forces", choices=tuple(FORCE_UNITS)
    )
    structures: str | None = setting(
        None, "structure file, beside the table, of a table that has frame numbers only"
    )
    allow_unusual_units: bool = setting(
        False, "read the file although its numbers look as if they were in other units"
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            choices, value = field.metadata["choices"], getattr(self, field.name)
            if choices and value is not None and value not in choices:
                raise ValueError(f"{field.name}: {unknown_name(str(value), choices, 'unit')}")

    @property
    def keys(self) -> dict[str, str]:
        """The keys that were given, by label."""
        names = ("energy", "forces", "stress", "weak_forces", "low_energy", "low_forces")
        given = {name: getattr(self, name) for name in names}
        return {name: key for name, key in given.items() if key is not None}
