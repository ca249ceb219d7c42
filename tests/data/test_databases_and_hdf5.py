"""ASE databases, ANI and SPICE files: every row is a frame, in eV and angstrom."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import ase.db
import ase.io
import h5py
import numpy as np
import pytest
from ase.constraints import FixAtoms
from energy_files import NAMES, ani_file, conformers, energy, forces, spice_file
from molecules import calculated, springs

from piwsl_plugins.data.frames import DataError
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings

KINDS = ("db", "json", "aselmdb")


def database(path: Path, number: int = 4) -> Path:
    """Rows with results, key-value pairs and data; one row in the middle is missing."""
    pytest.importorskip("ase_db_backends")
    with ase.db.connect(path) as rows:
        for i, atoms in enumerate(calculated(number)):
            atoms.set_constraint(FixAtoms([0]))
            forces = np.full((4, 3), float(i))
            rows.write(
                atoms,
                key_value_pairs={"ccsd_energy": -430.0 - i, "kind": "x"},
                data={"__arrays__": {"mp2_forces": forces}, "__info__": {"hf": -429.0}},
            )
        if number > 2:
            del rows[2]
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_found_in_results_pairs_and_data(tmp_path: Path, kind: str) -> None:
    path = database(tmp_path / f"a.{kind}")
    keys = {"energy": "ccsd_energy", "forces": "mp2_forces", "stress": "stress"}
    found = read(path, DataSettings(**keys))
    assert found.energies().tolist() == [-430.0, -432.0, -433.0]
    assert found.frames[1].labels["forces"][0, 0] == 2.0
    assert found.frames[0].labels["stress"][2, 2] == pytest.approx(0.02)
    assert found.frames[0].atoms.info["kind"] == "x"
    assert any("constraints are dropped (3 frames)" in remark for remark in found.remarks)
    results = read(path, DataSettings(energy="energy", forces="forces")).frames[0].labels
    assert results["energy"] == pytest.approx(springs()[0][1])
    np.testing.assert_allclose(results["forces"], springs()[0][2])


@pytest.mark.parametrize("kind", KINDS)
def test_broken_databases_are_refused(tmp_path: Path, kind: str) -> None:
    path = database(tmp_path / f"a.{kind}", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=str(path)):
        read(path, DataSettings(energy="energy"))
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=str(path)):
        read(path, DataSettings(energy="energy"))


def test_another_programs_sqlite_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x INTEGER)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DataError, match="not a database of ASE's"):
        read(path, DataSettings())
    assert path.read_bytes() == before


@pytest.mark.parametrize("key", ["dft_total_energy", None])
def test_spice_is_in_hartree_and_bohr(tmp_path: Path, key: str | None) -> None:
    path = spice_file(tmp_path / "a.h5")
    found = read(path, DataSettings(energy=key, forces="forces"))
    assert "(hartree), 20 frames; forces: 'forces' (hartree/bohr), 20" in found.summary
    for frame in found.frames:
        assert frame.labels["energy"] == pytest.approx(energy(frame.atoms))
        np.testing.assert_allclose(frame.labels["forces"], forces(frame.atoms), atol=1e-6)
    assert found.frames[0].atoms.info["smiles"] == "O"
    assert found.frames[0].atoms.info["group"] in NAMES


def test_ani_is_in_hartree_and_angstrom_and_a_missing_part_is_missing(tmp_path: Path) -> None:
    path = ani_file(tmp_path / "a.h5", missing={"H2O": [1, 2]})
    with pytest.raises(DataError, match=r"several keys|no key"):
        read(path, DataSettings())
    keys = {"energy": "hf_qz.energy + mp2_qz.corr_energy", "weak_forces": "wb97x_dz.forces"}
    found = read(path, DataSettings(**keys))
    assert found.count("energy") == 18
    for frame in found.frames:
        if "energy" in frame.labels:
            assert frame.labels["energy"] == pytest.approx(energy(frame.atoms))
        np.testing.assert_allclose(frame.labels["weak_forces"], forces(frame.atoms), atol=1e-6)
    molecule = [f.atoms for f in found.frames if f.atoms.info["group"] == "CH3OH"]
    for ours, theirs in zip(molecule, conformers("CH3OH", 4), strict=True):
        np.testing.assert_allclose(ours.positions, theirs.positions)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dft_total_energy", np.zeros(3), "'dft_total_energy' is float64 of shape"),
        ("dft_total_energy", np.full(4, np.inf), "group H2O, row 0.*not finite"),
        ("atomic_numbers", np.array([8, 0, 1]), "expected 1 to 118"),
        ("atomic_numbers", np.array([8, 1]), "'conformations' is of shape"),
    ],
)
def test_broken_hdf5_files_are_refused_with_the_group(
    tmp_path: Path, key: str, value: np.ndarray, message: str
) -> None:
    path = spice_file(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["H2O"][key]
        file["H2O"][key] = value
    with pytest.raises(DataError, match=message):
        read(path, DataSettings(energy="dft_total_energy"))
    with h5py.File(path, "w") as file:
        file["config_0/energy"] = 1.0
    with pytest.raises(DataError, match="neither of ANI's layout"):
        read(path, DataSettings())


def test_a_cut_off_hdf5_file_is_refused(tmp_path: Path) -> None:
    path = spice_file(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="broken HDF5"):
        read(path, DataSettings())


def test_whatever_ase_reads_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.traj"
    ase.io.write(path, calculated(3))
    found = read(path, DataSettings(forces="forces"))
    assert found.energies()[0] == pytest.approx(springs()[0][1])
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="ASE cannot read frame"):
        read(path, DataSettings())
    (tmp_path / "a.nonsense").write_text("hello")
    with pytest.raises(DataError, match="not a format that can be read"):
        read(tmp_path / "a.nonsense", DataSettings())
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "b.xyz", DataSettings())
