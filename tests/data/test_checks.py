"""Bad labels and too close atoms are found and named, in molecules and in cells."""

from __future__ import annotations

import ase
import ase.build
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.data.checks import (
    Counts,
    Frame,
    check_displacement,
    check_labels,
    closest_pair,
)


def frame(name: str, *, energy: float | None = -1.0, forces: object = None) -> Frame:
    return Frame(name, ase.build.molecule("H2O"), energy, forces)  # type: ignore[arg-type]


def test_labels_are_counted_and_absent_ones_are_no_error() -> None:
    frames = [frame("a"), frame("b", energy=None), frame("c", forces=np.zeros((3, 3)))]
    assert check_labels(frames) == Counts(frames=3, energies=2, forces=1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_energy_that_is_no_number_names_its_frame(value: float) -> None:
    with pytest.raises(ValueError, match="second: energy is"):
        check_labels([frame("first"), frame("second", energy=value)])


def test_forces_that_are_no_numbers_name_frame_and_atom() -> None:
    forces = np.zeros((3, 3))
    forces[1, 2] = np.nan
    with pytest.raises(ValueError, match="first: forces of atom 1 are"):
        check_labels([frame("first", forces=forces)])


def test_a_stress_that_is_no_number_is_named() -> None:
    bad = Frame("first", ase.build.molecule("H2O"), -1.0, None, np.full(6, np.nan))
    with pytest.raises(ValueError, match="first: stress is"):
        check_labels([bad])


def test_forces_of_another_shape_are_named() -> None:
    with pytest.raises(ValueError, match=r"first: forces of shape \(2, 3\), expected \(3, 3\)"):
        check_labels([frame("first", forces=np.zeros((2, 3)))])


def test_at_most_ten_frames_are_named() -> None:
    with pytest.raises(ValueError, match="and 5 more") as error:
        check_labels([frame(f"frame {number}", energy=np.nan) for number in range(15)])
    assert "frame 9" in str(error.value)
    assert "frame 10" not in str(error.value)


@given(st.integers(0, 10_000), st.booleans())
def test_the_closest_pair_is_that_of_all_images(seed: int, periodic: bool) -> None:
    random = np.random.default_rng(seed)
    cell = np.diag(random.uniform(2.0, 4.0, size=3)) + random.normal(0.0, 0.2, size=(3, 3))
    atoms = ase.Atoms("H4", random.uniform(0.0, 3.0, size=(4, 3)), cell=cell, pbc=periodic)
    found = closest_pair(atoms, 3.0)
    images = range(-3, 4) if periodic else range(1)
    best = min(
        float(np.linalg.norm(atoms.positions[j] + [x, y, z] @ cell - atoms.positions[i]))
        for i in range(4)
        for j in range(4)
        for x in images
        for y in images
        for z in images
        if i != j or (x, y, z) != (0, 0, 0)
    )
    if best < 3.0:
        assert found is not None
        assert found[0] == pytest.approx(best)
    elif found is not None:
        raise AssertionError(f"found {found}, but nothing is nearer than {best}")


def test_one_atom_alone_has_no_pair() -> None:
    assert closest_pair(ase.Atoms("H"), 5.0) is None


def test_displacements_up_to_half_the_shortest_distance_pass() -> None:
    atoms = ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    good = [Frame("a", atoms, None, None)]
    check_displacement(good, 0.36, "--length", "--anyway")
    with pytest.raises(ValueError, match=r"a, atoms 0 \(H\) and 1 \(H\), 0\.7400 angstrom"):
        check_displacement(good, 0.38, "--length", "--anyway")


def test_the_worst_frame_is_the_one_that_is_named() -> None:
    pairs = [("far", 0.7), ("near", 0.5), ("middle", 0.6)]
    frames = [
        Frame(name, ase.Atoms("H2", [[0, 0, 0], [0, 0, length]]), None, None)
        for name, length in pairs
    ]
    with pytest.raises(ValueError, match=r"near.*--length below 0\.2500.*--anyway"):
        check_displacement(frames, 0.4, "--length", "--anyway")
