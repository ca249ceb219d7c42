"""ASE's databases, SQLite (.db), LMDB (.aselmdb) and JSON, and whatever else ASE reads.

Rows of a database, sorted by their ids, are frames.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase
import ase.db
import ase.io
import numpy as np
from ase.calculators.calculator import all_properties
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from piwsl_plugins.data.frames import DataError, RawFrame
from piwsl_plugins.data.settings import DataSettings

KIND = "ASE database, or another file that ASE reads"


def recognises(path: Path) -> bool:
    """Whether ASE knows the format; a broken file is refused when it is read."""
    try:
        return path.suffix == ".aselmdb" or filetype(str(path)) in ioformats
    except (UnknownFileTypeError, OSError, EOFError):
        return False


def read(path: Path, settings: DataSettings) -> Iterator[RawFrame]:
    """Frames as ASE hands them on; a DataError says why it cannot."""
    number = 0
    try:
        whole = ase.io.iread(str(path), do_not_split_by_at_sign=True)
        kind = "aselmdb" if path.suffix == ".aselmdb" else filetype(str(path))
        is_database = kind in ("db", "json", "aselmdb")
        for found in _rows(path, kind) if is_database else whole:
            yield _frame(found) if is_database else RawFrame.of_atoms(found)
            number += 1
    except DataError:
        raise
    except ImportError as error:
        raise DataError(f"{path}: this database needs: pip install ase-db-backends") from error
    except Exception as error:  # whatever a broken file makes of ASE
        what = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: ASE cannot read frame {number}: {what}") from error


def _rows(path: Path, kind: str) -> Iterator[Any]:
    options = {}
    if kind == "db":
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
        if ("systems",) not in tables:  # ASE would write its tables into it
            raise DataError(f"{path}: an SQLite file, but not a database of ASE's")
    elif kind == "aselmdb":
        import lmdb  # ase-db-backends needs it

        with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as environment:
            expected = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if (size := path.stat().st_size) < expected:  # reading past its end kills the process
            raise DataError(f"{path}: the LMDB file was cut off: {size} of {expected} bytes")
        options = {"readonly": True}
    database = ase.db.connect(str(path), type=kind, use_lock_file=False, **options)
    yield from database.select(sort="id" if kind == "db" else None)
    if kind == "aselmdb":
        database.close()


def _frame(row: Any) -> RawFrame:  # noqa: ANN401  ASE's rows have no type
    data = dict(row.data)
    data |= {**data.pop("__arrays__", {}), **data.pop("__info__", {})}  # as MACE writes them
    atoms = ase.Atoms(row.numbers, row.positions, cell=row.cell, pbc=row.pbc)
    for key, value in {**data, **row.key_value_pairs}.items():
        if np.ndim(value) == 0:
            atoms.info[key] = value
        elif np.shape(value)[0] == len(atoms) and np.ndim(value) < 3:
            atoms.set_array(key, np.asarray(value))
    results = {name: row[name] for name in all_properties if name in row}
    frame = RawFrame.of_atoms(atoms, results, data, where=f"row {row.id}")
    if row.get("constraints"):
        frame.remarks = ("constraints are dropped",)
    return frame
