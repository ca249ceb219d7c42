"""What becomes of a damaged file, found out in a process of its own: it may crash or hang."""

from __future__ import annotations

import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from hdf5_files import KEYS

from piwsl_plugins.data.readers import DataError, open_source
from piwsl_plugins.data.settings import DataSettings

Contents = list[tuple[Any, ...]]


def contents(path: Path, layout: str) -> Contents | str:
    """All that the readers say of a file, or the message of a DataError.

    Raises:
        AssertionError: a block with numbers that no reader may hand on.
    """
    keys = dict(KEYS[layout])
    if layout == "ani":
        keys |= {"low_energy": "wb97x_dz.energy", "weak_forces": "wb97x_tz.forces"}
    warnings.simplefilter("error")
    found: Contents = []
    try:
        source = open_source(path, DataSettings(**keys))
        for block in source.blocks(3):
            check(block.positions, may_be_missing=False)
            assert ((block.numbers >= 1) & (block.numbers <= 118)).all()
            for values in block.labels.values():
                assert len(values) == len(block)
                check(values.reshape(len(block), -1), may_be_missing=True)
            arrays = (block.numbers, block.positions, *block.labels.values())
            found.append((block.group, *(array.tobytes() for array in arrays)))
            texts = block.info.values()
            assert all(
                isinstance(text, str) and len(values) == len(block)
                for values in texts
                for text in values
            )
        found.append((len(source), source.elements().tolist(), source.keys))
    except DataError as error:
        return str(error)
    return found


def check(values: np.ndarray, *, may_be_missing: bool) -> None:
    """Make sure that each row is finite, or missing as a whole."""
    rows = values.reshape(len(values), -1)
    finite = np.isfinite(rows).all(axis=1)
    missing = np.isnan(rows).all(axis=1) if may_be_missing else False
    assert (finite | missing).all()


class OtherProcess:
    """Runs :func:`contents` in another process, within a time limit, as often as asked."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.seconds = seconds
        self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))

    def contents(self, path: Path, layout: str) -> Contents | str:
        """As :func:`contents`; a crash is BrokenProcessPool, a hang TimeoutError."""
        try:
            return self._pool.submit(contents, path, layout).result(timeout=self.seconds)
        except (BrokenProcessPool, TimeoutError):
            self.close()
            self._pool = self._start()
            raise

    def close(self) -> None:
        """End the process, even if it hangs."""
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        self._pool.shutdown(wait=True)
