"""Reference energies of atoms: given, named, of isolated atoms, fitted."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.build import bulk, molecule
from hypothesis import given
from hypothesis import strategies as st
from memory_sources import MemorySource, block

from piwsl_plugins.data.atomic_energies import TABLES, atomic_energies, parse_energies
from piwsl_plugins.data.isolated import is_isolated
from piwsl_plugins.data.readers import DataError
from piwsl_plugins.data.settings import DataSettings

E0S = {1: -13.6, 6: -1029.0, 8: -2041.8}


def total(atoms: ase.Atoms) -> float:
    return sum(E0S[int(number)] for number in atoms.numbers)


def molecules(*names: str, copies: int = 1) -> MemorySource:
    """Molecules whose energy is the sum of their atoms'."""
    frames = [[molecule(name)] * copies for name in names]
    return MemorySource(*(block(same, energy=[total(same[0])] * copies) for same in frames))


def test_a_fit_finds_the_energies_that_the_frames_are_sums_of() -> None:
    found = atomic_energies("fit", molecules("CH4", "H2O", "CO2", copies=3))
    assert found.values == pytest.approx(E0S, abs=1e-8)
    assert list(found.values) == [1, 6, 8]
    assert found.warnings == ()
    assert "9 energies of 3 compositions" in found.origin


@given(st.lists(st.integers(1, 4), min_size=3, max_size=3), st.data())
def test_a_fit_of_distinct_compositions_is_that_of_all_frames(
    copies: list[int], data: st.DataObject
) -> None:
    frames = [
        molecule(name)
        for name, n in zip(("CH4", "H2O", "CO2"), copies, strict=True)
        for _ in range(n)
    ]
    noise = data.draw(st.lists(st.floats(-1, 1), min_size=len(frames), max_size=len(frames)))
    energies = np.array([total(atoms) for atoms in frames]) + noise
    source = MemorySource(
        *(block([atoms], energy=[e]) for atoms, e in zip(frames, energies, strict=True))
    )
    counts = np.array([[(atoms.numbers == z).sum() for z in E0S] for atoms in frames])
    expected = np.linalg.lstsq(counts, energies, rcond=None)[0]
    assert list(atomic_energies("fit", source).values.values()) == pytest.approx(expected)


def test_one_composition_does_not_tell_its_elements_apart_and_the_user_hears_of_it() -> None:
    found = atomic_energies("fit", molecules("H2O", copies=5))
    (warning,) = found.warnings
    assert "underdetermined" in warning
    assert "H, O" in warning
    # what is determined is the sum over the molecule
    assert 2 * found.values[1] + found.values[8] == pytest.approx(total(molecule("H2O")))


def test_elements_that_can_be_told_apart_are_not_named() -> None:
    # H2 fixes hydrogen; carbon and oxygen only ever come one to one
    (warning,) = atomic_energies("fit", molecules("H2", "H2CO", "CO")).warnings
    assert "C, O" in warning
    assert "H, C" not in warning


def test_frames_without_an_energy_take_no_part_in_a_fit_and_are_counted() -> None:
    water = [molecule("H2O")] * 3
    source = MemorySource(
        block(water, energy=[total(water[0]), None, None]),
        block([molecule("H2")], energy=[2 * E0S[1]]),
    )
    found = atomic_energies("fit", source)
    assert found.values == pytest.approx({1: E0S[1], 8: E0S[8]})
    assert found.left_out == 2
    assert "2 frames without an energy" in found.warnings[0]


def test_isolated_atoms_take_no_part_in_a_fit_unless_their_element_is_nowhere_else() -> None:
    source = MemorySource(
        block([molecule("H2")], energy=[-32.0]),
        block([ase.Atoms("H")], energy=[-13.6]),
        block([ase.Atoms("O")], energy=[-2041.8]),
    )
    assert atomic_energies("fit", source).values == pytest.approx({1: -16.0, 8: -2041.8})


def test_the_energy_of_the_cheaper_method_is_subtracted_before_the_fit() -> None:
    source = MemorySource(block([molecule("H2")] * 2, energy=[-32.0, -33.0], low_energy=[-30, -31]))
    assert atomic_energies("fit", source).values == pytest.approx({1: -1.0})


def test_isolated_atoms_give_their_energies() -> None:
    source = MemorySource(
        block([molecule("H2O")], energy=[-2080.0]),
        block([ase.Atoms("H")] * 2, energy=[None, -13.6]),
        block([ase.Atoms("O")], energy=[-2041.8]),
    )
    found = atomic_energies("isolated", source)
    assert found.values == {1: -13.6, 8: -2041.8}
    assert "isolated atoms in memory.xyz" in found.origin


def test_a_crystal_with_one_atom_in_its_cell_is_no_isolated_atom() -> None:
    lone = ase.Atoms("Cu", cell=[10, 10, 10], pbc=True)
    marked = bulk("Cu")
    marked.info["config_type"] = "IsolatedAtom"
    slab = ase.Atoms("Cu", cell=[2.5, 2.5, 30], pbc=[True, True, False])
    wire = ase.Atoms("Cu", cell=[8, 1, 1], pbc=[True, False, False])
    frames = block([bulk("Cu"), lone, marked, slab, wire])
    assert is_isolated(frames).tolist() == [False, True, True, False, True]
    assert not is_isolated(block([molecule("H2")])).any()


def test_an_isolated_atom_without_an_energy_is_an_error_that_names_it() -> None:
    source = MemorySource(block([molecule("H2")], energy=[-32]), block([ase.Atoms("H")], first=1))
    with pytest.raises(DataError, match=r"memory.xyz, frame 1 .* isolated atom of H has no energy"):
        atomic_energies("isolated", source)


def test_isolated_atoms_of_one_element_with_different_energies_are_an_error() -> None:
    source = MemorySource(block([ase.Atoms("H")] * 2, energy=[-13.6, -13.5]))
    with pytest.raises(DataError, match=r"of H have different .*-13.6.* frame 0, -13.5.* frame 1"):
        atomic_energies("isolated", source)


def test_an_element_without_an_energy_is_an_error_with_the_remedy() -> None:
    source = MemorySource(
        block([molecule("CH3OH")], energy=[-3100.0]), block([ase.Atoms("H")], energy=[-13.6])
    )
    with pytest.raises(DataError, match=r"of C, O: the isolated .* those of H; give all of them"):
        atomic_energies("isolated", source)
    with pytest.raises(DataError, match=r"\(E0\) of O: what was given gives those of H, C"):
        atomic_energies("{H: -13.6, C: -1029}", source)
    with pytest.raises(DataError, match="of Fe: the table ani1ccx-ccsdt-cbs gives those of H, C"):
        atomic_energies("ani1ccx-ccsdt-cbs", elements=[1, 26])


def test_a_fit_to_no_energy_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no frame has an energy to fit to, of 1 in memory"):
        atomic_energies("fit", MemorySource(block([molecule("H2")])))


def test_an_infinite_energy_is_an_error_that_names_the_frame() -> None:
    source = MemorySource(block([molecule("H2")] * 2, energy=[-30, np.inf]))
    with pytest.raises(DataError, match=r"memory.xyz, frame 1 .*the energy is inf"):
        atomic_energies("fit", source)


def test_the_table_of_ani_1ccx_is_in_electronvolt() -> None:
    found = atomic_energies("ani1ccx-ccsdt-cbs", elements=[8, 1])
    assert found.values == pytest.approx({1: -13.605693, 8: -2040.2055}, abs=1e-3)
    assert set(TABLES["ani1ccx-ccsdt-cbs"]) == {1, 6, 7, 8}


def test_a_table_does_not_go_with_energies_less_those_of_a_cheaper_method() -> None:
    source = MemorySource(block([molecule("H2")]), settings=DataSettings(low_energy="xtb"))
    with pytest.raises(DataError, match="difference to low_energy"):
        atomic_energies("ani1ccx-ccsdt-cbs", source)


@pytest.mark.parametrize(
    "text",
    [
        "{1: -13.6, O: -2041.8}",
        "{1:-13.6,8:-2041.8}",
        "H: -1.36e1, 'O': -2041.8",
        '{"1": -13.6, "8": -2041.8,}',
        "{h: -13.6, o: -2041.8}",
    ],
)
def test_energies_are_read_by_symbol_or_number(text: str) -> None:
    assert atomic_energies(text, elements=[1, 8]).values == {1: -13.6, 8: -2041.8}


def test_energies_may_be_a_mapping() -> None:
    found = atomic_energies({"H": -13.6, 8: np.float64(-2041.8), "6": -1000}, elements=[8, 1])
    assert found.values == {1: -13.6, 8: -2041.8}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{H: -13.6, Hx: -3}", "'Hx' is no element"),
        ("{H: -13.6, 0: -3}", "'0' is no element"),
        ("{H: -13.6, 1: -13.6}", "H is given more than once"),
        ("{H: nan}", "of H is nan, expected a finite number"),
        ("{H: minus}", "'H: minus' in .* is no element and energy"),
        ("{H: -13.6 O: -3}", "'H: -13.6 O: -3' in .* is no element and energy"),
        ("averag", "unknown choice 'averag'; expected one of ani1ccx"),
        ("isolate", "did you mean 'isolated'"),
    ],
)
def test_anything_else_is_an_error_that_says_how_to_write_it(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        atomic_energies(text, elements=[1])


def test_a_mapping_without_numbers_is_an_error() -> None:
    with pytest.raises(DataError, match=r"of H is '-13\.6', expected a finite number"):
        atomic_energies({"H": "-13.6"}, elements=[1])  # type: ignore[dict-item]


@given(st.dictionaries(st.integers(1, 118), st.floats(-1e6, 0), min_size=1))
def test_what_python_writes_is_read(energies: dict[int, float]) -> None:
    assert parse_energies(str(energies)) == energies
