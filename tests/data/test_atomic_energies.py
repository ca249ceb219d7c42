"""Reference energies of atoms: given, named, of isolated atoms, fitted."""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
import pytest
from ase.build import molecule
from molecules import as_frames

from piwsl_plugins.data.atomic_energies import atomic_energies, parse_energies
from piwsl_plugins.data.frames import DataError, Frame
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.targets import check_differences, differences, split_isolated

E0S = {1: -13.6, 6: -1029.0, 8: -2041.8}


def molecules(*names: str, copies: int = 1) -> list[Frame]:
    """Molecules whose energy is the sum of their atoms'."""
    atoms = [molecule(name) for name in names for _ in range(copies)]
    return as_frames(atoms, energy=[sum(E0S[int(z)] for z in a.numbers) for a in atoms])


ATOMS = as_frames([ase.Atoms("H"), ase.Atoms("O"), ase.Atoms("N")], energy=[-13.0, -2040.0, None])


@pytest.mark.parametrize("choice", ["fit", "average"])
def test_a_fit_finds_the_energies_that_the_frames_are_sums_of(choice: str) -> None:
    said: list[str] = []
    found = atomic_energies(choice, molecules("CH4", "H2O", "CO2", copies=3), tell=said.append)
    assert found == pytest.approx(E0S, abs=1e-8)
    assert list(found) == [1, 6, 8]
    assert not said


@pytest.mark.parametrize(
    ("names", "mixed"), [(["H2O"] * 3, "H, O"), (["H2", "H2CO", "CO"], "C, O")]
)
def test_elements_that_compositions_do_not_tell_apart_are_named(
    names: list[str], mixed: str
) -> None:
    said: list[str] = []
    found = atomic_energies("average", molecules(*names), tell=said.append)
    assert f"reference energies of {mixed}:" in said[0]
    for frame in molecules(*names):
        assert sum(found[int(z)] for z in frame.atoms.numbers) == pytest.approx(
            frame.labels["energy"]
        )


def test_frames_without_an_energy_take_no_part_in_a_fit_and_lone_elements_have_their_own() -> None:
    frames = [*molecules("H2O", "H2"), *as_frames([molecule("H2O")], energy=[None])]
    found = atomic_energies("average", frames, ATOMS, elements=[1, 8])
    assert found == pytest.approx({1: E0S[1], 8: E0S[8]})
    alone = atomic_energies("average", molecules("H2"), ATOMS, elements=[1, 8])
    assert alone == pytest.approx({1: E0S[1], 8: -2040.0})
    with pytest.raises(DataError, match="no frame has an energy"):
        atomic_energies("average", as_frames([molecule("H2")]))


def test_isolated_atoms_give_their_energies() -> None:
    assert atomic_energies("isolated", molecules("H2O"), ATOMS, [1, 8]) == {1: -13.0, 8: -2040.0}
    with pytest.raises(DataError, match=r"no reference energy .* of N: the isolated atoms"):
        atomic_energies("isolated", molecules("H2O"), ATOMS)


@pytest.mark.parametrize("choice", ["average", "isolated", "{1: -1, 8: -2}"])
def test_contradicting_isolated_atoms_are_refused_whatever_the_choice(choice: str) -> None:
    twice = [*ATOMS, *as_frames([ase.Atoms("H")], energy=[0.0])]
    with pytest.raises(DataError, match="isolated atoms of H have different energies"):
        atomic_energies(choice, molecules("H2O"), twice, [1, 8])


@pytest.mark.parametrize(
    "text", ["{1: -13.6, O: -2041.8}", "H:-13.6,8:-2041.8", "{'h': -13.6, 'O': -2041.8,}"]
)
def test_energies_are_written_by_symbol_or_number(text: str) -> None:
    assert parse_energies(text) == {1: -13.6, 8: -2041.8}
    assert atomic_energies(text, molecules("H2O")) == {1: -13.6, 8: -2041.8}
    assert atomic_energies({"H": -1.0, 8: -2}, molecules("H2O")) == {1: -1.0, 8: -2.0}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("{Q: 1.0}", "'Q' is no element"),
        ("{1: -13.6, H: -13.6}", "H is given more than once"),
        ("{1: high}", "H is ' high'"),
        ("{1: nan}", "H is ' nan'"),
        ("1:", "H is ''"),
        ("avrage", "did you mean 'average'"),
        ("{1: -13.6}", "no reference energy .* of O: what was given gives those of H"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(choice: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        atomic_energies(choice, molecules("H2O"))


def test_differences_lack_what_has_no_counterpart() -> None:
    atoms = [molecule("H2")] * 3
    vectors = [np.ones((2, 3))] * 3
    labels = {"energy": [-30.0, -31.0, None], "low_energy": [-29.0, None, -1.0], "forces": vectors}
    one, two, three = differences(
        as_frames(atoms, **labels, low_forces=[vectors[0] * 3, None, None])
    )
    assert one.labels["energy"] == -1.0
    np.testing.assert_array_equal(one.labels["forces"], -2.0 * vectors[0])
    assert two.labels == three.labels == {}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"low_forces": "f"}, "low_forces 'f' without --low_energy_key"),
        ({"low_energy": "e", "weak_forces": "f"}, "weak_forces 'f' contradicts --low_energy_key"),
    ],
)
def test_keys_of_differences_go_together(keys: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_differences(DataSettings(**keys), {"low_energy": "--low_energy_key"})


def test_isolated_atoms_are_single_and_not_periodic_or_marked() -> None:
    cell = {"cell": [9, 9, 9], "pbc": True}
    marked = ase.Atoms("H", **cell, info={"config_type": "IsolatedAtom"})
    frames = as_frames([ase.Atoms("H"), ase.Atoms("Cu", **cell), marked, molecule("H2")])
    isolated, rest = split_isolated(frames)
    assert [frame.number for frame in isolated] == [0, 2]
    assert [frame.number for frame in rest] == [1, 3]
