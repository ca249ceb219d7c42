"""The periodic set is what its potential says, comes again by its seed, and is not written over."""

from __future__ import annotations

from pathlib import Path

import ase.io
import make_emt_alloy
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from benchmark_frames import free_atoms, read_frames
from benchmark_options import options, split_name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("emt")
    patch = pytest.MonkeyPatch()
    patch.setattr(make_emt_alloy, "EQUILIBRATION", 20)
    patch.setattr(make_emt_alloy, "SNAPSHOTS", 2)
    words = ["-o", str(path), "--train", "3", "--test", "2", "--test-hot", "1"]
    assert make_emt_alloy.main(words) == 0
    patch.undo()
    return path


def test_labels_are_those_of_the_potential(folder: Path) -> None:
    frames = ase.io.read(folder / "train.xyz", index=":")
    assert len(frames) == 3
    atoms: Atoms = frames[0].copy()
    assert sorted(atoms.symbols.formula.count().items()) == [("Au", 16), ("Cu", 16)]
    assert atoms.pbc.all()
    energies = []
    for step in (-1e-4, 1e-4):
        moved = atoms.copy()
        moved.positions[0, 1] += step
        moved.calc = EMT()
        energies.append(moved.get_potential_energy())
    slope = -(energies[1] - energies[0]) / 2e-4
    assert atoms.arrays["REF_forces"][0, 1] == pytest.approx(slope, abs=1e-4)
    energies = []
    for step in (-1e-5, 1e-5):
        moved = atoms.copy()
        moved.set_cell(moved.cell @ (np.eye(3) * (1.0 + step)), scale_atoms=True)
        moved.calc = EMT()
        energies.append(moved.get_potential_energy())
    trace = (energies[1] - energies[0]) / 2e-5 / atoms.get_volume()
    assert np.trace(atoms.info["REF_stress"].reshape(3, 3)) == pytest.approx(trace, abs=1e-4)


def test_trajectories_differ_and_a_seed_makes_them_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_emt_alloy, "EQUILIBRATION", 20)
    monkeypatch.setattr(make_emt_alloy, "SNAPSHOTS", 2)
    again = make_emt_alloy.trajectory((1, 0, 0), 300.0)
    first = ase.io.read(folder / "train.xyz", index=":2")
    for ours, theirs in zip(again, first, strict=True):
        np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-7)
    other = ase.io.read(folder / "test.xyz", index=0)
    assert not np.allclose(other.cell.array, first[0].cell.array)
    assert ase.io.read(folder / "test_hot.xyz", index=0).info["config_type"] == "1200K"


def test_existing_files_are_kept(folder: Path) -> None:
    before = (folder / "train.xyz").read_bytes()
    with pytest.raises(SystemExit, match="--force overwrites them"):
        make_emt_alloy.main(["-o", str(folder)])
    assert (folder / "train.xyz").read_bytes() == before


def test_the_benchmark_reads_it_as_it_is(folder: Path) -> None:
    found = options([str(folder / "benchmark.yaml"), "--output", "out", "--epochs", "1"])
    assert len(read_frames(found.train)) == 3
    assert [split_name(word)[0] for word in found.test] == ["test", "test_hot"]
    assert free_atoms(found.isolated_atoms) == {"Cu": 3.51, "Au": 3.8}
