"""What no training could mend is refused when the data are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.units import Hartree
from springs import springs

from piwsl_plugins import datasets
from piwsl_plugins.weak.prepare import prepare
from piwsl_plugins.weak.settings import DataBlock


def trimers(count: int, seed: int = 0, symbols: str = "H3") -> list[Atoms]:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = Atoms(symbols, [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.9, 0.0]])
        atoms.positions += 0.05 * rng.normal(size=(3, 3))
        energy, forces = springs(atoms.positions)
        atoms.info["REF_energy"] = energy
        atoms.arrays["REF_forces"] = forces
        frames.append(atoms)
    return frames


def write(path: Path, frames: list[Atoms]) -> str:
    ase.io.write(path, frames, format="extxyz")
    return str(path)


def block(tmp_path: Path, frames: list[Atoms] | None = None, **changes: Any) -> DataBlock:
    file = write(tmp_path / "train.xyz", trimers(20) if frames is None else frames)
    values: dict[str, Any] = {"train": file, "forces": "REF_forces"}
    return DataBlock(**values | changes)


def read(path: Path) -> list[Atoms]:
    return ase.io.read(path, index=":")


def test_frames_are_split_and_forces_left_out_unless_they_are_to_be_used(tmp_path: Path) -> None:
    test = write(tmp_path / "test.xyz", trimers(5, seed=1))
    prepare(block(tmp_path, test=test), tmp_path / "out")
    train, valid = read(tmp_path / "out" / "train.xyz"), read(tmp_path / "out" / "valid.xyz")
    assert (len(train), len(valid)) == (18, 2)
    assert all("REF_forces" not in frame.arrays for frame in [*train, *valid])
    for frame in [*train, *valid]:
        assert frame.info["REF_energy"] == pytest.approx(springs(frame.positions)[0], abs=1e-7)
    assert all("REF_forces" in frame.arrays for frame in read(tmp_path / "out" / "test.xyz"))
    prepare(block(tmp_path, train_on_forces=True), tmp_path / "with")
    assert all("REF_forces" in frame.arrays for frame in read(tmp_path / "with" / "train.xyz"))


def test_numbers_in_other_units_are_told_by_the_keys_of_the_config(tmp_path: Path) -> None:
    frames: list[Atoms] = ase.io.read(
        datasets.path("formaldehyde_ccsdt_cbs/train.xyz"), index=":20"
    )
    for frame in frames:
        frame.info["REF_energy"] /= Hartree
    with pytest.raises(ValueError, match=r"looks like hartree; set data\.energy_unit to hartree"):
        prepare(block(tmp_path, frames), tmp_path / "out")
    for number, words in enumerate(({"energy_unit": "hartree"}, {"allow_unusual_units": True})):
        prepare(block(tmp_path, frames, **words), tmp_path / str(number))
    true, taken = (read(tmp_path / str(number) / "train.xyz") for number in range(2))
    for one, other in zip(true, taken, strict=True):
        assert one.info["REF_energy"] == pytest.approx(Hartree * other.info["REF_energy"])


def test_frames_without_an_energy_are_geometries_for_the_student(tmp_path: Path) -> None:
    frames = trimers(12)
    for frame in frames[8:]:
        del frame.info["REF_energy"]
    more = trimers(3, seed=2)
    given = write(tmp_path / "more.xyz", more)
    prepare(block(tmp_path, frames, geometries=(given,)), tmp_path / "out")
    assert len(read(tmp_path / "out" / "geometries.xyz")) == 7


def test_labels_that_no_stage_asked_for_are_left_behind(tmp_path: Path) -> None:
    frames = trimers(10)
    for frame in frames:
        frame.info |= {"weak_energy": 1.0, "charge": 1, "config_type": "warm"}
        frame.arrays["weak_forces"] = np.ones((3, 3))
    given = write(tmp_path / "more.xyz", frames[:3])
    prepare(block(tmp_path, frames[3:], geometries=(given,)), tmp_path / "out")
    for name in ("train.xyz", "geometries.xyz"):
        for frame in read(tmp_path / "out" / name):
            assert frame.info.keys() - {"REF_energy"} == {"charge", "config_type"}
            assert set(frame.arrays) == {"numbers", "positions"}


def test_energies_of_the_atoms_are_given_or_those_of_isolated_atoms(tmp_path: Path) -> None:
    atom = Atoms("H", [[0.0, 0.0, 0.0]], info={"REF_energy": -13.0, "config_type": "IsolatedAtom"})
    prepare(block(tmp_path, [atom, *trimers(10)], atomic_energies="isolated"), tmp_path / "out")
    found = json.loads((tmp_path / "out" / "atomic_energies.json").read_text())
    assert found["energies"] == {"H": -13.0}
    assert len(read(tmp_path / "out" / "train.xyz")) == 9
    prepare(block(tmp_path, atomic_energies={"H": -12.0}), tmp_path / "given")
    found = json.loads((tmp_path / "given" / "atomic_energies.json").read_text())
    assert found["energies"] == {"H": -12.0}


def test_a_test_frame_among_the_training_frames_is_named(tmp_path: Path) -> None:
    test = write(tmp_path / "test.xyz", [*trimers(2, seed=1), trimers(20)[7]])
    with pytest.raises(ValueError, match=r"test\.xyz, frame 2 is .*train\.xyz, frame 7"):
        prepare(block(tmp_path, test=test), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"atomic_energies": {"H": -13.0, "O": -2000.0}}, "O is in no training frame"),
        ({"frames": []}, "expected at least 4 and 1"),
        ({"other": "geometries"}, "the unlabelled frames hold He"),
        ({"other": "test"}, "the test frames hold He"),
        ({"other": "valid"}, "the validation frames hold He"),
        ({"energy": "REF_enrgy"}, "REF_enrgy"),
    ],
)
def test_what_no_model_could_learn_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    frames, other = None, changes.pop("other", None)
    if "frames" in changes:
        changes, frames = {}, trimers(3)
    if other is not None:
        path = write(tmp_path / "other.xyz", trimers(3, seed=5, symbols="H2He"))
        changes = {other: (path,) if other == "geometries" else path}
    with pytest.raises(ValueError, match=message):
        prepare(block(tmp_path, frames, **changes), tmp_path / "out")
