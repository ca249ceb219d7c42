"""Tables of energies beside structure files."""

from __future__ import annotations

from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pandas as pd
import pytest
from ase import units
from molecules import labelled, springs, write

from piwsl_plugins.data.frames import DataError
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings

EH = units.Hartree


def table(folder: Path, rows: str, name: str = "t.csv", number: int = 5) -> Path:
    """A table, and ``all.xyz`` with so many frames that have energies and forces of their own."""
    write(folder / "all.xyz", labelled(number, forces=1.0))
    for i, atoms in enumerate(labelled(number, forces=1.0)):
        ase.io.write(folder / f"{i}.xyz", atoms)
    (folder / name).write_text(rows)
    return folder / name


FRAMES = "file,frame,E\n" + "".join(
    f"all.xyz,{i},{e / EH!r}\n" for i, (_, e, _) in enumerate(springs()[:5])
)
FILES = "file;E;kind\n" + "".join(
    f"{i}.xyz;{e / EH!r};x\n" for i, (_, e, _) in enumerate(springs()[:5])
)
NUMBERS = "frame\tE\n" + "".join(f"{i}\t{e / EH!r}\n" for i, (_, e, _) in enumerate(springs()[:5]))


@pytest.mark.parametrize(
    ("rows", "structures"), [(FRAMES, None), (FILES, None), (NUMBERS, "all.xyz")]
)
def test_a_unit_is_that_of_the_tables_columns_alone(
    tmp_path: Path, rows: str, structures: str | None
) -> None:
    path = table(tmp_path, rows)
    settings = DataSettings(energy="E", energy_unit="hartree", structures=structures)
    found = read(path, settings, default_keys={"forces": "REF_forces", "energy": "REF_energy"})
    np.testing.assert_allclose(found.energies(), [e for _, e, _ in springs()[:5]])
    assert set(found.frames[0].labels) == {"energy"}
    asked = read(path, settings.model_copy(update={"forces": "REF_forces"}))
    np.testing.assert_allclose(asked.frames[2].labels["forces"], springs()[2][2], atol=1e-6)
    assert "forces: 'REF_forces' (eV/angstrom), 5" in asked.summary


def test_low_energies_in_hartree_are_noticed_with_one_frame_a_molecule(tmp_path: Path) -> None:
    for name in ("H2O", "CH4", "NH3", "CO"):
        ase.io.write(tmp_path / f"{name}.xyz", ase.build.molecule(name))
    rows = "file,E,low\nH2O.xyz,-76.4,-76.1\nCH4.xyz,-40.5,-40.2\nNH3.xyz,-56.5,-56.2\n"
    (tmp_path / "t.csv").write_text(rows + "CO.xyz,-113.3,-112.8\n")
    settings = DataSettings(energy="E", energy_unit="hartree", low_energy="low")
    with pytest.raises(DataError, match="looks like hartree; set low_energy_unit"):
        read(tmp_path / "t.csv", settings)
    both = settings.model_copy(update={"low_energy_unit": "hartree"})
    assert read(tmp_path / "t.csv", both).count("low_energy") == 4


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = table(tmp_path, FRAMES)
    pd.read_csv(path).to_parquet(tmp_path / "t.parquet")
    settings = DataSettings(energy="E", energy_unit="hartree")
    both = [read(tmp_path / name, settings).energies() for name in ("t.csv", "t.parquet")]
    np.testing.assert_array_equal(*both)


def test_empty_cells_are_missing_labels_and_other_columns_are_info(tmp_path: Path) -> None:
    rows = "file,frame,energy,kind\nall.xyz,0,,a\nall.xyz,1,-1.5D+01,b\nall.xyz,2,nan,\n"
    found = read(table(tmp_path, rows), DataSettings(energy="energy"))
    assert ["energy" in frame.labels for frame in found.frames] == [False, True, False]
    assert found.frames[1].labels["energy"] == -15.0
    assert [frame.atoms.info.get("kind") for frame in found.frames] == ["a", "b", None]


def test_frame_numbers_from_one_are_told(tmp_path: Path) -> None:
    shifted = "frame,E\n" + "".join(f"{i + 1},{-430 - i}.5\n" for i in range(4))
    found = read(table(tmp_path, shifted), DataSettings(energy="E", structures="all.xyz"))
    assert any("numbered from 1" in remark for remark in found.remarks)
    whole = "frame,E\n" + "".join(f"{i + 1},{-430 - i}.5\n" for i in range(5))
    with pytest.raises(DataError, match="numbered from 1"):
        read(table(tmp_path, whole), DataSettings(energy="E", structures="all.xyz"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("file,frame,E\nall.xyz,7,1.0\n", "frame 7.0 of all.xyz, which has 5"),
        ("file,frame,E\nall.xyz,1.5,1.0\n", "row 0: frame 1.5"),
        (
            "file,frame,E\nnone.xyz,1,1.0\n",
            "none.xyz: this structure file of the table is not",
        ),
        ("file,E\nall.xyz,1.0\n", "all.xyz has 5 frames; say which"),
        ("file,E\n0.xyz,1.0,2.0\n", "Expected 2 fields in line 2, saw 3"),
        ("file,E,F\n0.xyz,1.0\n", "a broken table: row 0 has fewer cells"),
        ("file,E,E\n0.xyz,1.0,2.0\n", "a name of its own"),
        ("file,E\n0.xyz,high\n", "'E' is 'high', expected a number"),
        ("file,E\n0.xyz,inf\n", "not finite"),
        ("file,E,n_atoms\n0.xyz,1.0,5\n", "n_atoms is 5, but the structure has 4 atoms"),
        ("name,E\n0.xyz,1.0\n", "a column of structure files"),
        ("file,E\n", "expected rows"),
        ("", "empty"),
        ("file,E\n0.xyz,-430.123\n1.xyz,-430.124\n2.xyz,-430.", "was cut off"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(table(tmp_path, rows), DataSettings(energy="E"))
