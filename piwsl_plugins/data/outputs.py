"""Files that appear whole and all together, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from piwsl_plugins.data.readers.base import DataError


class Outputs:
    """Writes files under temporary names in their own folders, and renames them at the end.

    As a context manager it renames on a normal end, and removes what was written on any other,
    interruptions included.

    Args:
        paths: the files.
        force: replace files that are there.
        sources: files that must stay as they are, whatever ``force`` says.

    Raises:
        DataError: a file is there, is one of the sources, or its folder is not there.
    """

    def __init__(self, paths: Sequence[Path], *, force: bool, sources: Iterable[Path] = ()) -> None:
        kept = {source.resolve() for source in sources}
        for path in paths:
            if path.resolve() in kept:
                raise DataError(f"{path}: this is the file that is read; write to another one")
            if not path.parent.is_dir():
                raise DataError(f"{path}: there is no folder {path.parent}; make it first")
            if path.is_dir():
                raise DataError(f"{path}: this is a folder; name a file")
        there = [str(path) for path in paths if path.exists()]
        if there and not force:
            raise DataError(f"{', '.join(there)}: there already; choose another name, or --force")
        self._temporary: dict[Path, Path] = {}
        self._paths = paths

    def temporary(self, path: Path) -> Path:
        """The name under which one of the files is to be written."""
        return self._temporary[path]

    def __enter__(self) -> Outputs:
        try:
            for path in self._paths:
                # the same suffix, for ASE's databases go by it
                handle, name = tempfile.mkstemp(
                    prefix=f".{path.stem}.", suffix=f".part{path.suffix}", dir=path.parent
                )
                os.close(handle)
                self._temporary[path] = Path(name)
        except OSError as error:
            self._remove()
            raise DataError(f"{path}: cannot be written: {error.strerror}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._rename()
        finally:
            self._remove()

    def _rename(self) -> None:
        """Give all files their names; where that fails half-way, what was there comes back."""
        mask = os.umask(0)
        os.umask(mask)
        replaced: dict[Path, Path] = {}
        made: list[Path] = []
        try:
            for path, temporary in self._temporary.items():
                temporary.chmod(0o666 & ~mask)  # temporary files are their owner's alone
                if path.exists():
                    replaced[path] = temporary.with_name(temporary.name + ".old")
                    os.replace(path, replaced[path])
                made.append(path)
                os.replace(temporary, path)
        except BaseException:
            for path in made:
                path.unlink(missing_ok=True)
            for path, old in replaced.items():
                if old.exists():
                    os.replace(old, path)
            raise
        for old in replaced.values():
            old.unlink(missing_ok=True)

    def _remove(self) -> None:
        for temporary in self._temporary.values():
            for path in temporary.parent.glob(f"{temporary.name}*"):  # SQLite's journal as well
                path.unlink(missing_ok=True)
