"""A CSV or Parquet table of energies beside the files of the structures; its rows are the frames.

A row names its structure: a file, relative to the table's folder, and, where that holds several
frames, the frame's number in it, from 0. Where the table has frame numbers alone, the setting
``structures`` names the one file. Labels that stand in a structure file are taken only where the
user names them, and keep that file's own units.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from piwsl_plugins.data.checks import listed
from piwsl_plugins.data.frames import DataError, RawFrame
from piwsl_plugins.data.readers import databases, extxyz
from piwsl_plugins.data.settings import DataSettings

KIND = "table of energies (CSV, Parquet)"
FILES, FRAMES = ("file", "path", "filename"), ("frame", "frame_index", "index")
"""Columns that may name a row's structure file and frame; the first that is there counts."""
MISSING = ("", "nan", "na", "n/a", "null", "none")


def recognises(path: Path) -> bool:
    """Whether the file is named as a table."""
    return path.is_file() and path.suffix in (".csv", ".tsv", ".parquet", ".pq")


def read(path: Path, settings: DataSettings) -> Iterator[RawFrame]:
    """The rows with their structures; a DataError if the table is broken or these are not there."""
    rows = _rows(path)
    columns = {name.lower(): name for name in reversed(rows[0])}
    file, number = (
        next((columns[name] for name in names if name in columns), "") for names in (FILES, FRAMES)
    )
    if bool(file) == bool(settings.structures) or not (file or number):
        expected = f"a column of structure files ({', '.join(FILES)}), or one of frame numbers"
        raise DataError(f"{path}: expected {expected} ({', '.join(FRAMES)}) and 'structures'")
    opened = functools.cache(functools.partial(_open, path.parent))
    numbers, wrong = {row.get(number) for row in rows}, []
    shifted = 1 in numbers and 0 not in numbers
    hint = "frames are numbered from 1 in the table, and counted from 0" if shifted else ""
    for row, cells in enumerate(rows):
        name, frame = str(cells.pop(file, settings.structures)), cells.pop(number, 0.0)
        frames = opened(name)
        if not number and len(frames) > 1:
            wrong.append(f"row {row}: {name} has {len(frames)} frames; say which by 'frame'")
        elif frame not in range(len(frames)):
            wrong.append(f"row {row}: frame {frame} of {name}, which has {len(frames)}")
        else:
            where = f"row {row}, {name}, frame {int(frame)}"
            made = _frame(frames[int(frame)], cells, where, path)
            made.remarks += (hint,) if hint else ()
            made.file = name
            yield made
    if wrong:
        raise DataError(f"{path}: rows whose structures are not there:{listed(wrong)}\n{hint}")


def _rows(path: Path) -> list[dict[str, Any]]:
    """The cells by column: a number where it is one, NaN where there is nothing."""
    import pandas as pd  # slow to import

    try:
        if path.suffix in (".parquet", ".pq"):
            table = pd.read_parquet(path)
        else:
            text = path.read_text("utf-8-sig")
            delimiter = max(",;\t", key=text.partition("\n")[0].count)
            options: dict[str, Any] = {"header": None, "dtype": str, "keep_default_na": False}
            table = pd.read_csv(io.StringIO(text), sep=delimiter, engine="python", **options)
            table = table[1:].set_axis(table.iloc[0].str.strip(), axis="columns")
            if len(table) and not text.endswith("\n"):
                *others, last = table.iloc[-4:, -1]
                extxyz.check_end("last line", str(last), others)
            if (short := table.isna().any(axis="columns")).any():
                raise DataError(f"row {short.argmax()} has fewer cells than the header")
    except ImportError as error:
        raise DataError(f"{path}: needs pyarrow: pip install 'piwsl-plugins[data]'") from error
    except (OSError, ValueError) as error:  # pandas' and pyarrow's
        raise DataError(f"{path}: a broken table: {error}") from error
    if not len(table) or not table.columns.is_unique:
        raise DataError(f"{path}: expected rows, and a name of its own for each column")
    records = table.to_dict("records")
    return [{str(name): _number(cell) for name, cell in row.items()} for row in records]


def _number(cell: Any) -> Any:  # noqa: ANN401
    text = str(cell).strip()
    if text.lower() in MISSING:
        return np.nan
    try:
        return float(extxyz.fortran(text)) if isinstance(cell, str) else cell
    except ValueError:
        return text


def _open(folder: Path, name: str) -> list[RawFrame]:
    path = folder / name
    if not path.is_file():
        raise DataError(f"{path}: this structure file of the table is not there")
    for reader in (extxyz, databases):
        if reader.recognises(path):
            return list(reader.read(path, DataSettings()))
    raise DataError(f"{path}: ASE does not know the format of this structure file")


def _frame(structure: RawFrame, cells: dict[str, Any], where: str, path: Path) -> RawFrame:
    """A structure with the labels of its row."""
    atoms = structure.atoms.copy()
    foreign = structure.values.keys() - cells.keys()
    made = dataclasses.replace(
        structure,
        atoms=atoms,
        values={key: structure.values[key] for key in foreign},
        texts={key: text for key, text in structure.texts.items() if key not in cells},
        energy_unit="eV",
        stated={key: unit for key, unit in structure.stated.items() if key in foreign},
        foreign=frozenset(foreign),
        where=where,
    )
    for key in foreign if structure.energy_unit != "eV" else ():
        if not structure.values[key].ndim:
            made.stated.setdefault(key, structure.energy_unit)
    for name, cell in cells.items():
        made.add(name, cell)
        if name.lower() in ("n_atoms", "natoms") and cell != len(atoms):
            real = f"the structure has {len(atoms)} atoms"
            raise DataError(f"{path}, {where}: {name} is {cell:g}, but {real}")
    atoms.info |= {name: cell for name, cell in cells.items() if cell == cell}
    return made
