"""What to read from a file of labels, for both hosts and all commands, and its options."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Literal

from piwsl_plugins.data.frames import LABELS
from piwsl_plugins.fields import Settings, add_options, setting

EnergyUnit = Literal["eV", "meV", "hartree", "rydberg", "kcal/mol", "kJ/mol", "cm^-1"]
LengthUnit = Literal["angstrom", "bohr", "nm"]
ForceUnit = Literal[
    "eV/angstrom", "eV/bohr", "eV/nm", "meV/angstrom", "hartree/bohr", "hartree/angstrom",
    "rydberg/bohr", "kcal/mol/angstrom", "kJ/mol/nm", "kJ/mol/angstrom",
]  # fmt: skip
StressUnit = Literal["eV/angstrom^3", "GPa", "kbar", "hartree/bohr^3"]


class DataSettings(Settings):
    """Keys and units of the labels in a file; every label has its own unit.

    A key is the name under which the file holds a label, or a sum of such names, as in
    ``hf_qz.energy + mp2_qz.corr_energy`` (:mod:`piwsl_plugins.data.expressions`).
    """

    energy: str | None = setting(
        None, "key of the reference energy; may be left out where the file has one total energy"
    )
    forces: str | None = setting(None, "key of the reference forces, -dE/dr")
    stress: str | None = setting(None, "key of the reference stress")
    virials: str | None = setting(
        None, "key of the reference virials, -V times the stress; instead of the stress"
    )
    weak_forces: str | None = setting(
        None, "key of the forces of a cheaper method, which have a loss term of their own"
    )
    low_energy: str | None = setting(
        None, "key of the energy of a cheaper method that is subtracted from the reference"
    )
    low_forces: str | None = setting(
        None, "key of the forces of a cheaper method that are subtracted from the reference"
    )
    energy_unit: EnergyUnit | None = setting(
        None, "unit of the reference energy; left out, what the file says, or that of the format"
    )
    length_unit: LengthUnit | None = setting(
        None, "unit of the positions and the cell; left out, that of the format"
    )
    forces_unit: ForceUnit | None = setting(
        None,
        "unit of the reference forces; left out, what the file says, or its energy unit per its "
        "length unit",
    )
    stress_unit: StressUnit | None = setting(None, "unit of the stress; left out, eV/angstrom^3")
    stress_sign: Literal["tension", "compression"] = setting(
        "tension",
        "what a positive stress means: 'tension' (ASE, MACE, NequIP) or 'compression' (VASP)",
    )
    virials_unit: EnergyUnit | None = setting(
        None, "unit of the virials; left out, what the file says, or that of the format's energies"
    )
    weak_forces_unit: ForceUnit | None = setting(
        None, "unit of the weak forces; left out, what the file says, or eV/angstrom"
    )
    low_energy_unit: EnergyUnit | None = setting(
        None, "unit of the cheaper method's energy; left out, what the file says, or eV"
    )
    low_forces_unit: ForceUnit | None = setting(
        None, "unit of the cheaper method's forces; left out, what the file says, or eV/angstrom"
    )
    per_atom_energy: bool = setting(
        False, "the reference energies are per atom: multiply them by the number of atoms"
    )
    structures: str | None = setting(
        None, "structure file, beside the table, of a table that has frame numbers only"
    )
    leave_out_placeholders: bool = setting(
        False, "leave out labels that are placeholders, such as an energy of exactly zero"
    )
    allow_unusual_units: bool = setting(
        False, "read the file although its numbers look as if they were in other units"
    )


USUAL_KEYS = {
    **{label: (f"REF_{label}", label) for label in ("forces", "stress")},
    **{label: label for label in ("weak_forces", "low_energy", "low_forces")},
}
"""Keys that ``piwsl inspect`` and ``piwsl convert`` take where the file has them."""

SPELLING = {
    name: f"--{name}{'_key' if name in (*LABELS, 'virials') else ''}".replace("_", "-")
    for name in DataSettings.model_fields
}
"""The option of each setting: ``--energy-key``, ``--energy-unit``, ..."""


def dashed(name: str) -> list[str]:
    """The option of a setting that is no label."""
    return [f"--{name}".replace("_", "-")]


def add_data_options(parser: argparse.ArgumentParser, names: Iterable[str] = SPELLING) -> None:
    """Add an option for each setting, ``--energy-key`` or ``--energy_key``, and so on."""
    meaning = "A key may be a sum of the file's columns, e.g. 'a + b'."
    group = parser.add_argument_group("keys and units", meaning)
    both = {name: {word, "--" + word[2:].replace("-", "_")} for name, word in SPELLING.items()}
    add_options(group, DataSettings, lambda name: sorted(both[name]), names)


def data_settings(options: argparse.Namespace, names: Iterable[str] = SPELLING) -> DataSettings:
    """The settings that were chosen by these options."""
    return DataSettings(**{name: getattr(options, name) for name in names})
