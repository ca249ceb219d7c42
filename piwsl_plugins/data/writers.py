"""Writers of frames: extxyz and ASE databases, in eV and angstrom; every frame says its units."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import ase
import ase.db
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db.core import check
from ase.io.extxyz import output_column_format
from ase.stress import full_3x3_to_voigt_6_stress

from piwsl_plugins.data import units
from piwsl_plugins.data.frames import DataError, Frame
from piwsl_plugins.data.keys import ENERGIES

RESULTS = ("energy", "forces", "stress")
NAMES = {
    **{label: f"REF_{label}" for label in RESULTS},
    **{label: label for label in ("weak_forces", "low_energy", "low_forces")},
}
"""Names under which labels are written; a database keeps the first three as results."""
SUFFIXES = {".xyz": "extxyz", ".extxyz": "extxyz", ".db": "db", ".aselmdb": "aselmdb"}
"""Formats by suffix; an LMDB file (.aselmdb) is read frame by frame by MACE and by ASE."""


@contextlib.contextmanager
def writer(path: Path, names: Mapping[str, str]) -> Iterator[Callable[[Frame], None]]:
    """Open a new file, its format by its suffix; what it hands on writes one frame."""
    kind = SUFFIXES.get(path.suffix)
    if kind is None:
        raise DataError(f"{path}: the suffix must be one of {', '.join(SUFFIXES)}")
    if kind == "extxyz":
        with path.open("w", encoding="utf-8") as file:
            yield lambda frame: _write_xyz(file, _atoms(frame, names))
        return
    try:
        database = ase.db.connect(str(path), type=kind, use_lock_file=False)
    except ImportError as error:
        raise DataError(f"{path}: needs a package: pip install ase-db-backends") from error
    own = {**names, **{label: label for label in RESULTS}}
    with database:
        yield lambda frame: _write_row(database, _atoms(frame, own))


def _atoms(frame: Frame, names: Mapping[str, str]) -> ase.Atoms:
    """A frame with its labels and their units in ``info`` and ``arrays``."""
    atoms: ase.Atoms = frame.atoms.copy()
    stated = []
    for label, value in frame.labels.items():
        unit = "eV" if label in ENERGIES else "eV/angstrom"
        place = atoms.arrays if label.endswith("forces") else atoms.info
        place[names[label]] = value
        stated.append(f"{names[label]}={unit}{'^3' * (label == 'stress')}")
    if stated:
        atoms.info[units.STATEMENT] = " ".join(stated)
    return atoms


def _write_xyz(file: TextIO, atoms: ase.Atoms) -> None:
    """Write a frame as ASE does, but with all digits, where ASE has eight decimals."""
    for key, value in atoms.info.items():
        if isinstance(value, str):  # ASE takes backslashes away, and cannot read '' nor 'a='
            text = " ".join(value.split()).replace("\\", "\\\\") or "_"
            atoms.info[key] = text + " " * text.endswith("=")
    arrays = {"symbols": np.array([*atoms.symbols]), **atoms.arrays}
    del arrays["numbers"]
    header, _, _, form = output_column_format(atoms, [*arrays], arrays)
    columns = [c for array in arrays.values() for c in array.reshape(len(atoms), -1).T.tolist()]
    rows = [form.replace("%16.8f", "%r") % row for row in zip(*columns, strict=True)]
    file.write("".join([f"{len(atoms)}\n{header}\n", *rows]))


def _write_row(database: Any, atoms: ase.Atoms) -> None:  # noqa: ANN401
    values = {**atoms.arrays, **atoms.info}
    results = {label: values.pop(label) for label in RESULTS if label in values}
    if "stress" in results:
        results["stress"] = full_3x3_to_voigt_6_stress(results["stress"])
    atoms.calc = SinglePointCalculator(atoms, **results)
    pairs: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for key in values.keys() - {"numbers", "positions"}:
        try:
            check({key: values[key]})
            pair = key not in ("charge", "mass", "volume")  # these ASE computes by itself
        except ValueError:  # what a database does not hand on as it is
            pair = False
        (pairs if pair else data)[key] = values[key]
    database.write(atoms, key_value_pairs=pairs, data=data)
    if hasattr(database, "ids"):  # LMDB looks through this list at every write
        database.ids.clear()
