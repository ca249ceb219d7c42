"""Labels that are there already: a small SQLite file, which a kill at any moment leaves whole."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from types import TracebackType

import numpy as np

from piwsl_plugins.weak.tasks import Labels

NAME = "weak-labels.sqlite"
COMMIT_EVERY = 1.0
"""Seconds of work that a kill may cost."""
_TABLE = "CREATE TABLE IF NOT EXISTS labels (key TEXT PRIMARY KEY, energy REAL, forces BLOB, \
stress BLOB, seconds REAL) WITHOUT ROWID"


class Cache:
    """Labels by the digest of frame and method.

    Args:
        folder: where the file is, or shall be.

    Raises:
        ValueError: what stands there is no cache of labels.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(self.path, timeout=60.0)
            self._database.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"{self.path}: this is no cache of labels ({error}); move it away, or choose "
                "another folder by --cache"
            ) from error
        self._committed = time.monotonic()

    def get(self, key: str) -> Labels | None:
        """Labels of a frame, or None where they are not there."""
        row = self._database.execute(
            "SELECT energy, forces, stress, seconds FROM labels WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        energy, forces, stress, seconds = row
        return Labels(
            energy=energy,
            forces=None if forces is None else np.frombuffer(forces).reshape(-1, 3),
            stress=None if stress is None else np.frombuffer(stress).reshape(3, 3),
            seconds=seconds,
        )

    def __contains__(self, key: str) -> bool:
        found = self._database.execute("SELECT 1 FROM labels WHERE key = ?", (key,)).fetchone()
        return found is not None

    def add(self, key: str, labels: Labels) -> None:
        """Keep labels; they are on the disk a second later at the latest, once more are added."""
        arrays = [None if a is None else a.tobytes() for a in (labels.forces, labels.stress)]
        self._database.execute(
            "INSERT OR REPLACE INTO labels VALUES (?, ?, ?, ?, ?)",
            (key, labels.energy, *arrays, labels.seconds),
        )
        if time.monotonic() - self._committed > COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        """Put everything on the disk."""
        self._database.commit()
        self._committed = time.monotonic()

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.commit()
        self._database.close()
