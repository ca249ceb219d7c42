"""The large files are of the two layouts, their forces belong to their energies."""

from __future__ import annotations

from pathlib import Path

import h5py
import make_large_hdf5
import numpy as np
import pytest
from ase import units
from make_large_hdf5 import MOLECULES, Molecule

from piwsl_plugins.data.readers import open_source
from piwsl_plugins.data.readers.ani import AniSource
from piwsl_plugins.data.readers.spice import SpiceSource
from piwsl_plugins.data.settings import DataSettings

ANI = DataSettings(energy="wb97x_dz.energy", forces="wb97x_dz.forces")
SPICE = DataSettings(energy="dft_total_energy", forces="forces")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large")
    patch = pytest.MonkeyPatch()
    patch.setattr(make_large_hdf5, "SLICE", 30)
    assert make_large_hdf5.main(["-o", str(path), "-n", "1003"]) == 0
    patch.undo()
    return path


def test_both_layouts_are_read_with_the_labels_that_the_originals_have(folder: Path) -> None:
    ani, spice = open_source(folder / "ani.h5", ANI), open_source(folder / "spice.h5", SPICE)
    assert isinstance(ani, AniSource)
    assert isinstance(spice, SpiceSource)
    assert len(ani) == len(spice) == 1003
    assert ani.elements().tolist() == spice.elements().tolist() == [1, 6, 7, 8]
    counts = ani.keys
    expensive = {name: count for name, count in counts.items() if not name.startswith("wb97x")}
    assert len(expensive) == 10
    assert len(set(expensive.values())) == 1
    assert 60 < counts["ccsd(t)_cbs.energy"] < 150
    assert counts["wb97x_dz.energy"] == counts["wb97x_dz.forces"] == 1003
    assert 970 < counts["wb97x_tz.energy"] == counts["wb97x_tz.forces"] < 1003
    assert set(spice.keys.values()) == {1003}
    with h5py.File(folder / "spice.h5") as file:
        assert len(file) == 21
        assert file["ch4-000000/conformations"].shape == (50, 5, 3)


@pytest.mark.parametrize("name", MOLECULES)
def test_forces_are_the_slope_of_the_energy(name: str) -> None:
    molecule = Molecule.of(name)
    positions = molecule.rattled(2, np.random.default_rng(3))
    direction = np.random.default_rng(4).normal(size=positions.shape)
    step = 1e-4
    ahead, _ = molecule.bond_energies(positions + step * direction)
    behind, _ = molecule.bond_energies(positions - step * direction)
    _, forces = molecule.bond_energies(positions)
    slopes = -(forces * direction).sum(axis=(1, 2))
    np.testing.assert_allclose((ahead - behind) / (2 * step), slopes, rtol=1e-4, atol=1e-6)


def test_every_molecule_is_connected_and_at_rest_in_the_set() -> None:
    for name in MOLECULES:
        molecule = Molecule.of(name)
        reached = {0}
        for _ in molecule.numbers:
            reached |= {int(end) for bond in molecule.bonds if reached & set(bond) for end in bond}
        assert len(reached) == len(molecule.numbers), name
        _, forces = molecule.bond_energies(molecule.positions[None])
        np.testing.assert_allclose(forces, 0.0, atol=1e-12)


def test_the_expensive_energies_extrapolate_to_their_limit(folder: Path) -> None:
    limit = "hf_qz.energy + helgaker(mp2_tz.corr_energy, mp2_qz.corr_energy, 3, 4) / 0.95"
    keys = DataSettings(energy=limit, low_energy="ccsd(t)_cbs.energy")
    for block in open_source(folder / "ani.h5", keys).blocks():
        both = block.has("energy")
        assert both.tolist() == block.has("low_energy").tolist()
        gap = (block.labels["energy"] - block.labels["low_energy"])[both]
        # What Hartree-Fock lacks in the quadruple-zeta set, 1.25e-5 of itself.
        np.testing.assert_allclose(gap, -1.25e-5 * block.labels["energy"][both], rtol=0.02)


def test_spice_is_the_same_physics_in_bohr(folder: Path) -> None:
    block = open_source(folder / "spice.h5", SPICE).frame(0)
    molecule = Molecule.of("C2H2")
    assert block.group == "c2h2-000003"
    energies, forces = molecule.bond_energies(block.positions)
    total = units.Hartree * (energies[0] + molecule.atoms_energy)
    assert block.scalar("energy", 0) == pytest.approx(total, abs=1e-4)
    np.testing.assert_allclose(block.array("forces", 0), units.Hartree * forces[0], atol=1e-4)


def test_a_seed_makes_the_same_numbers_and_another_one_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_large_hdf5, "SLICE", 30)
    for seed in ("1", "2"):
        words = ["-o", str(tmp_path / seed), "-n", "1003", "--layout", "ani", "--seed", seed]
        assert make_large_hdf5.main(words) == 0
        assert not (tmp_path / seed / "spice.h5").exists()
    first, again, other = (
        open_source(path / "ani.h5", ANI).frame(100)
        for path in (folder, tmp_path / "1", tmp_path / "2")
    )
    np.testing.assert_array_equal(first.positions, again.positions)
    np.testing.assert_array_equal(first.labels["energy"], again.labels["energy"])
    assert not np.allclose(first.positions, other.positions)


def test_files_that_exist_are_kept(folder: Path) -> None:
    before = (folder / "ani.h5").read_bytes()
    with pytest.raises(SystemExit, match=r"ani\.h5, .*spice\.h5 exist; --force overwrites them"):
        make_large_hdf5.main(["-o", str(folder), "-n", "1003"])
    assert (folder / "ani.h5").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["ani.h5", "spice.h5"]


def test_too_few_conformers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make_large_hdf5.main(["-o", str(tmp_path), "-n", "3"])
    assert "-n: got 3, expected at least 25" in capsys.readouterr().err
