"""Strings of HDF5 files come back as h5py reads them, however they are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.data.readers.hdf5_file import Array, find_array
from piwsl_plugins.data.readers.hdf5_strings import first_string

VARIABLE = h5py.string_dtype()


def array_of(path: Path, values: Any, dtype: Any = VARIABLE, **how: Any) -> tuple[h5py.File, Array]:
    with h5py.File(path, "w") as file:
        file.create_dataset("earlier", data=["other", "strings"], dtype=VARIABLE)
        file.create_dataset("text", data=values, dtype=dtype, **how)
    file = h5py.File(path)
    found = find_array(file["/"].id, "text")
    assert found is not None
    return file, found


@pytest.mark.parametrize("how", [{}, {"chunks": True}, {"chunks": True, "compression": "gzip"}])
@pytest.mark.parametrize("text", ["CCO", "", "C#N \u03b1 \u00c5", "C" * 70_000])
def test_a_string_of_any_length_is_read(tmp_path: Path, how: dict, text: str) -> None:
    file, array = array_of(tmp_path / "file", [text, "second"], **how)
    with file:
        assert first_string(array, tmp_path / "file") == text


@given(texts=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=1))
def test_strings_are_those_of_h5py(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("strings") / "file"
    file, array = array_of(path, texts)
    with file:
        assert first_string(array, path) == file["text"].asstr()[0] == texts[0]


@pytest.mark.parametrize("dtype", ["S8", h5py.string_dtype(length=8)])
def test_a_string_of_fixed_length_is_read(tmp_path: Path, dtype: Any) -> None:
    file, array = array_of(tmp_path / "file", np.array([b"CCO"], dtype), dtype)
    with file:
        assert first_string(array, tmp_path / "file") == "CCO"


def test_a_single_string_without_shape_is_read(tmp_path: Path) -> None:
    file, array = array_of(tmp_path / "file", "CCO")
    with file:
        assert first_string(array, tmp_path / "file") == "CCO"


def test_no_string_is_an_empty_one(tmp_path: Path) -> None:
    file, array = array_of(tmp_path / "file", [])
    with file:
        assert first_string(array, tmp_path / "file") == ""


def test_numbers_are_refused(tmp_path: Path) -> None:
    file, array = array_of(tmp_path / "file", [1.0], "f8")
    with file, pytest.raises(ValueError, match="float64 where strings should be"):
        first_string(array, tmp_path / "file")
