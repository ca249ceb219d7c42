"""ASE's databases: SQLite (.db), LMDB (.aselmdb) and JSON."""

from __future__ import annotations

import contextlib
import importlib.util
import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase
import ase.db
import numpy as np
from ase.calculators.calculator import all_properties
from ase.io.formats import UnknownFileTypeError
from numpy.typing import NDArray

from piwsl_plugins.data.readers.base import DataError
from piwsl_plugins.data.readers.frames import FrameSource
from piwsl_plugins.data.readers.records import Record, make_record
from piwsl_plugins.data.settings import DataSettings

PAGE = 256
"""Rows that one query fetches."""
LARGEST_JSON = 2**28
"""Bytes of a JSON database, which ASE can only read as a whole."""
BACKENDS = "ase-db-backends"
_SQLITE = b"SQLite format 3\0"
_LMDB = b"\xde\xc0\xef\xbe"
"""Found at byte 16 of an LMDB file."""
_OPEN: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


class DatabaseSource(FrameSource):
    """An ASE database; its rows, sorted by their ids, are the frames.

    A row's labels are its results (``energy``, ``forces``, ``stress``, ...), its key-value pairs
    and whatever numbers its ``data`` holds, those of MACE's ``__info__`` and ``__arrays__`` too.

    Raises:
        DataError: no database of ASE's, a broken one, or one for which a package is missing.
    """

    format = "ASE database"

    def __init__(self, path: Path, settings: DataSettings) -> None:
        super().__init__(path, settings)
        self.kind = _kind(path)
        self._ids: NDArray[np.int64] | None = None
        self._database: Any = None
        self._rows: list[Record] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_database": None, "_rows": None}

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether the file is a database, by its first bytes, or is called one."""
        if not path.is_file():
            return False
        start = _first_bytes(path)
        if path.suffix == ".json":
            return start.lstrip()[:1] in (b"{", b"")
        return path.suffix in (".db", ".aselmdb") or start.startswith(_SQLITE)

    @property
    def database(self) -> Any:  # noqa: ANN401  (ASE's databases have no common type information)
        """ASE's database object."""
        if self._database is None:
            self._database = _connect(self.path, self.kind)
        return self._database

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of the rows, sorted; there may be gaps between them."""
        if self._ids is None:
            with self._errors("its rows"):
                self._ids = np.sort(np.array(self._find_ids(), dtype=np.int64))
        return self._ids

    def name(self, place: int) -> str:
        """What a message calls a frame."""
        return f"{self.path}, frame {place} (row {self.ids[place]})"

    def _find_ids(self) -> list[int]:
        if self.kind == "db":
            with self.database.managed_connection() as connection:
                return [row[0] for row in connection.execute("SELECT id FROM systems")]
        if self.kind == "aselmdb":
            return list(self.database.ids)
        return [row.id for row in self.database.select()]

    def _records(self) -> Iterator[Record]:
        if self.kind == "json":
            yield from self._whole_json()
            return
        for first in range(0, len(self.ids), PAGE):
            page = self.ids[first : first + PAGE]
            if self.kind == "aselmdb":
                yield from (self._record(first + i) for i in range(len(page)))
                continue
            with self._errors(f"the rows {page[0]} to {page[-1]}"):
                query = f"id>={page[0]},id<={page[-1]}"
                rows = {row.id: row for row in self.database.select(query)}
            for place, row in enumerate(page.tolist(), start=first):
                yield self._convert(place, rows.pop(row, None))

    def _record(self, number: int) -> Record:
        if self.kind == "json":
            return self._whole_json()[number]
        row = int(self.ids[number])
        with self._errors(f"row {row}"):
            found = self.database.get(id=row)
        return self._convert(number, found)

    def _whole_json(self) -> list[Record]:
        if self._rows is None:
            with self._errors("its rows"):
                rows = sorted(self.database.select(), key=lambda row: int(row.id))
            self._rows = [self._convert(place, row) for place, row in enumerate(rows)]
        return self._rows

    def _convert(self, place: int, row: Any) -> Record:  # noqa: ANN401
        if row is None:
            raise DataError(f"{self.name(place)}: the row has gone since the file was opened")
        with self._errors(f"row {row.id}"):
            data, pairs = dict(row.data), row.key_value_pairs
            arrays, more = data.pop("__arrays__", {}), data.pop("__info__", {})
            plain = {key: value for key, value in data.items() if np.ndim(value) == 0}
            atoms = ase.Atoms(
                numbers=np.asarray(row.numbers),
                positions=np.asarray(row.positions),
                cell=np.asarray(row.cell),
                pbc=np.asarray(row.pbc),
                info={**plain, **more, **pairs},
            )
            results = {name: row[name] for name in all_properties if name in row}
            return make_record(place, atoms, results, arrays, frames=(data, atoms.info))

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn whatever a broken database makes of ASE into one sentence."""
        try:
            yield
        except DataError:
            raise
        except UnknownFileTypeError as error:
            raise DataError(f"{self.path}: not a database of ASE's: {error}") from error
        except Exception as error:
            raise DataError(
                f"{self.path}: {what} cannot be read: {type(error).__name__}: {error}"
            ) from error


def _connect(path: Path, kind: str) -> Any:  # noqa: ANN401
    """Open a database; an LMDB file can be open only once in a process."""
    name = str(path.resolve())
    if kind != "aselmdb":
        return ase.db.connect(name, type=kind, use_lock_file=False)
    database = _OPEN.get(name)
    if database is None:
        _check_lmdb(path)
        database = ase.db.connect(name, type=kind, use_lock_file=False, readonly=True)
        _OPEN[name] = database
    return database


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def _kind(path: Path) -> str:
    """ASE's name for the kind of a database.

    Raises:
        DataError: it is none, too large a JSON file, or its package is missing.
    """
    start = _first_bytes(path)
    if not start:
        raise DataError(f"{path}: the file is empty")
    if start.startswith(_SQLITE):
        _check_sqlite(path)
        return "db"
    if path.suffix == ".json":
        if path.stat().st_size > LARGEST_JSON:
            raise DataError(
                f"{path}: {path.stat().st_size / 1e6:.0f} MB of JSON can only be read as a whole; "
                f"make it an SQLite database first: ase db {path} --insert-into {path.stem}.db"
            )
        return "json"
    if start[16:20] == _LMDB:
        if importlib.util.find_spec("ase_db_backends") is None:
            raise DataError(f"{path}: this LMDB database needs a package: pip install {BACKENDS}")
        return "aselmdb"
    raise DataError(
        f"{path}: called {path.suffix}, but neither an SQLite nor an LMDB file (its first bytes "
        f"are {start[:16]!r}); the file is broken or of another kind"
    )


def _check_lmdb(path: Path) -> None:
    """Refuse a file that was cut off: reading past its end would kill the process."""
    import lmdb  # ase-db-backends needs it

    try:
        with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as environment:
            pages = environment.info()["last_pgno"] + 1
            expected = pages * environment.stat()["psize"]
    except lmdb.Error as error:
        raise DataError(f"{path}: a broken LMDB file: {error}") from error
    found = path.stat().st_size
    if found < expected:
        raise DataError(
            f"{path}: the LMDB file was cut off: {found} bytes, expected {expected} at least"
        )


def _check_sqlite(path: Path) -> None:
    """Refuse another program's SQLite file, into which ASE would write its tables."""
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            query = "SELECT COUNT(*) FROM sqlite_master WHERE name='systems'"
            (found,) = connection.execute(query).fetchone()
    except (sqlite3.Error, ValueError) as error:  # names that are no text are the latter
        raise DataError(f"{path}: a broken SQLite file: {error}") from error
    if not found:
        raise DataError(f"{path}: an SQLite file, but not a database of ASE's (no table 'systems')")
