"""The student's frames: reference energies are kept, everything else is the weak label."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from piwsl_plugins.weak.distil import assemble
from piwsl_plugins.weak.files import write_frames


def frame(number: int, *, reference: bool, forces: bool = False) -> Atoms:
    atoms = Atoms("H2", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.7 + 0.01 * number]])
    atoms.info |= {"target_energy": -10.0 - number, "forces_std": 0.1, "weak_energy": -3.0}
    atoms.arrays["target_forces"] = np.full((2, 3), float(number))
    atoms.info["config_weight"] = 0.5
    if reference:
        atoms.info["REF_energy"] = -20.0 - number
    else:
        atoms.info |= {"sampled_by": "md", "sampled_temperature": 300.0}
    if forces:
        atoms.arrays["REF_forces"] = np.full((2, 3), -float(number))
    return atoms


def make(tmp_path: Path, *, train_on_forces: bool = False, weak: bool = True) -> tuple[list, list]:
    files = {
        "train": [frame(number, reference=True, forces=number == 0) for number in range(4)],
        "valid": [frame(9, reference=True)],
        "weak": [frame(100 + number, reference=False) for number in range(10)],
    }
    for name, frames in files.items():
        write_frames(tmp_path / f"{name}.xyz", frames)
    found = assemble(
        tmp_path / "train.xyz",
        tmp_path / "valid.xyz",
        tmp_path / "weak.xyz" if weak else None,
        tmp_path / "out_train.xyz",
        tmp_path / "out_valid.xyz",
        valid_fraction=0.2,
        train_on_forces=train_on_forces,
        seed=1,
    )
    train, valid = (ase.io.read(tmp_path / f"out_{n}.xyz", ":") for n in ("train", "valid"))
    assert (found.reference + found.weak, found.valid) == (len(train), len(valid))
    return train, valid


def test_reference_energies_count_fully_and_weak_ones_as_the_committee_says(tmp_path: Path) -> None:
    train, valid = make(tmp_path)
    true, weak = train[:4], train[4:]
    assert [atoms.info["target_energy"] for atoms in true] == [-20.0, -21.0, -22.0, -23.0]
    assert all("config_weight" not in atoms.info for atoms in true)
    assert all(atoms.info["config_weight"] == 0.5 for atoms in weak)
    assert all(atoms.info["target_energy"] <= -110.0 for atoms in weak)
    assert all(atoms.info["sampled_by"] == "md" for atoms in weak)
    assert (len(weak), len(valid)) == (8, 3)


def test_forces_are_weak_unless_the_references_are_to_be_used(tmp_path: Path) -> None:
    train, _ = make(tmp_path)
    assert train[0].info["label_source"] == "reference energy, weak forces"
    np.testing.assert_array_equal(train[1].arrays["target_forces"], 1.0)
    train, _ = make(tmp_path, train_on_forces=True)
    assert train[0].info["label_source"] == "reference energy, reference forces"
    assert train[1].info["label_source"] == "reference energy, weak forces"
    np.testing.assert_array_equal(train[0].arrays["target_forces"], 0.0)


def test_no_frame_is_in_both_files_and_none_is_lost(tmp_path: Path) -> None:
    train, valid = make(tmp_path)
    lengths = sorted(round(atoms.positions[1, 2], 6) for atoms in [*train, *valid])
    assert len(set(lengths)) == len(lengths) == 15
    assert all("weak_energy" not in atoms.info for atoms in [*train, *valid])


def test_without_new_geometries_the_labelled_ones_are_all(tmp_path: Path) -> None:
    train, valid = make(tmp_path, weak=False)
    assert (len(train), len(valid)) == (4, 1)


def test_a_frame_without_its_label_is_an_error(tmp_path: Path) -> None:
    bare = frame(1, reference=True)
    del bare.info["target_energy"]
    write_frames(tmp_path / "a.xyz", [bare])
    paths = [tmp_path / "a.xyz", tmp_path / "a.xyz", None, tmp_path / "b.xyz", tmp_path / "c.xyz"]
    with pytest.raises(ValueError, match=r"a\.xyz: frame 0 .*target_energy"):
        assemble(*paths, valid_fraction=0.1, train_on_forces=False, seed=1)
