"""What a model answers is handed to LAMMPS whole, or refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.lammps.simulation import FailedError, Potential, padded_cell
from piwsl_plugins.models import LoadedModel

CUTOFF = 3.0


def potential(calculator: Calculator, *elements: str, cutoff: float = 5.0) -> Potential:
    return Potential(LoadedModel(calculator, None, frozenset({"Cu", "H", "He"}), cutoff), elements)


def neighbours(atoms: Atoms) -> list[tuple[int, int, float]]:
    """Pairs within the cutoff, with their distance."""
    found = zip(*neighbor_list("ijd", atoms, CUTOFF), strict=True)
    return sorted((int(i), int(j), round(float(d), 9)) for i, j, d in found)


@given(
    seed=st.integers(0, 10_000),
    periodic=st.lists(st.booleans(), min_size=3, max_size=3),
    tilts=st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3),
)
def test_open_boundaries_keep_their_neighbours(
    seed: int, periodic: list[bool], tilts: list[float]
) -> None:
    # LAMMPS lets a tilt stand only where the second of its directions repeats
    xy, xz, yz = tilts[0] * periodic[1], tilts[1] * periodic[2], tilts[2] * periodic[2]
    cell = np.array([[4.5, 0, 0], [xy, 5.0, 0], [xz, yz, 4.0]])
    positions = np.random.default_rng(seed).uniform(-3.0, 9.0, size=(7, 3))
    atoms = Atoms("H7", positions=positions, cell=cell, pbc=periodic)
    padded = padded_cell(atoms, CUTOFF)
    np.testing.assert_array_equal(padded[periodic], cell[periodic])
    assert abs(np.linalg.det(padded)) > 0.0
    assert neighbours(Atoms("H7", positions=positions, cell=padded, pbc=True)) == neighbours(atoms)


def test_no_atoms_have_no_energy() -> None:
    energy, _, forces, virial = potential(EMT(), "Cu").evaluate(Atoms(cell=np.eye(3), pbc=True))
    assert (energy, len(forces), virial.tolist()) == (0.0, 0, [0.0] * 6)


def test_positions_that_are_not_finite_never_reach_the_model() -> None:
    asked = potential(EMT(), "Cu")
    with pytest.raises(FailedError, match="positions or box are not finite numbers"):
        asked.evaluate(Atoms("Cu", [[0.0, np.nan, 0.0]]))
    assert asked.evaluations == 0


def test_what_the_model_raises_is_told() -> None:
    with pytest.raises(FailedError, match="the model failed: NotImplementedError: No EMT-poten"):
        potential(EMT(), "He").evaluate(Atoms("He"))


def test_forces_that_are_not_finite_are_counted() -> None:
    asked = potential(LennardJones(), "Cu")
    with pytest.raises(FailedError, match="of 1 are not finite"), np.errstate(all="ignore"):
        asked.evaluate(Atoms("Cu3", np.eye(3)[[0, 0, 1]]))


def test_an_unknown_element_is_told_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="does not know U, Xx; it knows Cu, H"):
        potential(EMT(), "Cu", "U", "Xx")


@pytest.mark.parametrize("masses", [(1.008, 63.5), (2.014, 63.546), (4.0, 64.9), (3.0, 60.0)])
def test_isotopes_and_heavy_hydrogen_are_no_exchange_of_elements(
    masses: tuple[float, float],
) -> None:
    potential(EMT(), "H", "Cu").check_masses(masses)


def test_exchanged_elements_are_told_by_their_masses() -> None:
    with pytest.raises(ValueError, match=r"type 1 is H, .* H Cu, but its mass is 63\.55, that of"):
        potential(EMT(), "H", "Cu").check_masses([63.55, 1.0])


def test_a_method_without_a_cutoff_repeats_everywhere_or_nowhere() -> None:
    atoms, asked = bulk("Cu", cubic=True), potential(EMT(), "Cu", cutoff=np.inf)
    for atoms.pbc in (True, False):
        assert np.isfinite(asked.evaluate(atoms)[0])
    atoms.pbc = (True, True, False)
    with pytest.raises(FailedError, match="write 'boundary p p p' with a vacuum"):
        asked.evaluate(atoms)
