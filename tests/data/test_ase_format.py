"""``ase.io.read`` and ``ase gui`` read ANI and SPICE files; other files are what they were."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ase.build
import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.io.formats import UnknownFileTypeError, filetype
from hdf5_files import write

from piwsl_plugins.data import ase_format
from piwsl_plugins.data.readers import DataError

HARTREE, BOHR = units.Hartree, units.Bohr


@pytest.fixture(scope="module")
def ani(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    path = tmp_path_factory.mktemp("ani") / "ani.h5"
    return path, write(path, "ani")


@pytest.fixture(scope="module")
def spice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    path = tmp_path_factory.mktemp("spice") / "spice.hdf5"
    return path, write(path, "spice")


def energies(frames: list[Atoms]) -> list[float]:
    return [atoms.get_potential_energy() for atoms in frames]


def test_all_columns_of_ani_stand_in_the_frame_in_ev(ani: tuple[Path, dict]) -> None:
    path, written = ani
    assert filetype(str(path)) == ase_format.NAME
    atoms = ase.io.read(path, index=1)
    columns = written["C1H4"]
    assert atoms.get_chemical_formula() == "CH4"
    np.testing.assert_array_equal(atoms.positions, columns["coordinates"][1])
    assert atoms.calc is None  # five energies, none of them chosen
    assert atoms.info.pop("group") == "C1H4"
    given = ("wb97x_dz.energy", "hf_qz.energy", "mp2_tz.corr_energy", "mp2_qz.corr_energy")
    assert atoms.info == {name: pytest.approx(HARTREE * columns[name][1]) for name in given}
    for name in ("wb97x_dz.forces", "wb97x_tz.forces"):
        np.testing.assert_allclose(atoms.arrays[name], HARTREE * columns[name][1], rtol=1e-6)
    assert "wb97x_tz.forces" not in ase.io.read(path, index=0).arrays


def test_an_energy_that_is_asked_for_is_the_calculators_and_so_are_its_forces(
    ani: tuple[Path, dict],
) -> None:
    path, written = ani
    atoms = ase.io.read(path, index=6, energy="wb97x_dz.energy")
    columns = written["H2O1"]
    assert atoms.get_potential_energy() == pytest.approx(HARTREE * columns["wb97x_dz.energy"][1])
    np.testing.assert_allclose(
        atoms.get_forces(), HARTREE * columns["wb97x_dz.forces"][1], rtol=1e-6
    )
    assert "wb97x_dz.energy" not in atoms.info
    assert "wb97x_dz.forces" not in atoms.arrays
    sums = ase.io.read(path, index=6, energy="hf_qz.energy + mp2_qz.corr_energy")
    assert set(sums.calc.results) == {"energy"}
    missing = ase.io.read(path, index=6, energy="ccsd(t)_cbs.energy", forces="wb97x_tz.forces")
    assert set(missing.calc.results) == {"forces"}
    assert ase.io.read(path, index=6, energy="ccsd(t)_cbs.energy").calc is None


def test_spice_gives_its_forces_and_its_molecule(spice: tuple[Path, dict]) -> None:
    path, written = spice
    atoms = ase.io.read(path, energy="dft_total_energy")
    columns = written["H3N1"]
    assert atoms.info["smiles"] == "smiles of H3N1"
    np.testing.assert_allclose(atoms.positions, BOHR * columns["conformations"][0], rtol=1e-6)
    np.testing.assert_allclose(
        atoms.get_forces(), -HARTREE / BOHR * columns["dft_total_gradient"][0], rtol=1e-6
    )
    other = ase.io.read(path, energy="dft_total_energy", energy_unit="eV", length_unit="angstrom")
    assert other.get_potential_energy() == pytest.approx(columns["dft_total_energy"][0])
    np.testing.assert_allclose(other.positions, columns["conformations"][0], rtol=1e-6)


@pytest.mark.parametrize("window", [2, 256])
@pytest.mark.parametrize("index", [":", "3:9", "::3", "::-1", "-4:", "20:", -13, 12, "11:2:-4"])
def test_any_index_gives_those_frames(
    ani: tuple[Path, dict], index: str | int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ase_format, "WINDOW", window)
    path, written = ani
    all_energies = np.concatenate([columns["hf_qz.energy"] for columns in written.values()])
    chosen = ase.io.read(path, index=index, energy="hf_qz.energy")
    chosen = [chosen] if isinstance(chosen, Atoms) else chosen
    picked = eval(f"all_energies[{index}]", {"all_energies": all_energies})
    np.testing.assert_allclose(energies(chosen), HARTREE * np.atleast_1d(picked), rtol=1e-14)


def test_frames_come_one_by_one_and_by_the_at_sign(ani: tuple[Path, dict]) -> None:
    stream = ase.io.iread(f"{ani[0]}@2:5", energy="hf_qz.energy")
    assert len(list(stream)) == 3


def test_the_frames_can_be_written_again(ani: tuple[Path, dict], tmp_path: Path) -> None:
    frames = ase.io.read(ani[0], index=":", energy="wb97x_dz.energy")
    ase.io.write(tmp_path / "out.xyz", frames)
    again = ase.io.read(tmp_path / "out.xyz", index=":")
    np.testing.assert_allclose(energies(again), energies(frames))
    assert again[0].info["hf_qz.energy"] == pytest.approx(frames[0].info["hf_qz.energy"])
    assert again[0].info["group"] == "C1H4"


def test_a_key_that_is_not_there_is_named(ani: tuple[Path, dict]) -> None:
    with pytest.raises(DataError, match=r"there is no column 'energy'"):
        ase.io.read(ani[0], energy="energy")


def test_ase_gui_reads_them(spice: tuple[Path, dict]) -> None:
    pytest.importorskip("tkinter")
    from ase.gui.images import Images

    images = Images()
    images.read([f"{spice[0]}@:"])
    assert len(images) == 13


def mace_file(path: Path, libver: str) -> Path:
    with h5py.File(path, "w", libver=libver) as file:
        file["config_batch_0/config_0/atomic_numbers"] = [1, 1]
        file["config_batch_0/config_0/positions"] = np.zeros((2, 3))
    return path


def test_maces_own_files_are_as_unknown_as_before(tmp_path: Path) -> None:
    path = mace_file(tmp_path / "mace.h5", "earliest")
    assert filetype(str(path)) == "h5"
    for file in (path, mace_file(tmp_path / "new.h5", "latest")):
        with pytest.raises(UnknownFileTypeError):
            ase.io.read(file)


def test_another_hdf5_file_is_unknown(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "file.nc", "w") as file:
        file["group/x"] = np.zeros(3)
    with pytest.raises(UnknownFileTypeError, match=r"neither of ANI's layout .* nor of SPICE's"):
        ase.io.read(tmp_path / "file.nc")


def test_a_file_that_another_plugin_knows_by_its_suffix_stays_that_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ase.io import formats

    water = ase.build.molecule("H2O")

    class Plugin:
        def read(self, filename: str, index: slice) -> list[Atoms]:
            return [water][index]

    monkeypatch.setitem(formats.extension2format, "special", Plugin())
    with h5py.File(tmp_path / "file.special", "w") as file:
        file["x"] = np.zeros(3)
    assert ase.io.read(tmp_path / "file.special") == water


def test_importing_ase_io_imports_neither_h5py_nor_torch_nor_our_readers() -> None:
    code = (
        "import sys, ase.io\n"
        "assert 'piwsl-hdf5' in ase.io.formats.ioformats\n"
        "ours = {name for name in sys.modules if name.startswith('piwsl')}\n"
        "print(*sorted({'h5py', 'torch', 'mace', 'nequip', 'tqdm'} & set(sys.modules) | ours))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = ["piwsl_plugins", "piwsl_plugins.data", "piwsl_plugins.data.ase_format"]
    assert done.stdout.split() == expected
