"""A CSV or Parquet table of energies beside the files of the structures."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.formula import Formula
from numpy.typing import NDArray

from piwsl_plugins.data.checks import MAX_NAMED
from piwsl_plugins.data.readers.ase_databases import DatabaseSource
from piwsl_plugins.data.readers.ase_files import AseSource
from piwsl_plugins.data.readers.base import DataError
from piwsl_plugins.data.readers.frames import Contents, FrameSource
from piwsl_plugins.data.readers.labels import Labels
from piwsl_plugins.data.readers.records import Record
from piwsl_plugins.data.readers.table_columns import Column, is_parquet, read_columns
from piwsl_plugins.data.settings import DataSettings

FILES = ("file", "path", "filename")
"""Columns that may name a row's structure file; the first that is there counts."""
FRAMES = ("frame", "frame_index", "index")
"""Columns that may say which frame of it, from 0; the first that is there counts."""
ATOMS = ("n_atoms", "natoms")
"""Columns with the number of atoms, which is compared with the structure's."""
FORMULA = "formula"
"""The same for its formula."""
OPEN_FILES = 64
"""Structure files that are kept open, with the places of their frames."""


class TableSource(FrameSource):
    """A table of energies; its rows are the frames.

    A row names its structure: a file, relative to the table's folder, and, unless the file holds
    one frame only, the frame's number in it, from 0. Where the table has frame numbers alone, the
    setting ``structures`` names the one file. Numbers of the structures' own, such as forces, are
    labels as well; a column of the same name comes first, and its empty cells are missing labels.
    Other columns become the frames' info.

    Raises:
        DataError: a broken table, or structures that are not there; ten at most are named.
    """

    format = "table of energies (CSV, Parquet)"

    def __init__(self, path: Path, settings: DataSettings) -> None:
        super().__init__(path, settings)
        self.columns = read_columns(path)
        self._file = self._find(FILES)
        self._frame = self._find(FRAMES)
        self._names, self._codes = self._structure_files()
        self._check_files()
        self._frames = self._frame_numbers()
        self._open: OrderedDict[int, FrameSource] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether the file is called a CSV table, or is Parquet."""
        return path.is_file() and (path.suffix in (".csv", ".tsv") or is_parquet(path))

    @property
    def labels(self) -> Labels:
        """Takes the labels out of rows; a column with texts among its numbers is refused."""
        self._refuse_texts(self.settings.keys.values())
        labels = super().labels
        self._refuse_texts(labels.used)
        return labels

    def _refuse_texts(self, names: Iterable[str]) -> None:
        for name in sorted(self.columns.keys() & set(names)):
            column = self.columns[name]
            if column.wrong:
                raise DataError(
                    f"{self.path}: column {name!r} has {column.wrong} cells that are no numbers; "
                    "leave a cell empty where there is no value:\n  " + "\n  ".join(column.bad)
                )

    @property
    def files(self) -> tuple[Path, ...]:
        """The table, and the structure files."""
        return (self.path, *(self.path.parent / name for name in self._names))

    def name(self, place: int) -> str:
        """What a message calls a frame."""
        structure = self._names[self._codes[place]]
        return f"{self.path}, row {place} ({structure}, frame {self._frames[place]})"

    def _find(self, names: tuple[str, ...]) -> Column | None:
        by_lower = {name.lower(): column for name, column in self.columns.items()}
        return next((by_lower[name] for name in names if name in by_lower), None)

    def _structure_files(self) -> tuple[list[str], NDArray[np.int64]]:
        """Names of the structure files, and for each row which one it is."""
        rows = len(next(iter(self.columns.values())))
        if self._file is not None:
            if self.settings.structures is not None:
                raise DataError(
                    f"{self.path}: column {self._file.name!r} names the structure files; leave "
                    "the setting structures out"
                )
            codes: dict[str, int] = {}
            found = [codes.setdefault(self._file.text(row), len(codes)) for row in range(rows)]
            return list(codes), np.array(found)
        if self._frame is None or self.settings.structures is None:
            raise DataError(
                f"{self.path}: expected a column of structure files ({', '.join(FILES)}), or one "
                f"of frame numbers ({', '.join(FRAMES)}) and the setting structures, which names "
                f"their file; the columns are {', '.join(self.columns)}"
            )
        return [self.settings.structures], np.zeros(rows, dtype=np.int64)

    def _check_files(self) -> None:
        wrong = [
            f"{name!r} of row {int(np.argmax(self._codes == code))}"
            for code, name in enumerate(self._names)
            if not name or not (self.path.parent / name).is_file()
        ]
        if wrong:
            raise DataError(
                f"{self.path}: {len(wrong)} structure files are not there, sought in "
                f"{self.path.parent.resolve()}:\n  " + "\n  ".join(wrong[:MAX_NAMED])
            )

    def _frame_numbers(self) -> NDArray[np.int64]:
        if self._frame is None:
            return np.zeros(len(self._codes), dtype=np.int64)
        numbers = self._frame.numbers
        bad = np.flatnonzero(
            ~(np.isfinite(numbers) & (numbers >= 0) & (np.rint(numbers) == numbers))
        )
        if len(bad):
            rows = [f"row {row}: {self._frame.text(row)!r}" for row in bad[:MAX_NAMED].tolist()]
            raise DataError(
                f"{self.path}: column {self._frame.name!r} has {len(bad)} cells that are no "
                "frame numbers (0, 1, ...):\n  " + "\n  ".join(rows)
            )
        return numbers.astype(np.int64)

    def _look_through(self) -> Contents:
        self._check_frames()
        contents = super()._look_through()
        for name, column in self.columns.items():
            if column.wrong and column.is_numeric:  # an error once it is used
                contents.scalars.add(name)
        return contents

    def _check_frames(self) -> None:
        wrong: list[str] = []
        order = np.argsort(self._codes, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(self._codes[order])) + 1):
            code = int(self._codes[rows[0]])
            frames = len(self._structures(code))
            if self._frame is None and frames > 1:
                wrong.append(f"row {rows[0]}: {self._names[code]} has {frames} frames, not one")
            for row in rows[self._frames[rows] >= frames][: MAX_NAMED + 1]:
                wrong.append(
                    f"row {row}: frame {self._frames[row]} of {self._names[code]}, which has "
                    f"{frames} (counted from 0)"
                )
        if wrong:
            hint = "" if self._frame else f"; say which frame in a column {FRAMES[0]!r}"
            more = "\n  and more" if len(wrong) > MAX_NAMED else ""
            raise DataError(
                f"{self.path}: rows whose structures are not there{hint}:\n  "
                + "\n  ".join(wrong[:MAX_NAMED])
                + more
            )

    def _structures(self, code: int) -> FrameSource:
        if code not in self._open:
            path = self.path.parent / self._names[code]
            kinds = (kind for kind in (DatabaseSource, AseSource) if kind.recognises(path))
            kind = next(kinds, None)
            if kind is None:
                raise DataError(f"{path}: ASE does not know the format of this structure file")
            self._open[code] = kind(path, DataSettings())
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
        self._open.move_to_end(code)
        return self._open[code]

    def _records(self) -> Iterator[Record]:
        return map(self._record, range(len(self._codes)))

    def _record(self, number: int) -> Record:
        structure = self._structures(int(self._codes[number])).record(int(self._frames[number]))
        cells = {
            name: column.value(number)
            for name, column in self.columns.items()
            if column not in (self._file, self._frame)
        }
        atoms = structure.atoms.copy()
        atoms.info = {**structure.atoms.info, **{k: v for k, v in cells.items() if v is not None}}
        self._compare(number, atoms)
        own = {
            name: np.array(column.numbers[number])
            for name, column in self.columns.items()
            if name in cells and column.is_numeric
        }
        kept = {key: what for key, what in structure.conflicts.items() if key not in own}
        return Record(number, atoms, {**structure.values, **own}, kept, structure.others)

    def _compare(self, number: int, atoms: ase.Atoms) -> None:
        """Refuse a row that says it is of another structure."""
        for name in ATOMS:
            cell = atoms.info.get(name)
            if name in self.columns and cell is not None and cell != len(atoms):
                raise DataError(
                    f"{self.name(number)}: {name} is {cell}, but the structure has {len(atoms)} "
                    "atoms"
                )
        if FORMULA not in self.columns or FORMULA not in atoms.info:
            return
        try:
            expected = Formula(str(atoms.info[FORMULA])).count()
        except ValueError:  # some other way of writing it
            return
        if expected != atoms.symbols.formula.count():
            raise DataError(
                f"{self.name(number)}: {FORMULA} is {atoms.info[FORMULA]}, but the structure is "
                f"{atoms.symbols.formula.format('hill')}"
            )
