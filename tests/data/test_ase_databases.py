"""ASE databases: labels in results, pairs and data, ids with gaps, and files that are none."""

from __future__ import annotations

import importlib.util
import sqlite3
from pathlib import Path
from typing import Any

import ase
import ase.db
import numpy as np
import pytest
from waters import calculated, waters

from piwsl_plugins.data.readers import DataError, ase_databases, open_source
from piwsl_plugins.data.settings import DataSettings

KINDS = ["a.db", "a.json", "a.aselmdb"]


def database(path: Path, number: int = 5) -> Path:
    """Water in a cell, with results, and labels among the pairs and the data."""
    if path.suffix == ".aselmdb":
        pytest.importorskip("ase_db_backends")
    with ase.db.connect(path) as file:
        for i, atoms in enumerate(calculated(number)):
            data = {"dft_forces": atoms.arrays["dft_forces"], "energies": [-2.0 * i], "note": "x"}
            file.write(atoms, ccsd=-2078.0 - i, smiles="O", data=data)
    return path


def source(path: Path, **settings: Any) -> Any:
    return open_source(path, DataSettings(**settings))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("key", "expected"), [("energy", -14.0), ("ccsd", -2078.0), ("energies", 0.0)]
)
def test_an_energy_is_found_in_results_pairs_and_data(
    tmp_path: Path, name: str, key: str, expected: float
) -> None:
    opened = source(database(tmp_path / name), energy=key, forces="dft_forces", stress="stress")
    assert opened.keys[key] == opened.keys["dft_forces"] == opened.keys["stress"] == 5
    (block,) = opened.blocks()
    step = -2.0 if key == "energies" else -1.0
    assert block.labels["energy"] == pytest.approx(expected + step * np.arange(5))
    assert block.labels["forces"] == pytest.approx(
        np.stack([atoms.arrays["dft_forces"] for atoms in calculated(5)])
    )
    assert block.labels["stress"][1, 0, 1] == 6.0
    assert block.info["smiles"] == ["O"] * 5
    assert block.info["note"] == ["x"] * 5
    assert block.cell[0] == pytest.approx(np.diag([9.0] * 3))
    assert opened.elements().tolist() == [1, 8]


@pytest.mark.parametrize("name", KINDS)
def test_ids_may_have_gaps(tmp_path: Path, name: str) -> None:
    path = database(tmp_path / name, 9)
    with ase.db.connect(path) as file:
        file.delete([1, 4, 5])
    opened = source(path, energy="ccsd")
    expected = [-2078.0 - i for i in (1, 2, 5, 6, 7, 8)]
    assert len(opened) == 6
    assert [float(e) for block in opened.blocks(2) for e in block.labels["energy"]] == expected
    assert [float(opened.frame(i).labels["energy"][0]) for i in (5, 0, 2)] == [
        expected[5],
        expected[0],
        expected[2],
    ]


def test_pages_of_rows_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ase_databases, "PAGE", 3)
    opened = source(database(tmp_path / "a.db", 8), energy="ccsd")
    assert np.concatenate([b.labels["energy"] for b in opened.blocks()]) == pytest.approx(
        -2078.0 - np.arange(8)
    )


def test_rows_without_a_label_lack_it(tmp_path: Path) -> None:
    with ase.db.connect(tmp_path / "a.db") as file:
        for i, atoms in enumerate(waters(4)):
            file.write(atoms, **({"ccsd": -1.0} if i % 2 else {}))
    opened = source(tmp_path / "a.db", energy="ccsd")
    assert opened.keys == {"ccsd": 2}
    energies = np.concatenate([b.labels["energy"] for b in opened.blocks()])
    assert np.isnan(energies).tolist() == [True, False, True, False]


def test_info_and_arrays_as_mace_stores_them_are_found(tmp_path: Path) -> None:
    (atoms,) = waters(1)
    extra = {"__info__": {"REF_energy": -5.0}, "__arrays__": {"REF_forces": np.ones((3, 3))}}
    with ase.db.connect(tmp_path / "a.db") as file:
        file.write(atoms, data=extra)
    (block,) = source(tmp_path / "a.db", forces="REF_forces").blocks()
    assert block.labels["energy"].tolist() == [-5.0]
    assert block.labels["forces"].tolist() == np.ones((1, 3, 3)).tolist()


def test_a_missing_key_lists_those_of_the_database(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"'cssd' \(did you mean 'ccsd'\?\); the keys in .*dft_forces"
    ):
        list(source(database(tmp_path / "a.db"), energy="cssd").blocks())


def test_another_programs_sqlite_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE other (id INTEGER)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"a\.db: an SQLite file, but not a database of ASE's"):
        source(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", KINDS)
def test_truncated_databases_are_refused(tmp_path: Path, name: str) -> None:
    whole = database(tmp_path / name, 40).read_bytes()
    for share in (0.0, 0.01, 0.3, 0.6, 0.95):
        path = tmp_path / f"cut{share}{Path(name).suffix}"
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=path.name):
            list(source(path, energy="ccsd").blocks())


def test_a_database_with_flipped_bytes_gives_its_rows_or_an_error_of_ours(tmp_path: Path) -> None:
    whole = database(tmp_path / "a.db", 6).read_bytes()
    generator = np.random.default_rng(0)
    path = tmp_path / "flipped.db"
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 30):
            damaged[place] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        try:
            blocks = list(source(path, energy="ccsd").blocks())
        except DataError:
            refused += 1
            continue
        assert 0 < sum(len(block) for block in blocks) <= 6
    assert refused > 0


def test_json_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"settings": 1}')
    with pytest.raises(DataError, match="not a database of ASE's"):
        len(source(tmp_path / "a.json"))


def test_too_large_a_json_file_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ase_databases, "LARGEST_JSON", 100)
    with pytest.raises(DataError, match=r"--insert-into a\.db"):
        source(database(tmp_path / "a.json"))


def test_an_lmdb_database_names_the_package_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database(tmp_path / "a.aselmdb")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install ase-db-backends"):
        source(path)


def test_an_lmdb_database_may_be_open_twice(tmp_path: Path) -> None:
    path = database(tmp_path / "a.aselmdb")
    first, second = source(path, energy="ccsd"), source(path, energy="energy")
    assert first.frame(1).labels["energy"][0] == -2079.0
    assert second.frame(1).labels["energy"][0] == -15.0


def test_an_empty_database_is_refused(tmp_path: Path) -> None:
    with ase.db.connect(tmp_path / "a.db") as file:
        file.delete([file.write(ase.Atoms("H"))])
    with pytest.raises(DataError, match="there are no frames"):
        len(source(tmp_path / "a.db"))
