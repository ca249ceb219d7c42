"""Subsets are nested, alike for all methods, and never show more labels than they should."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import ase.io
import benchmark_methods
import numpy as np
import pytest
from ase import Atoms
from benchmark_data import Source, count_of, draw, keep_forces
from benchmark_frames import read_frames, write_once
from benchmark_methods import Method
from benchmark_students import Student

from piwsl_plugins.weak.sample_tasks import SampleSettings

PLAIN = Method(name="plain", title="plain")


def molecules(count: int) -> list[Atoms]:
    """Dimers, told apart by their energies, with forces."""
    frames = []
    for number in range(count):
        atoms = Atoms("H2", positions=[[0.0, 0.0, 0.0], [0.0, 0.0, 0.7 + 0.01 * number]])
        atoms.info["REF_energy"] = float(number)
        atoms.arrays["REF_forces"] = np.full((2, 3), 0.1 * number)
        frames.append(atoms)
    return frames


def cheap(frames: list[Atoms]) -> list[Atoms]:
    """The same, with labels of another method."""
    found = [atoms.copy() for atoms in frames]
    for number, atoms in enumerate(found):
        atoms.info = {"weak_energy": 0.75 * number - 8.0}
        atoms.arrays["weak_forces"] = np.full((2, 3), -float(number))
    return found


def energies(frames: list[Atoms]) -> set[float]:
    return {atoms.info["REF_energy"] for atoms in frames}


def source(folder: Path, forces: str = "none") -> Source:
    return Source(frames=molecules(40), forces=forces, validation=0.1, folder=folder)


def test_a_smaller_draw_is_part_of_a_larger_one_and_validates_apart() -> None:
    small, large = (draw(molecules(100), size, 7, 0.1) for size in (20, 80))
    assert [len(part) for part in small] == [15, 5]
    assert [len(part) for part in large] == [72, 8]
    for train, valid in (small, large):
        assert not energies(train) & energies(valid)
    assert energies(small[0]) | energies(small[1]) <= energies(large[0]) | energies(large[1])
    assert energies(small[1]) <= energies(large[1])


@pytest.mark.parametrize(("size", "reason"), [(41, "of 40 frames"), (5, "none is left")])
def test_too_few_frames_are_refused(size: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        draw(molecules(40), size, 1, 0.1)


def test_forces_are_counted_in_frames_or_parts() -> None:
    words = {"none": 0, "all": 30, "4": 4, "0.1": 3, "0.001": 1, "99": 30}
    assert {word: count_of(word, 30) for word in words} == words
    for word in ("some", "-1", "2.5", "0"):
        with pytest.raises(ValueError, match="expected none, all"):
            count_of(word, 30)


def test_forces_that_are_not_there_are_an_error() -> None:
    frames = molecules(3)
    del frames[1].arrays["REF_forces"]
    with pytest.raises(ValueError, match="a training frame has no REF_forces"):
        keep_forces(frames, "2")


def test_frames_without_forces_lack_them_for_mace_and_have_nan_for_nequip(tmp_path: Path) -> None:
    for host in ("mace", "nequip"):
        subset = source(tmp_path, "4").subset(PLAIN, host, 25, 1)
        assert (subset.n_train, subset.n_forces, subset.valid_forces) == (20, 4, False)
        train = ase.io.read(tmp_path / subset.train, index=":")
        with_forces = [
            atoms
            for atoms in train
            if "REF_forces" in atoms.arrays and np.isfinite(atoms.arrays["REF_forces"]).all()
        ]
        assert len(with_forces) == 4
        assert sum("REF_forces" in atoms.arrays for atoms in train) == (4 if host == "mace" else 20)
        valid = ase.io.read(tmp_path / subset.valid, index=":")
        assert all("REF_forces" not in atoms.arrays for atoms in valid)


def test_all_methods_train_on_the_same_frames_and_the_ceiling_has_all_forces(
    tmp_path: Path,
) -> None:
    plain = source(tmp_path).subset(PLAIN, "mace", 25, 1)
    full = source(tmp_path).subset(benchmark_methods.read("full-forces"), "mace", 25, 1)
    assert (plain.n_forces, full.n_forces, full.valid_forces) == (0, 20, True)
    frames = [ase.io.read(tmp_path / s.train, index=":") for s in (plain, full)]
    assert [a.info["REF_energy"] for a in frames[0]] == [a.info["REF_energy"] for a in frames[1]]


@pytest.mark.parametrize("name", ["noisy-nodes", "taylor-augmentation"])
def test_copies_train_and_do_not_validate(name: str, tmp_path: Path) -> None:
    method = benchmark_methods.read(name)
    copies = method.augmentation["copies"]
    forces = "none" if name == "noisy-nodes" else "all"
    subset = source(tmp_path, forces).subset(method, "nequip", 25, 1)
    assert subset.n_train == 20 * (1 + copies)
    valid = ase.io.read(tmp_path / subset.valid, index=":")
    plain = source(tmp_path, "none").subset(PLAIN, "nequip", 25, 1)
    assert valid == ase.io.read(tmp_path / plain.valid, index=":")


def test_a_file_of_frames_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "data" / "train.xyz"
    text = write_once(path, molecules(2))
    assert write_once(path, molecules(2)) == text == path.read_text()
    with pytest.raises(ValueError, match="made from other data"):
        write_once(path, molecules(3))


def test_a_frame_without_an_energy_is_named_with_what_it_has(tmp_path: Path) -> None:
    frames = molecules(3)
    frames[2].info["other"] = frames[2].info.pop("REF_energy")
    ase.io.write(tmp_path / "a.xyz", frames)
    with pytest.raises(ValueError, match=r"a\.xyz, frame 2: .*found the keys other"):
        read_frames(tmp_path / "a.xyz")
    with pytest.raises(ValueError, match="there is no file"):
        read_frames(tmp_path / "b.xyz")


def test_weak_forces_are_in_the_files_of_methods_for_them_alone(tmp_path: Path) -> None:
    frames = molecules(40)
    found = Source(
        frames=frames, forces="none", validation=0.1, folder=tmp_path, cheap=cheap(frames)
    )
    taught = Method(name="taught", title="taught", weak_forces=True)
    subset, plain = (found.subset(method, "mace", 25, 1) for method in (taught, PLAIN))
    assert subset.train != plain.train
    assert subset.n_forces == plain.n_forces == 0
    for atoms in ase.io.read(tmp_path / subset.train, index=":"):
        expected = -atoms.info["REF_energy"]
        np.testing.assert_array_equal(atoms.arrays["weak_forces"], np.full((2, 3), expected))
    for atoms in ase.io.read(tmp_path / plain.train, index=":"):
        assert set(atoms.arrays) == {"numbers", "positions"}
    with pytest.raises(ValueError, match="taught: there are no labels of a cheap method"):
        source(tmp_path).subset(taught, "mace", 25, 1)


def test_a_difference_is_learnt_from_both_energies_and_begins_with_what_fits_it(
    tmp_path: Path,
) -> None:
    frames = molecules(40)
    found = Source(
        frames=frames, forces="none", validation=0.1, folder=tmp_path, cheap=cheap(frames)
    )
    subset = found.subset(benchmark_methods.read("delta"), "nequip", 25, 1)
    train = ase.io.read(tmp_path / subset.train, index=":")
    differences = []
    for atoms in train:
        assert atoms.info["weak_energy"] == 0.75 * atoms.info["REF_energy"] - 8.0
        assert set(atoms.arrays) == {"numbers", "positions"}
        differences.append(atoms.info["REF_energy"] - atoms.info["weak_energy"])
    assert subset.difference is not None
    per_atom = subset.difference["energies"]["H"]
    assert 2.0 * per_atom == pytest.approx(np.mean(differences))
    assert subset.difference["scale"] == pytest.approx(0.25)
    plain = found.subset(PLAIN, "nequip", 25, 1)
    assert plain.difference is None
    assert [a.info["REF_energy"] for a in ase.io.read(tmp_path / plain.train, index=":")] == [
        a.info["REF_energy"] for a in train
    ]


def test_geometries_that_were_not_drawn_are_there_without_labels(tmp_path: Path) -> None:
    found = source(tmp_path)
    path = found.rest(25, 1)
    assert path is not None
    rest = ase.io.read(tmp_path / path, index=":")
    drawn = draw(found.frames, 25, 1, 0.1)
    known = {atoms.get_distance(0, 1).round(6) for part in drawn for atoms in part}
    left = {atoms.get_distance(0, 1).round(6) for atoms in rest}
    assert len(rest) == 15
    assert not left & known
    assert all(not atoms.info and "REF_forces" not in atoms.arrays for atoms in rest)
    assert found.rest(40, 1) is None


def test_what_a_student_costs_is_measured_with_as_many_frames_as_it_will_have(
    tmp_path: Path,
) -> None:
    frames = molecules(40)
    found = Source(
        frames=frames, forces="none", validation=0.1, folder=tmp_path, cheap=cheap(frames)
    )
    student = Student(sample=SampleSettings(lengths=(0.1,), rattled=25))
    method = Method(name="s", title="s", labels="energies", student=student)
    training = dataclasses.replace(method, labels="cheap_forces")
    subset = found.subset(training, "mace", 25, 1)
    assert (subset.n_train, subset.n_forces) == (
        20 + 36,
        56,
    )  # 15 that are left, 25 new; 4 validate
    train, valid = (ase.io.read(tmp_path / n, index=":") for n in (subset.train, subset.valid))
    assert (len(train), len(valid)) == (56, 9)
    for atoms in train:
        np.testing.assert_array_equal(atoms.arrays["REF_forces"], -atoms.info["REF_energy"])
