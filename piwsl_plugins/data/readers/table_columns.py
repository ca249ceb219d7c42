"""Columns of a CSV or Parquet table."""

from __future__ import annotations

import csv
import importlib
import math
import re
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from piwsl_plugins.data.blocks import Floats
from piwsl_plugins.data.checks import MAX_NAMED
from piwsl_plugins.data.readers.base import DataError
from piwsl_plugins.data.readers.extxyz import check_end

PARQUET = b"PAR1"
"""First and last bytes of a Parquet file."""
MISSING = {"", "nan", "na", "n/a", "null", "none"}
"""What a cell without a value may say, in any case of letters."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_DELIMITERS = ",;\t"


class Column:
    """One column: numbers where all of its cells are such, texts otherwise.

    Attributes:
        name: of the column.
        numbers: its values, NaN for an empty cell or one that is no number.
        bad: cells that are no numbers, ten at most, each with its place.
        read: number of cells that are numbers.
        wrong: number of cells that are neither numbers nor empty.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.bad: list[str] = []
        self.read = self.wrong = 0
        self._numbers = array("d")
        self._texts: list[str] | None = None
        self._integral = True

    def add(self, cell: object, where: str) -> None:
        """Add the next cell."""
        text = "" if cell is None else str(cell).strip(" \t")
        number = _as_number(text)
        if number is None:
            self.wrong += 1
            if len(self.bad) < MAX_NAMED:
                self.bad.append(f"{where}: {text[:60]!r}")
            if self._texts is None:
                self._texts = [self._shown(i) for i in range(len(self._numbers))]
        elif not math.isnan(number):
            self.read += 1
            self._integral &= number.is_integer()
        if self._texts is not None:
            self._texts.append(sys.intern(text))
        self._numbers.append(math.nan if number is None else number)

    @property
    def numbers(self) -> Floats:
        """The values, shape [n_rows]."""
        return np.asarray(self._numbers, dtype=np.float64)

    @property
    def is_numeric(self) -> bool:
        """Whether at least half of the cells that say something are numbers."""
        return self.read >= max(1, self.wrong)

    def text(self, row: int) -> str:
        """A cell as a text."""
        return self._shown(row) if self._texts is None else self._texts[row]

    def value(self, row: int) -> str | int | float | None:
        """A cell as what it is, None where it is empty."""
        if self._texts is not None:
            return self._texts[row] or None
        number = self._numbers[row]
        if math.isnan(number):
            return None
        return int(number) if self._integral else number

    def __len__(self) -> int:
        return len(self._numbers)

    def _shown(self, row: int) -> str:
        value = self._numbers[row]
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else repr(value)


def read_columns(path: Path) -> dict[str, Column]:
    """Read a whole table; a number takes eight bytes.

    Args:
        path: a CSV file (comma, semicolon or tab), or a Parquet file.

    Returns:
        Its columns by name.

    Raises:
        DataError: a broken table, one without rows, or a missing package.
    """
    columns = _read_parquet(path) if is_parquet(path) else _read_csv(path)
    if not columns or not len(next(iter(columns.values()))):
        raise DataError(f"{path}: there are no rows in this table")
    return columns


def is_parquet(path: Path) -> bool:
    """Whether a file begins, or is called, as Parquet."""
    with path.open("rb") as file:
        return file.read(4) == PARQUET or path.suffix in (".parquet", ".pq")


def _read_csv(path: Path) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    last: list[str] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = max(_DELIMITERS, key=file.readline().count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            for row in tqdm(reader, f"reading {path.name}", unit=" rows", delay=2):
                if not any(cell.strip() for cell in row):
                    continue
                where = f"line {reader.line_num}"
                if not columns:
                    columns = _named([cell.strip() for cell in row], path)
                    continue
                if len(row) != len(columns):
                    raise DataError(
                        f"{path}, {where}: {len(row)} cells, expected {len(columns)} as in the "
                        "first line"
                    )
                for column, cell in zip(columns.values(), row, strict=True):
                    column.add(cell, where)
                last = [*last[-3:], row[-1].strip()]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {error}; the table must be text in UTF-8") from error
    if last and not _ends_in_newline(path):
        check_end(f"{path}, last line", last.pop(), last)
    return columns


def _read_parquet(path: Path) -> dict[str, Column]:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet tables need pyarrow: pip install 'piwsl-plugins[data]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as table:
            names = [field.name for field in table.schema_arrow if _is_plain(field.type)]
            columns = _named(names, path)
            rows = tqdm(_rows(table, names), f"reading {path.name}", unit=" rows", delay=2)
            for row, cells in enumerate(rows):
                for column, cell in zip(columns.values(), cells, strict=True):
                    column.add(cell, f"row {row}")
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: a broken Parquet file: {error}") from error
    return columns


def _rows(table: Any, names: list[str]) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401
    for batch in table.iter_batches(columns=names):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _is_plain(kind: Any) -> bool:  # noqa: ANN401  (a pyarrow.DataType)
    """Whether cells are numbers or texts, no lists or the like."""
    types: Any = importlib.import_module("pyarrow.types")
    return not types.is_nested(kind)


def _named(names: list[str], path: Path) -> dict[str, Column]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: more than one column is called {', '.join(map(repr, twice))}")
    return {name: Column(name) for name in names}


def _as_number(text: str) -> float | None:
    """A cell's number, NaN where it is empty, None where it is something else."""
    if text.lower() in MISSING:
        return math.nan
    if _NUMBER.fullmatch(text) is None:
        return math.inf if text.lower().lstrip("+-") in ("inf", "infinity") else None
    return float(text)


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) in (b"\n", b"\r")
