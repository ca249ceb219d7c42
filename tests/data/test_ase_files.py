"""Files that ASE reads: labels under any key, missing ones, random access, and what is broken."""

from __future__ import annotations

import bz2
import gzip
import lzma
import multiprocessing
import pickle
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.io.trajectory import Trajectory
from waters import calculated, waters, write

from piwsl_plugins.data.readers import DataError, Source, ase_files, open_source
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.units import ENERGY_UNITS, FORCE_UNITS, LENGTH_UNITS


def source(path: Path, **settings: object) -> Source:
    return open_source(path, DataSettings(**settings))  # type: ignore[arg-type]


def energies(opened: Source) -> list[float]:
    return [float(e) for block in opened.blocks() for e in block.labels["energy"]]


@pytest.mark.parametrize("name", ["file.xyz", "file.extxyz", "file.traj", "file.json", "file.db"])
def test_results_of_a_calculator_are_labels_in_every_format(tmp_path: Path, name: str) -> None:
    frames = calculated(3)
    opened = source(
        write(tmp_path / name, frames), energy="energy", forces="forces", stress="stress"
    )
    assert opened.keys["energy"] == opened.keys["forces"] == opened.keys["stress"] == 3
    (block,) = opened.blocks()
    assert block.labels["energy"] == pytest.approx([-14.0, -15.0, -16.0])
    assert block.labels["forces"][2] == pytest.approx(np.full((3, 3), 1.0))
    xx, yy, zz, yz, xz, xy = np.arange(6.0) + 2
    assert block.labels["stress"][2] == pytest.approx(
        np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    )
    assert block.cell is not None
    assert block.cell[0] == pytest.approx(np.diag([9.0] * 3))


def test_energies_and_forces_are_found_under_any_key(tmp_path: Path) -> None:
    frames = waters(5)
    opened = source(
        write(tmp_path / "a.xyz", frames),
        energy="ccsd",
        forces="dft_forces",
        weak_forces="dft_forces",
    )
    (block,) = opened.blocks()
    assert energies(opened) == [atoms.info["ccsd"] for atoms in frames]
    for label in ("forces", "weak_forces"):
        assert block.labels[label][4] == pytest.approx(frames[4].arrays["dft_forces"], abs=1e-8)
    assert block.positions[3] == pytest.approx(frames[3].positions, abs=1e-8)
    assert block.info == {"config_type": ["gas", "liquid", "gas", "liquid", "gas"]}
    assert list(opened.elements()) == [1, 8]


def test_a_sum_of_keys_is_an_energy(tmp_path: Path) -> None:
    frames = waters(2)
    for i, atoms in enumerate(frames):
        atoms.info |= {"hf.energy": -10.0, "mp2_qz.corr": -1.0 - i}
    opened = source(write(tmp_path / "a.xyz", frames), energy="hf.energy + 2 * mp2_qz.corr")
    assert energies(opened) == [-12.0, -14.0]
    assert "hf.energy" not in next(opened.blocks()).info


def test_a_label_that_some_frames_lack_is_nan_there(tmp_path: Path) -> None:
    frames = waters(6)
    for i in (1, 4):
        del frames[i].info["ccsd"]
    del frames[2].arrays["dft_forces"]
    opened = source(write(tmp_path / "a.xyz", frames), energy="ccsd", forces="dft_forces")
    (block,) = opened.blocks()
    assert np.isnan(block.labels["energy"]).tolist() == [False, True, False, False, True, False]
    assert np.isnan(block.labels["forces"]).all(axis=(1, 2)).tolist() == [i == 2 for i in range(6)]
    assert opened.keys == {"ccsd": 4, "dft_forces": 5}
    assert block.array("forces", 2) is None


def test_an_energy_or_forces_of_nan_throughout_are_missing(tmp_path: Path) -> None:
    frames = waters(3)
    frames[1].info["ccsd"] = np.nan
    frames[2].arrays["dft_forces"][:] = np.nan
    opened = source(write(tmp_path / "a.xyz", frames), energy="ccsd", forces="dft_forces")
    assert opened.keys == {"ccsd": 2, "dft_forces": 2}
    (block,) = opened.blocks()
    assert block.has("energy").tolist() == [True, False, True]
    assert block.has("forces").tolist() == [True, True, False]


def test_forces_that_are_nan_in_part_are_refused_with_their_frames(tmp_path: Path) -> None:
    frames = waters(40)
    for atoms in frames[5:35]:
        atoms.arrays["dft_forces"][1, 2] = np.nan
    path = write(tmp_path / "a.xyz", frames)
    with pytest.raises(DataError, match="frame 5, forces: 'dft_forces' is not finite") as error:
        list(source(path, energy="ccsd", forces="dft_forces").blocks())
    assert "frame 14" in str(error.value)
    assert "frame 15" not in str(error.value)
    assert "and more" in str(error.value)
    list(source(path, energy="ccsd").blocks())  # labels that are not read do no harm


def test_bad_frames_of_different_molecules_are_named_together(tmp_path: Path) -> None:
    frames = waters(4)
    frames.insert(2, ase.Atoms("He", [[np.inf, 0.0, 0.0]]))
    frames[0].positions[1, 0] = np.nan
    with pytest.raises(DataError, match="frame 0: position of atom 1") as error:
        list(source(write(tmp_path / "a.xyz", frames)).blocks())
    assert "frame 2: position of atom 0 is [inf" in str(error.value)


def test_an_infinite_energy_is_refused(tmp_path: Path) -> None:
    frames = waters(2)
    frames[1].info["ccsd"] = np.inf
    with pytest.raises(DataError, match="frame 1, energy: 'ccsd' is not finite throughout: inf"):
        energies(source(write(tmp_path / "a.xyz", frames), energy="ccsd"))


@pytest.mark.parametrize(("keys", "chosen"), [(["REF_energy", "my_energy"], 0), (["e_energy"], 0)])
def test_the_only_energy_is_taken_without_a_key(
    tmp_path: Path, keys: list[str], chosen: int
) -> None:
    frames = [ase.Atoms("He", info={key: -float(i) for i, key in enumerate(keys, 1)})]
    assert energies(source(write(tmp_path / "a.xyz", frames))) == [-1.0 - chosen]


def test_two_energies_without_a_key_are_refused_by_name(tmp_path: Path) -> None:
    frames = [ase.Atoms("He", info={"hf_energy": -1.0, "cc_energy": -2.0})]
    with pytest.raises(DataError, match="cc_energy, hf_energy; say which"):
        energies(source(write(tmp_path / "a.xyz", frames)))


@pytest.mark.parametrize(("free", "is_error"), [(-14.0, False), (-14.5, True)])
def test_a_free_energy_is_no_rival_where_it_is_the_energy(
    tmp_path: Path, free: float, is_error: bool
) -> None:
    (atoms,) = calculated(1)
    atoms.calc.results["free_energy"] = free
    opened = source(write(tmp_path / "a.traj", [atoms]))
    if is_error:
        with pytest.raises(DataError, match="energy, free_energy; say which"):
            energies(opened)
    else:
        assert energies(opened) == [-14.0]


def test_a_file_without_energies_has_none(tmp_path: Path) -> None:
    frames = [ase.Atoms("He")]
    (block,) = source(write(tmp_path / "a.xyz", frames)).blocks()
    assert block.labels == {}


def test_a_missing_key_lists_those_that_are_there_and_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", waters(3))
    with pytest.raises(DataError, match=r"no frame has 'cssd' \(did you mean 'ccsd'\?\)") as error:
        energies(source(path, energy="cssd"))
    assert "ccsd (3 frames), dft_forces (3 frames)" in str(error.value)
    with pytest.raises(DataError, match="there is no column 'hf'"):
        energies(source(path, energy="ccsd + hf"))


def test_forces_of_another_shape_are_refused(tmp_path: Path) -> None:
    frames = waters(2)
    frames[1].arrays["dft_forces"] = np.zeros((3, 2))
    with pytest.raises(DataError, match=r"frame 1, forces: .* shape \(3, 2\), expected \(3, 3\)"):
        list(source(write(tmp_path / "a.xyz", frames), forces="dft_forces").blocks())


def test_two_energies_under_one_name_are_refused_where_they_are_read(tmp_path: Path) -> None:
    (atoms,) = calculated(1)
    atoms.info["energy"] = -99.0
    with Trajectory(tmp_path / "a.traj", "w") as file:
        file.write(atoms)
    with pytest.raises(DataError, match="two values named 'energy', -14 and -99"):
        energies(source(tmp_path / "a.traj", energy="energy"))
    assert energies(source(tmp_path / "a.traj", energy="ccsd")) == [-2078.0]


@pytest.mark.parametrize("count", [6, 9])
def test_a_stress_of_six_or_nine_numbers_becomes_a_matrix(tmp_path: Path, count: int) -> None:
    (atoms,) = calculated(1)
    matrix = np.array([[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]])
    atoms.info["my_stress"] = np.arange(1.0, 7.0) if count == 6 else matrix.ravel()
    (block,) = source(
        write(tmp_path / "a.xyz", [atoms]), energy="energy", stress="my_stress"
    ).blocks()
    assert block.labels["stress"][0] == pytest.approx(matrix)


def test_units_are_turned_into_ev_and_angstrom(tmp_path: Path) -> None:
    frames = calculated(2)
    opened = source(
        write(tmp_path / "a.xyz", frames),
        energy="energy",
        forces="forces",
        stress="stress",
        weak_forces="dft_forces",
        energy_unit="hartree",
        length_unit="bohr",
        weak_forces_unit="kcal/mol/angstrom",
    )
    (block,) = opened.blocks()
    hartree, bohr = ENERGY_UNITS["hartree"], LENGTH_UNITS["bohr"]
    assert block.labels["energy"] == pytest.approx([-14.0 * hartree, -15.0 * hartree])
    assert block.labels["forces"][1, 0, 0] == pytest.approx(0.5 * hartree / bohr)
    assert block.labels["stress"][0, 1, 1] == pytest.approx(hartree / bohr**3)
    weak = frames[1].arrays["dft_forces"] * FORCE_UNITS["kcal/mol/angstrom"]
    assert block.labels["weak_forces"][1] == pytest.approx(weak, abs=1e-8)
    assert block.positions[0] == pytest.approx(frames[0].positions * bohr, abs=1e-8)
    assert block.cell is not None
    assert block.cell[0, 0, 0] == pytest.approx(9.0 * bohr)


def test_blocks_hold_neighbours_of_the_same_atoms_and_no_more_than_asked_for(
    tmp_path: Path,
) -> None:
    frames = [*waters(5), ase.Atoms("He", info={"ccsd": -1.0}), *waters(3)]
    opened = source(write(tmp_path / "a.xyz", frames), energy="ccsd")
    assert [len(block) for block in opened.blocks(2)] == [2, 2, 1, 1, 2, 1]
    places = np.concatenate([block.places for block in opened.blocks(2)])
    assert places.tolist() == list(range(9))


def test_a_large_system_makes_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("piwsl_plugins.data.readers.frames.MAX_ATOMS", 7)
    opened = source(write(tmp_path / "a.xyz", waters(5)))
    assert [len(block) for block in opened.blocks()] == [2, 2, 1]


def test_isolated_atoms_and_other_info_stay(tmp_path: Path) -> None:
    atom = ase.Atoms("O", info={"ccsd": -2040.0, "config_type": "IsolatedAtom"})
    atom.info |= {"config_weight": 0.5, "smiles": "[O]", "charge": 0}
    (block,) = source(write(tmp_path / "a.xyz", [atom]), energy="ccsd").blocks()
    assert block.info == {
        "config_type": ["IsolatedAtom"],
        "config_weight": [0.5],
        "smiles": ["[O]"],
        "charge": [0],
    }
    assert block.cell is None


@pytest.mark.parametrize("name", ["a.xyz", "a.traj", "a.xyz.gz", "a.xyz.bz2", "a.xyz.xz"])
def test_a_frame_by_its_number_is_the_same_as_in_the_blocks(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ase_files, "WINDOW", 4)
    monkeypatch.setattr(ase_files, "WINDOWS", 2)
    frames = [*waters(9), ase.Atoms("He", info={"ccsd": -1.0}), *waters(21, seed=1)]
    opened = source(write(tmp_path / name, frames), energy="ccsd")
    expected = energies(opened)
    assert expected == [atoms.info["ccsd"] for atoms in frames]
    order = np.random.default_rng(0).permutation(31).tolist()
    for number in [*order, *range(31), 30, 0]:
        block = opened.frame(number)
        assert block.places.tolist() == [number]
        assert block.labels["energy"].tolist() == [expected[number]]
        assert block.positions[0] == pytest.approx(frames[number].positions, abs=1e-8)


def test_there_is_no_frame_beyond_the_last(tmp_path: Path) -> None:
    opened = source(write(tmp_path / "a.xyz", waters(2)))
    for number in (2, -1):
        with pytest.raises(IndexError, match=f"no frame {number} among 2"):
            opened.frame(number)


def _energy_in_another_process(opened: Source, number: int) -> float:
    return float(opened.frame(number).labels["energy"][0])


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("a.xyz", "fork"),
        ("a.xyz.gz", "fork"),
        ("a.traj", "fork"),
        ("a.db", "fork"),
        ("a.xyz.gz", "spawn"),
    ],
)
# Python 3.12 and later warn of forks beside other threads, here tqdm's
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_other_processes_may_read_frames_of_an_open_source(
    tmp_path: Path, name: str, method: str
) -> None:
    opened = source(write(tmp_path / name, calculated(8)), energy="energy")
    expected = [_energy_in_another_process(opened, i) for i in range(8)]
    with multiprocessing.get_context(method).Pool(1) as pool:
        found = pool.starmap(_energy_in_another_process, [(opened, i) for i in range(8)])
    assert found == expected


def test_a_pickled_source_reads_on(tmp_path: Path) -> None:
    opened = source(write(tmp_path / "a.xyz.gz", waters(4)), energy="ccsd")
    opened.frame(3)
    again = pickle.loads(pickle.dumps(opened))
    assert again.frame(2).labels["energy"] == opened.frame(2).labels["energy"]


def test_a_file_that_changes_under_the_reader_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", waters(4))
    opened = source(path, energy="ccsd")
    assert len(opened) == 4
    write(path, waters(3, seed=5))
    with pytest.raises(DataError, match="has changed since it was opened"):
        opened.frame(1)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    for name in ("a.xyz", "a.traj", "a.db", "a.json", "a.csv"):
        (tmp_path / name).touch()
        with pytest.raises(DataError, match=r"a\.\w+: .*(empty|no rows)"):
            len(source(tmp_path / name))


@pytest.mark.parametrize(
    ("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_a_broken_compressed_file_is_refused(tmp_path: Path, ending: str, pack: object) -> None:
    plain = write(tmp_path / "a.xyz", waters(200)).read_bytes()
    packed = pack(plain)  # type: ignore[operator]
    path = tmp_path / f"a.xyz.{ending}"
    for broken in (packed[: len(packed) // 2], packed[:3], b"no such thing", b""):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=f"a.xyz.{ending}"):
            list(source(path).blocks())


def test_a_file_of_no_known_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.unknown").write_text("lorem ipsum\n")
    with pytest.raises(DataError, match="not a format that can be read"):
        source(tmp_path / "notes.unknown")
    with pytest.raises(DataError, match="there is no such file"):
        source(tmp_path / "nothing.xyz")
    with pytest.raises(DataError, match="not a format that can be read"):
        source(tmp_path)


def test_a_broken_file_of_another_format_names_frame_and_format(tmp_path: Path) -> None:
    path = write(tmp_path / "a.traj", calculated(3))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"a.traj: ASE cannot read frame 2 of this file \(traj\)"):
        list(source(path).blocks())


def test_a_name_with_an_at_sign_is_a_name(tmp_path: Path) -> None:
    assert len(source(write(tmp_path / "b.traj", waters(3)).rename(tmp_path / "a@1.traj"))) == 3


def test_the_shipped_data_are_read_as_ase_reads_them(repo_root: Path) -> None:
    folder = repo_root / "piwsl_plugins" / "datasets" / "formaldehyde_ccsdt_cbs"
    for path in sorted(folder.glob("*.xyz")):
        frames = ase.io.read(path, ":")
        opened = source(path)
        assert energies(opened) == [atoms.info["REF_energy"] for atoms in frames]
        assert sum(len(block) for block in opened.blocks()) == len(frames) == len(opened)
        if "REF_forces" in opened.keys:
            have = sum("REF_forces" in atoms.arrays for atoms in frames)
            assert opened.keys["REF_forces"] == have
