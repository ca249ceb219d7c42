"""Tables of energies beside structure files: which structure a row means, and what is wrong."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waters import calculated, waters, write

from piwsl_plugins.data.readers import DataError, Source, open_source, tables
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.units import ENERGY_UNITS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of structures, and three of one each."""
    write(tmp_path / "all.xyz", waters(6))
    write(tmp_path / "more.traj", calculated(4))
    (tmp_path / "single").mkdir()
    for i, atoms in enumerate(waters(3, seed=2)):
        write(tmp_path / "single" / f"{i}.xyz", [atoms])
    return tmp_path


def table(folder: Path, text: str, name: str = "table.csv", **settings: Any) -> Source:
    (folder / name).write_text(text)
    return open_source(folder / name, DataSettings(**settings))


def refused(folder: Path, text: str, match: str, **settings: Any) -> str:
    with pytest.raises(DataError, match=match) as error:
        list(table(folder, text, **settings).blocks())
    return str(error.value)


def energies(source: Source) -> list[float]:
    return [float(e) for block in source.blocks() for e in block.labels["energy"]]


def test_rows_name_file_and_frame(folder: Path) -> None:
    text = "file,frame,cbs\nall.xyz,4,-1.5\nmore.traj,0,-2.5\nall.xyz,0,-3.5\n"
    source = table(folder, text, energy="cbs")
    assert energies(source) == [-1.5, -2.5, -3.5]
    blocks = list(source.blocks())
    assert blocks[0].positions[0] == pytest.approx(waters(6)[4].positions, abs=1e-8)
    assert blocks[1].cell is not None
    assert source.frame(2).labels["energy"].tolist() == [-3.5]
    assert source.frame(2).positions[0] == pytest.approx(waters(1)[0].positions, abs=1e-8)
    assert [block.places.tolist() for block in blocks] == [[0], [1], [2]]


@pytest.mark.parametrize("name", ["file", "path", "filename", "File"])
def test_a_file_of_one_frame_needs_no_frame_number(folder: Path, name: str) -> None:
    text = f"cbs,{name}\n" + "".join(f"{-1.0 - i},single/{i}.xyz\n" for i in (2, 0))
    source = table(folder, text, energy="cbs")
    assert energies(source) == [-3.0, -1.0]
    assert next(source.blocks()).positions[0] == pytest.approx(
        waters(3, seed=2)[2].positions, abs=1e-8
    )


@pytest.mark.parametrize("name", ["frame", "index", "frame_index"])
def test_a_table_of_frame_numbers_has_its_file_named(folder: Path, name: str) -> None:
    text = f"{name};cbs\n3;-1.0\n1;-2.0\n"
    source = table(folder, text, energy="cbs", structures="all.xyz", forces="dft_forces")
    (block,) = source.blocks()
    assert block.labels["energy"].tolist() == [-1.0, -2.0]
    forces = [waters(6)[i].arrays["dft_forces"] for i in (3, 1)]
    assert block.labels["forces"] == pytest.approx(np.stack(forces), abs=1e-8)
    refused(folder, text, f"expected a column of structure files .* {name}, cbs", energy="cbs")
    with_file = "file,frame,cbs\nall.xyz,0,1.0\n"
    refused(folder, with_file, "leave the setting structures out", structures="all.xyz")


def test_empty_cells_are_missing_labels_even_where_the_structure_has_one(folder: Path) -> None:
    text = "file,frame,ccsd\nall.xyz,0,-1.0\nall.xyz,1,\nall.xyz,2,nan\nall.xyz,3,-4\n"
    source = table(folder, text, energy="ccsd")
    assert np.isnan(energies(source)).tolist() == [False, True, True, False]
    assert source.keys["ccsd"] == 2


def test_other_columns_are_info_and_structures_keep_theirs(folder: Path) -> None:
    text = "file,frame,cbs,kind,charge,weight\nall.xyz,0,-1.0,a b,0,0.5\nall.xyz,1,-2.0,c,1,2\n"
    (block,) = table(folder, text, energy="cbs").blocks()
    assert block.info["kind"] == ["a b", "c"]
    assert block.info["charge"] == [0, 1]
    assert block.info["weight"] == [0.5, 2.0]
    assert block.info["config_type"] == ["gas", "liquid"]
    assert "cbs" not in block.info


def test_sums_of_columns_and_units_work(folder: Path) -> None:
    text = "file,frame,hf,corr\nall.xyz,0,-76.0,-0.3\n"
    source = table(folder, text, energy="hf + corr", energy_unit="hartree")
    assert energies(source) == pytest.approx([-76.3 * ENERGY_UNITS["hartree"]])


def test_parquet_is_read_as_csv_is(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    columns = {
        "file": ["all.xyz"] * 3,
        "frame": [2, 0, 1],
        "cbs": [-1.5, None, -3.5],
        "kind": ["a", None, "b"],
        "list": [[1.0], [2.0], []],
    }
    path = folder / "table.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    source = open_source(path, DataSettings(energy="cbs"))
    assert energies(source) == pytest.approx([-1.5, np.nan, -3.5], nan_ok=True)
    assert source.frame(2).info["kind"] == ["b"]
    assert "list" not in source.keys
    whole = path.read_bytes()
    for end in (3, 50, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"table\.parquet: a broken Parquet file"):
            open_source(path)


def test_parquet_names_the_extra_that_it_needs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> None:
        raise ImportError(name)

    (folder / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(importlib, "import_module", nothing)
    with pytest.raises(DataError, match=r"pip install 'piwsl-plugins\[data\]'"):
        open_source(folder / "a.parquet")


def test_missing_structure_files_are_named_ten_at_most(folder: Path) -> None:
    text = "file,frame,cbs\nall.xyz,0,1\n" + "".join(f"no{i}.xyz,0,1\n" for i in range(12))
    message = refused(folder, text, "12 structure files are not there")
    assert "'no0.xyz' of row 1" in message
    assert "'no9.xyz' of row 10" in message
    assert "no10.xyz" not in message
    refused(folder, "file,frame,cbs\n,0,1\n", "1 structure files are not there, .*\n  '' of row 0")


def test_missing_frames_are_named_ten_at_most(folder: Path) -> None:
    rows = "".join(f"all.xyz,{i},1\n" for i in range(30))
    message = refused(folder, "file,frame,cbs\nmore.traj,3,1\n" + rows, "whose structures are not")
    assert "row 7: frame 6 of all.xyz, which has 6 (counted from 0)" in message
    assert message.count("row ") == 10
    assert message.endswith("and more")


def test_a_file_of_several_frames_asks_for_a_frame_number(folder: Path) -> None:
    refused(folder, "file,cbs\nall.xyz,1\n", "a column 'frame':\n  row 0: all.xyz has 6 frames")


@pytest.mark.parametrize("cell", ["1.5", "-1", "one", "", "inf"])
def test_a_cell_that_is_no_frame_number_is_named(folder: Path, cell: str) -> None:
    refused(
        folder,
        f"file,frame,cbs\nall.xyz,0,1\nall.xyz,{cell},1\n",
        "'frame' has 1 cells .*row 1".replace(" .*", "[^$]*"),
    )


@pytest.mark.parametrize("key", ["cbs", None])
def test_cells_that_are_no_energies_are_named_with_their_lines(
    folder: Path, key: str | None
) -> None:
    name = key or "my_energy"
    text = f"file,frame,{name}\nall.xyz,0,-1.0\n\nall.xyz,1,-2.0 eV\nall.xyz,2,-3\n"
    message = refused(folder, text, f"{name!r} has 1 cells that are no numbers", energy=key)
    assert "line 4: '-2.0 eV'" in message
    texts = text.replace("-1.0", "a").replace("-3", "b")
    if key:
        assert "line 2: 'a'" in refused(folder, texts, "3 cells that are no numbers", energy=key)


def test_an_infinite_energy_is_refused(folder: Path) -> None:
    refused(folder, "file,frame,cbs\nall.xyz,0,-inf\n", "'cbs' is not finite", energy="cbs")


@pytest.mark.parametrize(
    ("columns", "cells", "match"),
    [
        ("n_atoms", "5", "n_atoms is 5, but .* 3 atoms"),
        ("formula", "CH4", "formula is CH4, but .* is H2O"),
    ],
)
def test_a_row_of_another_structure_is_refused(
    folder: Path, columns: str, cells: str, match: str
) -> None:
    good = {"n_atoms": "3", "formula": "OH2"}[columns]
    text = f"file,frame,cbs,{columns}\nall.xyz,0,1,{good}\nall.xyz,1,1,"
    refused(folder, f"{text}{cells}\n", f"row 1 .all.xyz, frame 1.: {match}", energy="cbs")
    assert len(energies(table(folder, f"{text}{good}\n", energy="cbs"))) == 2


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no rows in this table"),
        ("file,frame,cbs\n", "no rows in this table"),
        ("file,frame,cbs\nall.xyz,0\n", "line 2: 2 cells, expected 3"),
        ("file,frame,cbs\nall.xyz,0,1,2\n", "line 2: 4 cells, expected 3"),
        ('file,frame,cbs\nall.xyz,0,"1\n', "line 2: unexpected end of data"),
        ("file,frame,cbs,cbs\nall.xyz,0,1,2\n", "more than one column is called 'cbs'"),
        ("file,frame,cbs\nall.xyz,0,1.000\nall.xyz,1,1.0", "the file ends with '1.0', without"),
        ("file,frame,cbs\nall.xyz,0,\xe4\n", "UTF-8"),
    ],
)
def test_broken_tables_are_refused(folder: Path, text: str, match: str) -> None:
    (folder / "table.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=f"table.csv.*{match}"):
        open_source(folder / "table.csv")


def test_a_broken_structure_file_is_named_itself(folder: Path) -> None:
    (folder / "all.xyz").write_text("3\n\nO 0 0 0\n")
    refused(folder, "file,frame,cbs\nall.xyz,0,1\n", "all.xyz: the file ends within frame 0")


def test_few_structure_files_are_open_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "OPEN_FILES", 2)
    text = "file,cbs\n" + "".join(f"single/{i % 3}.xyz,{-1.0 - i}\n" for i in range(9))
    source = table(folder, text, energy="cbs")
    assert energies(source) == [-1.0 - i for i in range(9)]
    assert isinstance(source, tables.TableSource)
    assert len(source._open) == 2


def test_a_last_row_without_end_is_warned_of(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        table(folder, "file,frame,cbs\nall.xyz,0,-1.0\nall.xyz,0,-1.5")
    assert "the line has no end" in caplog.text
