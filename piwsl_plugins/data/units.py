"""Units of the labels, by the names that a user writes, in eV and angstrom (CODATA, from ASE)."""

from __future__ import annotations

from ase import units

ENERGY_UNITS: dict[str, float] = {
    "eV": 1.0,
    "meV": 1e-3,
    "hartree": units.Hartree,
    "rydberg": units.Rydberg,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
    "cm^-1": units.invcm,
}
"""Value of one unit in eV."""
LENGTH_UNITS: dict[str, float] = {"angstrom": 1.0, "bohr": units.Bohr, "nm": units.nm}
"""Value of one unit in angstrom."""
FORCE_UNITS: dict[str, float] = {
    f"{energy}/{length}": energy_value / length_value
    for energy, energy_value in ENERGY_UNITS.items()
    for length, length_value in LENGTH_UNITS.items()
}
"""Value of one unit in eV/angstrom."""
