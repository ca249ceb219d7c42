"""``piwsl convert`` and ``piwsl inspect``: nothing is lost, and what is wrong is said."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import ase.build
import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from energy_files import ani_file, energy, forces, spice_file
from hypothesis import given, settings
from hypothesis import strategies as st
from molecules import calculated, labelled, springs, write

from piwsl_plugins.cli import main
from piwsl_plugins.data import convert as convert_module
from piwsl_plugins.data.frames import Frame
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import USUAL_KEYS, DataSettings
from piwsl_plugins.data.writers import NAMES, writer

FORMATS = ("xyz", "db", "aselmdb")


def read_all(path: Path, **settings: Any) -> list[Frame]:
    return list(read(path, DataSettings(**settings), default_keys=USUAL_KEYS).frames)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_converted_file_has_equal_labels_positions_and_other_information(
    tmp_path: Path, suffix: str
) -> None:
    if suffix == "aselmdb":
        pytest.importorskip("ase_db_backends")
    path, out = spice_file(tmp_path / "a.h5"), tmp_path / f"b.{suffix}"
    keys = ["--energy-key", "dft_total_energy", "--forces-key", "forces", "--weak-forces-key"]
    assert main(["convert", str(path), str(out), *keys, "dft_total_gradient"]) == 0
    found = read_all(out)
    assert len(found) == 20
    for frame in found:
        assert frame.labels["energy"] == pytest.approx(energy(frame.atoms), rel=1e-12)
        np.testing.assert_allclose(frame.labels["forces"], forces(frame.atoms), atol=1e-12)
        np.testing.assert_allclose(frame.labels["weak_forces"], -frame.labels["forces"], atol=1e-12)
        assert frame.atoms.info["smiles"] == "O"


@settings(max_examples=10)
@given(
    st.sampled_from(FORMATS[:2]),
    st.lists(st.floats(-1e3, 1e3), min_size=9, max_size=9),
    st.text("ab \"'={}\\é", max_size=8),
)
def test_what_is_written_is_read_again_bit_by_bit(
    suffix: str, numbers: list[float], text: str
) -> None:
    atoms = springs()[0][0].copy()
    atoms.positions[:3] += 1e-4 * np.array(numbers).reshape(3, 3)
    atoms.set_cell(np.diag([9.0, 10.0, 11.0]) + 1e-3 * np.array(numbers).reshape(3, 3))
    atoms.pbc = [True, True, False]
    atoms.info = {"note": text, "count": 3, "smiles": "C/C=C\\C", "charge": -1}
    atoms.set_initial_charges([0.1, -0.1, 0.2, 0.0])
    atoms.set_masses([12.0, 16.0, 2.014, 1.008])
    labels: dict[str, Any] = {"energy": numbers[0] - 1e4, "weak_forces": np.full((4, 3), 0.25)}
    labels["stress"] = 1e-4 * np.outer(np.arange(3), np.arange(3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{suffix}"
        with writer(path, NAMES) as write_frame:
            write_frame(Frame(atoms=atoms, labels=labels, source="", number=0))
        found = read_all(path, allow_unusual_units=True)[0]
    for one, other in ((found.atoms.arrays, atoms.arrays), (found.labels, labels)):
        assert one.keys() >= other.keys()
        for name, value in other.items():
            np.testing.assert_array_equal(one[name], value)
    np.testing.assert_array_equal(found.atoms.cell.array, atoms.cell.array)
    assert found.atoms.pbc.tolist() == [True, True, False]
    assert (found.atoms.info["count"], found.atoms.info["charge"]) == (3, -1)
    assert found.atoms.info["smiles"] == "C/C=C\\C"


def test_numbers_whose_unit_is_not_known_are_dropped_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = labelled(5, 1 / units.Hartree)
    for atoms in frames:
        atoms.info |= {"mp2_energy": -7.9, "dipole": [0.1, 0.2, 0.0], "charge": 1, "smiles": "CO"}
        atoms.arrays["mp2_forces"] = atoms.arrays["velo"] = np.ones((4, 3))
    path = write(tmp_path / "a.xyz", frames)
    words = ["--energy-key=REF_energy", "--energy-unit=hartree"]
    assert main(["convert", str(path), str(tmp_path / "b.xyz"), *words]) == 0
    said = capsys.readouterr().err
    assert "dipole (5 frames), mp2_energy (5 frames), mp2_forces (5 frames), velo" in said
    assert read_all(tmp_path / "b.xyz")[0].atoms.info == {"charge": 1, "smiles": "CO"}


def test_the_manifest_tells_source_units_counts_and_hashes(tmp_path: Path) -> None:
    path = ani_file(tmp_path / "a.h5")
    words = ["--energy-key", "hf_qz.energy", "--split", "train=0.5", "test=4", "--seed", "3"]
    assert main(["convert", str(path), str(tmp_path / "b.xyz"), *words]) == 0
    manifest = json.loads((tmp_path / "b.xyz.manifest.json").read_text())
    assert (manifest["read_in"]["energy"], manifest["arguments"]["seed"]) == ("hartree", 3)
    assert manifest["keys"] == {"energy": "hf_qz.energy"}
    assert [count["energy"] for count in manifest["files"].values()] == [10, 4]
    before = (tmp_path / "b_train.xyz").read_bytes()
    assert main(["convert", str(path), str(tmp_path / "b.xyz"), *words]) == 2
    assert main(["convert", str(path), str(tmp_path / "b.xyz"), *words, "--overwrite"]) == 0
    assert (tmp_path / "b_train.xyz").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        (["--elements", "H", "O"], 8),
        (["--formula", "H2O", "CO", "H2CO", "--max-atoms", "3"], 8),
        (["--with", "low_energy", "--low-energy-key", "mp2_qz.corr_energy"], 18),
        (["--first", "5"], 5),
        (["--random", "6"], 6),
    ],
)
def test_a_selection_takes_what_it_says(tmp_path: Path, words: list[str], frames: int) -> None:
    path = ani_file(tmp_path / "a.h5", missing={"H2O": [1, 2]})
    words = [*words, "--allow-unusual-units", "--energy-key", "hf_qz.energy"]
    assert main(["convert", str(path), str(tmp_path / "b.xyz"), *words]) == 0
    assert len(ase.io.read(tmp_path / "b.xyz", ":")) == frames


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--elements", "Qq"], "invalid choice: 'Qq'"),
        (["--formula", "h2o"], "invalid Formula value: 'h2o'"),
        (["--random", "900"], "20 of its frames are selected, expected 900"),
        (["--elements", "Xe"], "0 of its frames are selected"),
        (["--split", "a=1.5"], "asks for 30 frames, but there are 20"),
        (["--split", "a"], "invalid part_size value: 'a'"),
        (["--split", "a=1", "a=2"], "two parts have one name"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    arguments = ["convert", str(ani_file(tmp_path / "a.h5")), str(tmp_path / "b.xyz")]
    words = [*words, "--energy-key", "hf_qz.energy"]
    with contextlib.suppress(SystemExit):
        assert main([*arguments, *words]) == 2
    assert message in capsys.readouterr().err
    assert [found.name for found in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("out", ["a.xyz", "t.csv", "none/b.xyz", "b.txt"])
@pytest.mark.parametrize("name", ["a.xyz", "t.csv"])
def test_no_file_is_written_where_it_must_not_be(tmp_path: Path, out: str, name: str) -> None:
    before = write(tmp_path / "a.xyz", labelled(5)).read_bytes()
    (tmp_path / "t.csv").write_text("file,frame,energy\na.xyz,0,-430.0\na.xyz,1,-430.5\n")
    assert main(["convert", str(tmp_path / name), str(tmp_path / out), "--overwrite"]) == 2
    assert (tmp_path / "a.xyz").read_bytes() == before


def test_a_large_file_is_streamed_and_gives_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = labelled(50)
    for i in (0, 7, 20, 30):
        frames[i].info["REF_energy"] = 0.0
    path = write(tmp_path / "a.xyz", frames)
    words = ["--leave-out-placeholders", "--split", "a=0.5", "b=0.5"]
    assert main(["convert", str(path), str(tmp_path / "b.xyz"), *words]) == 0
    monkeypatch.setattr(convert_module, "CHECKED", 25)
    assert main(["convert", str(path), str(tmp_path / "c.xyz"), *words]) == 0
    for name in "ab":
        assert (tmp_path / f"b_{name}.xyz").read_text() == (tmp_path / f"c_{name}.xyz").read_text()
    found = [f for name in "ab" for f in read_all(tmp_path / f"b_{name}.xyz")]
    assert sum("energy" in frame.labels for frame in found) == 46


def inspect(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    status = main(["inspect", *map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_clean_file_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.xyz", labelled(forces=1.0))
    status, said = inspect(capsys, path)
    entry = said["files"][0]
    assert status == len(entry["errors"]) == len(entry["warnings"]) == 0
    assert entry["labels"]["forces"] == {"frames": 60, "unit": "eV/angstrom"}
    assert entry["formulas"] == {"CH2O": 60}
    assert main(["inspect", str(path)]) == 0
    assert "CH2O: 60" in capsys.readouterr().out


def test_every_kind_of_error_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = labelled(20, forces=1.0)
    frames.append(frames[3].copy())
    frames[-1].info["REF_energy"] += 1.0
    frames[5].info["REF_energy"] = frames[7].arrays["REF_forces"][:] = 0.0
    frames += [ase.Atoms("H", info={"REF_energy": e}) for e in (-10.0, -13.0)]
    status, said = inspect(capsys, write(tmp_path / "a.xyz", frames))
    assert status == 1
    text = " ".join(said["files"][0]["errors"])
    for what in ("REF_energy' of exactly 0", "REF_forces' of exactly 0", "isolated atoms of H"):
        assert what in text


def test_outliers_and_frames_of_two_files_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = labelled(40)
    frames[8].info["REF_energy"] -= 50.0
    one, other = write(tmp_path / "a.xyz", frames), write(tmp_path / "b.xyz", frames[38:])
    _, said = inspect(capsys, one, other)
    assert any("frame 8" in text for text in said["files"][0]["warnings"])
    assert "2 frames of" in said["shared_frames"][0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xyz", "4\nenergy=1\nH 0 0 0\n", "ends within frame 0"),
        ("a.xyz", "2\nenergy=1\nH 0 0 0\nH_gh 0 0 1\n", "'H_gh' is no element"),
        ("psi4.out", "Psi4: @DF-RHF Final Energy: -76.02663273410671\n", "no frame was found"),
    ],
)
def test_a_broken_file_is_an_error_of_the_inspection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    status, said = inspect(capsys, tmp_path / name, write(tmp_path / "b.traj", calculated(3)))
    assert status == 1
    assert message in said["files"][0]["errors"][0]
    assert said["files"][1]["frames"] == 3


def test_zero_forces_by_symmetry_are_no_placeholders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [ase.build.bulk("Si", a=a) for a in (5.4, 5.4, 5.5)]
    for atoms, value in zip(frames, (-10.0, -10.1, -10.2), strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=value, forces=np.zeros((2, 3)))
    _, said = inspect(capsys, write(tmp_path / "a.traj", frames))
    (error,) = said["files"][0]["errors"]
    assert "copies of an earlier one with another energy" in error
