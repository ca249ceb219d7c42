"""Which files this package reads for MACE, and by which keys and units."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from piwsl_plugins.data.atomic_energies import TABLES, parse_energies
from piwsl_plugins.data.plausibility import check_units
from piwsl_plugins.data.readers import DataError, Source, formats
from piwsl_plugins.data.readers.ase_files import AseSource
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.targets import check_differences, is_there, open_labelled
from piwsl_plugins.hosts.mace.flags import ALIASES, DATA_FLAGS, PREFIX

MACE_KEYS = {"energy": "REF_energy", "forces": "REF_forces", "stress": "REF_stress"}
"""MACE's default keys: where a file lacks one of them, the user has not asked for it."""
MOVED_BY_ASE = ("energy", "forces", "stress")
"""Keys that ASE 3.23 and later move to a calculator's results."""
OWN_FORMATS = (".lmdb", ".mdb")


def kind_of(path: str) -> type[Source] | None:
    """The reader of a file, or None for what MACE reads in its own way (its HDF5, LMDB)."""
    place = Path(path)
    if not place.is_file() or place.suffix in OWN_FORMATS or _is_maces_hdf5(place):
        return None
    return next((kind for kind in formats.ALL if kind.recognises(place)), None)


def is_lazy(path: str) -> bool:
    """Whether a file is read frame by frame in training (HDF5, databases, tables)."""
    kind = kind_of(path)
    return kind is not None and kind is not AseSource


def _is_maces_hdf5(path: Path) -> bool:
    if path.suffix not in (".h5", ".hdf5"):
        return False
    try:
        with h5py.File(path, "r") as file:
            return any(name.startswith("config_batch_") for name in file)
    except OSError:
        return False


def settings_of(
    args: argparse.Namespace, head: Mapping[str, Any], key_specification: Any
) -> DataSettings:
    """Keys and units of a head's files.

    Args:
        args: MACE's arguments.
        head: the head's entry of ``--heads``, whose values, under the same names, come first.
        key_specification: MACE's keys of the head.

    Raises:
        ValueError: an unknown unit, or keys that contradict each other.
    """
    values: dict[str, Any] = {
        "energy": key_specification.info_keys.get("energy"),
        "forces": key_specification.arrays_keys.get("forces"),
        "stress": key_specification.info_keys.get("stress"),
    }
    for flag, field in DATA_FLAGS.items():
        names = [PREFIX + flag, *([flag] if flag in ALIASES else [])]
        given = [head[name] for name in names if name in head]
        values[field] = given[0] if given else getattr(args, PREFIX + flag)
    settings = DataSettings(**values)
    check_differences(settings, _flag_of)
    return settings


def _flag_of(label: str) -> str:
    return f"--{label}_key" if label in MACE_KEYS else f"--{PREFIX}{label}_key"


def needs_reader(settings: DataSettings, source: Source) -> bool:
    """Whether MACE's own reading of a file that ASE reads does not do what was asked for."""
    units = (settings.energy_unit, settings.length_unit, settings.forces_unit)
    if any(unit not in (None, "eV", "angstrom", "eV/angstrom") for unit in units):
        return True
    if settings.weak_forces or settings.low_energy:
        return True
    names = source.keys
    return any(
        key in MOVED_BY_ASE or (key not in names and is_there(key, names))
        for key in (settings.energy, settings.forces, settings.stress)
        if key is not None
    )


def open_file(path: str, settings: DataSettings, *, training: bool = True) -> Source:
    """Open a file, with those of the keys that it has.

    MACE's default keys stand for "whatever there is" where the file lacks them. Forces, stress
    and weak forces may be in one file and not in another; the energy of training frames may not.

    Raises:
        DataError: a key of the energy that is not there; the message lists those that are.
    """

    def tell(text: str) -> None:
        if training:
            logging.warning(f"PIWSL: {text}")

    return open_labelled(
        path,
        settings,
        _flag_of,
        tell=tell,
        defaults=MACE_KEYS,
        must_have_energies=training,
    )


def check_plausible(source: Source, atoms_energies: str | None) -> None:
    """Refuse a file whose numbers look as if they were in other units.

    Args:
        source: the file.
        atoms_energies: ``--E0s``.

    Raises:
        DataError: names the flag and the likely unit.
    """
    known = None
    if atoms_energies is not None and not source.settings.low_energy:
        known = TABLES.get(atoms_energies)
        if ":" in atoms_energies and "{" not in atoms_energies[1:]:
            known = parse_energies(atoms_energies)
    try:
        check_units(source, known)
    except DataError as error:
        flags = re.sub(rf"\bset ({'|'.join(DATA_FLAGS)})\b", rf"set --{PREFIX}\1", str(error))
        raise DataError(flags) from error
