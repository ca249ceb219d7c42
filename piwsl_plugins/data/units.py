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
STRESS_UNITS: dict[str, float] = {
    "eV/angstrom^3": 1.0,
    "GPa": units.GPa,
    "kbar": 0.1 * units.GPa,
    "hartree/bohr^3": units.Hartree / units.Bohr**3,
}
"""Value of one unit in eV/angstrom^3."""
UNITS_OF: dict[str, dict[str, float]] = {
    **dict.fromkeys(("energy", "low_energy", "virials"), ENERGY_UNITS),
    **dict.fromkeys(("forces", "weak_forces", "low_forces"), FORCE_UNITS),
    "stress": STRESS_UNITS,
    "length": LENGTH_UNITS,
}
"""Units that each label, and the length, may be in."""
IN_NAMES = {"hartree": "hartree", "ev": "eV", "kcal": "kcal/mol", "kj": "kJ/mol"}
"""Units that the name of an energy may state, as in ``energy_hartree``."""
STATEMENT = "piwsl_units"
"""Key of a frame's info under which files of this package say their units: ``key=unit`` pairs."""


def stated(text: object) -> dict[str, str]:
    """Units by key, as :data:`STATEMENT` holds them."""
    pairs = (pair.rpartition("=") for pair in str(text or "").split())
    return {key: unit for key, _, unit in pairs if key}


def in_name(name: str) -> str:
    """The unit that the name of an energy states, or nothing."""
    words = name.lower().replace("-", "_").replace(".", "_").split("_")
    return next((unit for word, unit in IN_NAMES.items() if word in words[1:]), "")
