"""ANI and SPICE files: every number comes back, in eV and angstrom, by blocks and by itself."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import units
from hdf5_files import KEYS, LAYOUTS, SIZES, change, write
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.readers import DataError, Source, open_source
from piwsl_plugins.data.readers.ani import AniSource
from piwsl_plugins.data.readers.hdf5 import Hdf5Source
from piwsl_plugins.data.readers.spice import SpiceSource
from piwsl_plugins.data.settings import DataSettings

HARTREE, BOHR = units.Hartree, units.Bohr
PLACES = {"C1H4": range(5), "H2O1": range(5, 12), "H3N1": range(12, 13)}

# Python 3.12 and later: other tests' threads, which the children do not use.
FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def ani(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    path = tmp_path_factory.mktemp("ani") / "without_suffix"
    return path, write(path, "ani")


@pytest.fixture(scope="module")
def spice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    path = tmp_path_factory.mktemp("spice") / "spice.xyz"
    return path, write(path, "spice", chunks=True, compression="gzip")


def whole(source: Source, label: str, size: int = 1024) -> dict[str, np.ndarray]:
    found: dict[str, list[np.ndarray]] = {}
    for block in source.blocks(size):
        assert len(block) <= size
        found.setdefault(block.group, []).append(block.labels[label])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def same(first: Block, second: Block) -> None:
    assert (first.source, first.group) == (second.source, second.group)
    assert first.places.tolist() == second.places.tolist()
    assert dict(first.info) == dict(second.info)
    np.testing.assert_array_equal(first.numbers, second.numbers)
    np.testing.assert_array_equal(first.positions, second.positions)
    assert first.labels.keys() == second.labels.keys()
    for name in first.labels:
        np.testing.assert_array_equal(first.labels[name], second.labels[name])


def test_ani_is_in_hartree_and_angstrom(ani: tuple[Path, dict]) -> None:
    path, written = ani
    source = open_source(path, DataSettings(energy="wb97x_dz.energy", forces="wb97x_dz.forces"))
    assert isinstance(source, AniSource)
    assert len(source) == 13
    assert source.elements().tolist() == [1, 6, 7, 8]
    for block in source.blocks():
        columns = written[block.group]
        assert block.places.tolist() == list(PLACES[block.group])
        np.testing.assert_array_equal(block.numbers, columns["atomic_numbers"])
        np.testing.assert_array_equal(block.positions, columns["coordinates"])
        np.testing.assert_allclose(
            block.labels["energy"], HARTREE * columns["wb97x_dz.energy"], rtol=1e-15
        )
        np.testing.assert_allclose(
            block.labels["forces"], HARTREE * columns["wb97x_dz.forces"].astype(float), rtol=1e-15
        )
        assert block.positions.dtype == block.labels["forces"].dtype == np.float64
        assert (block.cell, block.pbc, dict(block.info)) == (None, None, {})


def test_spice_is_in_hartree_and_bohr_and_its_forces_are_minus_the_gradient(
    spice: tuple[Path, dict],
) -> None:
    path, written = spice
    source = open_source(path, DataSettings(energy="dft_total_energy", forces="forces"))
    assert isinstance(source, SpiceSource)
    for block in source.blocks():
        columns = written[block.group]
        np.testing.assert_allclose(block.positions, BOHR * columns["conformations"], rtol=1e-7)
        np.testing.assert_allclose(
            block.labels["forces"], -HARTREE / BOHR * columns["dft_total_gradient"], rtol=1e-6
        )
        assert block.info["smiles"] == [f"smiles of {block.group}"] * len(block)
        assert block.atoms(0).info["subset"] == f"subset of {block.group}"
    written_out = DataSettings(energy="dft_total_energy", forces="-dft_total_gradient")
    same(open_source(path, written_out).frame(3), source.frame(3))


def test_units_of_the_settings_come_before_those_of_the_format(ani: tuple[Path, dict]) -> None:
    path, written = ani
    settings = DataSettings(
        energy="wb97x_dz.energy",
        low_energy="hf_qz.energy",
        forces="wb97x_dz.forces",
        weak_forces="wb97x_dz.forces",
        low_forces="wb97x_dz.forces",
        energy_unit="kcal/mol",
        length_unit="nm",
        weak_forces_unit="eV/angstrom",
    )
    block = open_source(path, settings).frame(0)
    columns, kcal = written["C1H4"], units.kcal / units.mol
    np.testing.assert_allclose(block.positions[0], 10.0 * columns["coordinates"][0], rtol=1e-7)
    assert block.scalar("energy", 0) == pytest.approx(kcal * columns["wb97x_dz.energy"][0])
    assert block.scalar("low_energy", 0) == pytest.approx(kcal * columns["hf_qz.energy"][0])
    forces = columns["wb97x_dz.forces"][0].astype(float)
    for name, unit in (("forces", kcal / 10), ("low_forces", kcal / 10), ("weak_forces", 1.0)):
        np.testing.assert_allclose(block.array(name, 0), unit * forces)
    given_unit = DataSettings(forces="wb97x_dz.forces", energy="hf_qz.energy", forces_unit="eV/nm")
    np.testing.assert_allclose(
        open_source(path, given_unit).frame(0).array("forces", 0), forces / 10
    )


def test_a_composite_energy_is_a_label_and_missing_where_a_part_is(ani: tuple[Path, dict]) -> None:
    path, written = ani
    key = (
        "hf_qz.energy + helgaker(mp2_tz.corr_energy, mp2_qz.corr_energy, 3, 4)"
        " + 0.5*(ccsd(t)_cbs.energy - hf_qz.energy)"
    )
    found = whole(open_source(path, DataSettings(energy=key)), "energy")
    for name, c in written.items():
        limit = (64 * c["mp2_qz.corr_energy"] - 27 * c["mp2_tz.corr_energy"]) / 37
        wanted = c["hf_qz.energy"] + limit + 0.5 * (c["ccsd(t)_cbs.energy"] - c["hf_qz.energy"])
        np.testing.assert_allclose(found[name], HARTREE * wanted, rtol=1e-12)
        assert np.isnan(found[name]).tolist() == [i % 2 == 1 for i in range(len(wanted))]


def test_a_missing_label_is_none_and_never_zero(ani: tuple[Path, dict]) -> None:
    settings = DataSettings(energy="ccsd(t)_cbs.energy", forces="wb97x_tz.forces")
    source = open_source(ani[0], settings)
    first, second = source.frame(0), source.frame(1)
    assert (first.scalar("energy", 0) is None, first.array("forces", 0) is None) == (False, True)
    assert (second.scalar("energy", 0) is None, second.array("forces", 0) is None) == (True, False)
    frame = next(iter(second.frames()))
    assert (frame.energy, frame.name) == (None, f"{ani[0]}, frame 1, C1H4")


@pytest.mark.parametrize("layout", LAYOUTS)
@given(size=st.integers(1, 9))
def test_blocks_of_any_size_and_single_frames_are_the_same_frames(
    layout: str, size: int, ani: tuple[Path, dict], spice: tuple[Path, dict]
) -> None:
    path = {"ani": ani, "spice": spice}[layout][0]
    source = open_source(path, DataSettings(**KEYS[layout]))
    blocks = list(source.blocks(size))
    assert np.concatenate([block.places for block in blocks]).tolist() == list(range(13))
    for block in blocks:
        assert len(block) <= size
        for number, place in enumerate(block.places):
            same(block.take([number]), source.frame(int(place)))


def test_labels_are_counted_by_column(ani: tuple[Path, dict], spice: tuple[Path, dict]) -> None:
    counts = open_source(ani[0]).keys
    assert counts == {
        "ccsd(t)_cbs.energy": 8,
        "hf_qz.energy": 13,
        "mp2_qz.corr_energy": 13,
        "mp2_tz.corr_energy": 13,
        "wb97x_dz.energy": 13,
        "wb97x_dz.forces": 13,
        "wb97x_tz.forces": 10,
    }
    assert open_source(spice[0]).keys == dict.fromkeys(
        ("dft_total_energy", "formation_energy", "dft_total_gradient", "forces"), 13
    )


def test_a_group_without_a_column_lacks_that_label(tmp_path: Path) -> None:
    path = tmp_path / "ani"
    write(path, "ani")
    for name in ("wb97x_dz.energy", "wb97x_dz.forces"):
        change(path, "H2O1", name, None)
    settings = DataSettings(energy="wb97x_dz.energy + hf_qz.energy", forces="wb97x_dz.forces")
    source = open_source(path, settings)
    for block in source.blocks():
        expected = block.group != "H2O1"
        assert block.has("energy").all() == block.has("forces").all() == expected
        assert block.has("energy").any() == block.has("forces").any() == expected
    assert source.keys["wb97x_dz.forces"] == 6


def test_the_only_energy_needs_no_key(tmp_path: Path) -> None:
    path = tmp_path / "spice"
    written = write(path, "spice")
    for name in SIZES:
        change(path, name, "formation_energy", None)
    block = open_source(path).frame(12)
    assert list(block.labels) == ["energy"]
    assert block.scalar("energy", 0) == pytest.approx(
        HARTREE * written["H3N1"]["dft_total_energy"][0]
    )


def test_several_energies_without_a_key_are_listed_with_their_counts(
    ani: tuple[Path, dict],
) -> None:
    with pytest.raises(DataError, match=r"5 energies to choose from, of 13 frames") as error:
        open_source(ani[0]).frame(0)
    assert "\n  ccsd(t)_cbs.energy: 8 frames" in str(error.value)
    assert "\n  hf_qz.energy: 13 frames" in str(error.value)


@FORKS
def test_a_source_goes_to_other_processes(ani: tuple[Path, dict]) -> None:
    source = open_source(ani[0], DataSettings(**KEYS["ani"]))
    here = [source.frame(number) for number in range(13)]
    for copied in (
        pickle.loads(pickle.dumps(source)),
        pickle.loads(pickle.dumps(AniSource(ani[0], source.settings))),
    ):
        same(copied.frame(4), here[4])
    same(pickle.loads(pickle.dumps(here[3])), here[3])
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for ours, theirs in zip(here, pool.map(source.frame, range(13)), strict=True):
            same(ours, theirs)
    same(source.frame(6), here[6])


@FORKS
def test_a_fork_opens_the_file_for_itself(ani: tuple[Path, dict]) -> None:
    source = open_source(ani[0], DataSettings(**KEYS["ani"]))
    assert isinstance(source, Hdf5Source)
    source.frame(0)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_opened_anew, (source,))
    source.close()
    assert len(source.frame(0)) == 1


def _opened_anew(source: Hdf5Source) -> bool:
    before = source._handle._process
    source.frame(0)
    return before != source._handle._process


@pytest.mark.parametrize("number", [-1, 13])
def test_a_frame_that_is_not_there_is_an_index_error(ani: tuple[Path, dict], number: int) -> None:
    with pytest.raises(IndexError, match=f"frame {number}, expected 0 to 12"):
        open_source(ani[0], DataSettings(**KEYS["ani"])).frame(number)


def test_blocks_of_no_frames_are_refused(ani: tuple[Path, dict]) -> None:
    with pytest.raises(ValueError, match="size: got 0"):
        next(open_source(ani[0], DataSettings(**KEYS["ani"])).blocks(0))


def test_a_large_group_comes_in_slices_and_a_large_molecule_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ani"
    write(path, "ani", sizes={"A": (3, 40), "B": (200, 2)})
    monkeypatch.setattr("piwsl_plugins.data.readers.hdf5.LARGEST_BLOCK", 60)
    lengths = [len(block) for block in open_source(path, DataSettings(**KEYS["ani"])).blocks()]
    assert lengths == [20, 20, 1, 1]


def test_memory_does_not_grow_with_the_conformers_of_a_group(tmp_path: Path) -> None:
    peaks = []
    for n_frames in (100_000, 300_000):
        path = tmp_path / str(n_frames)
        with h5py.File(path, "w") as file:
            file["H2O1/atomic_numbers"] = [1, 1, 8]
            file["H2O1/hf_dz.energy"] = np.zeros(n_frames)
            for name in ("coordinates", "wb97x_dz.forces"):
                file["H2O1"][name] = np.ones((n_frames, 3, 3), "f4")
        source = open_source(path, DataSettings(energy="hf_dz.energy", forces="wb97x_dz.forces"))
        tracemalloc.start()
        assert sum(len(block) for block in source.blocks()) == n_frames
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 15.0  # MB; positions and forces alone are 43 in eV/angstrom


def test_maces_own_hdf5_files_are_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "mace.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("config_batch_0/config_0")
        group["atomic_numbers"], group["positions"] = [1, 1], np.zeros((2, 3))
    assert not AniSource.recognises(path)
    assert not SpiceSource.recognises(path)
    with pytest.raises(DataError, match="not a format that can be read; known are ANI HDF5, SPICE"):
        open_source(path)


def test_the_first_groups_may_be_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "ani"
    write(path, "ani")
    with h5py.File(path, "a") as file:
        file["A_note"] = "made by us"
        file.create_group("A_void")
    assert AniSource.recognises(path)
    assert not SpiceSource.recognises(path)
    assert len(open_source(path)) == 13


def test_big_endian_and_double_precision_numbers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ani"
    written = write(path, "ani")
    columns = written["H2O1"]
    change(path, "H2O1", "coordinates", columns["coordinates"].astype(">f8"))
    change(path, "H2O1", "atomic_numbers", columns["atomic_numbers"].astype(">i4"))
    block = open_source(path, DataSettings(**KEYS["ani"])).frame(6)
    np.testing.assert_array_equal(block.positions[0], columns["coordinates"][1])
    assert block.numbers.tolist() == [1, 1, 8]


def test_importing_the_readers_brings_neither_torch_nor_a_host() -> None:
    code = (
        "import sys, piwsl_plugins.data.readers, piwsl_plugins.data.readers.ani\n"
        "print(*sorted({'torch', 'mace', 'nequip', 'e3nn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
