"""Frames that are the same have the same group, all others their own."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.build import bulk, molecule
from hypothesis import given
from hypothesis import strategies as st
from memory_sources import MemorySource, block

from piwsl_plugins.data.duplicates import check_duplicates, check_no_overlap
from piwsl_plugins.data.fingerprints import Fingerprints
from piwsl_plugins.data.readers import DataError


def groups(*frames: ase.Atoms) -> list[int]:
    found = Fingerprints()
    for atoms in frames:
        found.add(block([atoms]))
    return found.groups().tolist()


def shaken(atoms: ase.Atoms, seed: int, width: float = 0.1) -> ase.Atoms:
    atoms = atoms.copy()
    atoms.positions += np.random.default_rng(seed).normal(scale=width, size=atoms.positions.shape)
    return atoms


@given(st.integers(0, 1000), st.sampled_from(["H2", "C6H6", "CH3CONH2"]))
def test_a_copy_with_fewer_digits_is_the_same_frame(seed: int, name: str) -> None:
    atoms = shaken(molecule(name), seed)
    eight_digits, single = atoms.copy(), atoms.copy()
    eight_digits.positions = np.round(atoms.positions, 8)
    single.positions = atoms.positions.astype(np.float32)
    assert groups(atoms, eight_digits, single) == [0, 0, 0]


@given(st.integers(0, 1000), st.integers(0, 8), st.sampled_from([1e-4, 1e-3, 0.1]))
def test_a_displaced_atom_makes_another_frame(seed: int, atom: int, distance: float) -> None:
    atoms = shaken(molecule("CH3CONH2"), seed)
    moved = atoms.copy()
    moved.positions[atom, seed % 3] += distance
    assert groups(atoms, moved) == [0, 1]


def test_a_molecule_that_was_moved_as_a_whole_is_the_same_frame() -> None:
    moved = molecule("H2O")
    moved.translate([10.0, -3.0, 7.5])
    assert groups(molecule("H2O"), moved) == [0, 0]


def test_other_elements_at_the_same_positions_are_another_frame() -> None:
    other = molecule("H2O")
    other.symbols = "SH2"
    assert groups(molecule("H2O"), other) == [0, 1]


def test_the_periodic_cell_belongs_to_the_frame_and_a_cell_that_is_not_periodic_does_not() -> None:
    strained = bulk("Cu")
    strained.set_cell(strained.cell * 1.001)
    film = bulk("Cu")
    film.pbc = [True, True, False]
    thicker = film.copy()
    thicker.set_cell(thicker.cell * [[1], [1], [2]])
    frames = [bulk("Cu"), bulk("Cu"), strained, film, thicker, ase.Atoms("Cu")]
    assert groups(*frames) == [0, 0, 2, 3, 3, 5]


def test_many_frames_of_one_molecule_and_many_copies_of_one_frame_are_told_apart() -> None:
    random = np.random.default_rng(0)
    atoms = molecule("C6H6")
    found = Fingerprints()
    found.add(block([shaken(atoms, int(seed)) for seed in random.permutation(2000)]))
    found.add(block([atoms] * 3000))
    expected = [*range(2000), *[2000] * 3000]
    assert found.groups().tolist() == expected
    assert len(found) == 5000


def test_fingerprints_of_no_frames_have_no_groups() -> None:
    assert Fingerprints().groups().shape == (0,)


def test_a_frame_in_training_and_test_data_is_an_error_even_where_its_labels_differ() -> None:
    frames = [shaken(molecule("H2O"), seed) for seed in range(20)]
    train = MemorySource(block(frames[:10], energy=range(10)))
    test = MemorySource(block(frames[9:], energy=range(11)))
    with pytest.raises(DataError, match=r"1 of 11 frames .*\n  memory.xyz, frame 0 is .* frame 9"):
        check_no_overlap([train], [test])
    with pytest.raises(DataError, match="of the validation data are in the fitting data"):
        check_no_overlap([train], [test], ("fitting", "validation"))


def test_at_most_ten_shared_frames_are_named() -> None:
    source = MemorySource(block([shaken(molecule("H2O"), seed) for seed in range(15)]))
    with pytest.raises(DataError, match="15 of 15 frames") as error:
        check_no_overlap([source], [source])
    assert str(error.value).count(" is memory.xyz, frame") == 10
    assert "and 5 more" in str(error.value)


def test_copies_within_one_set_and_isolated_atoms_in_both_are_no_overlap() -> None:
    frames = [shaken(molecule("H2O"), seed) for seed in range(4)]
    train = MemorySource(block([*frames[:2], frames[0]]), block([ase.Atoms("H")]))
    test = MemorySource(block([*frames[2:], frames[3]]), block([ase.Atoms("H")]))
    check_no_overlap([train], [test])


def test_copies_with_one_energy_are_counted_and_frames_without_contradict_nothing() -> None:
    atoms = molecule("H2O")
    frames = [atoms, shaken(atoms, 1), atoms, atoms]
    found = check_duplicates([MemorySource(block(frames, energy=[None, -3.0, -2.0, -2.0]))])
    assert (found.copies, found.contradictions) == (2, 0)
    assert found.examples[0] == "memory.xyz, frame 2 is memory.xyz, frame 0"


def test_copies_with_different_energies_are_an_error_that_names_frames_and_energies() -> None:
    source = MemorySource(block([molecule("H2O")] * 3, energy=[-2.0, -2.0, -2.5]))
    with pytest.raises(DataError, match=r"frame 2: -2.500000 eV; .* frame 0: -2.000000 eV"):
        check_duplicates([source])
