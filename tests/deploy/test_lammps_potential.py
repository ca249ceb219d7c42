"""What a model answers is handed to LAMMPS whole, or refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from piwsl_plugins.deploy.potential import FailedError, Potential
from piwsl_plugins.hosts.calculators import LoadedModel

EVERYWHERE = np.ones(3, bool)


def potential(calculator: Calculator, *elements: str) -> Potential:
    known = frozenset({"Cu", "Ag", "H"})
    return Potential(LoadedModel(calculator, "float64", known, 5.0), elements)


def test_types_become_elements_and_the_answer_is_that_of_the_calculator() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Ag"
    atoms.rattle(0.1, seed=1)
    types = np.array([1 if symbol == "Ag" else 2 for symbol in atoms.symbols])
    asked = potential(EMT(), "Ag", "Cu")
    answer = asked.evaluate(types, atoms.positions, np.array(atoms.cell), EVERYWHERE)
    atoms.calc = EMT()
    assert answer.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(answer.forces, atoms.get_forces(), atol=1e-12)
    np.testing.assert_allclose(answer.energies, atoms.get_potential_energies(), atol=1e-12)
    assert (asked.evaluations, asked.seconds > 0.0) == (1, True)


def test_no_atoms_have_no_energy() -> None:
    none = np.zeros(0, int), np.zeros((0, 3))
    answer = potential(EMT(), "Cu").evaluate(*none, np.eye(3), EVERYWHERE)
    assert (answer.energy, len(answer.forces), answer.virial.tolist()) == (0.0, 0, [0.0] * 6)


def test_positions_that_are_no_numbers_never_reach_the_model() -> None:
    asked = potential(EMT(), "Cu")
    positions = np.array([[0.0, np.nan, 0.0]])
    with pytest.raises(FailedError, match="positions or box are no finite numbers"):
        asked.evaluate(np.array([1]), positions, np.eye(3), EVERYWHERE)
    assert asked.evaluations == 0


def test_what_the_model_raises_is_told() -> None:
    asked = Potential(LoadedModel(EMT(), None, frozenset({"He"}), 5.0), ["He"])
    with pytest.raises(
        FailedError, match="the model failed: NotImplementedError: No EMT-potential"
    ):
        asked.evaluate(np.array([1]), np.zeros((1, 3)), 9.0 * np.eye(3), EVERYWHERE)


def test_forces_that_are_no_numbers_are_counted() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.positions[1] = atoms.positions[0]
    asked = potential(LennardJones(), "Cu")
    with pytest.raises(FailedError, match="no finite number"), np.errstate(all="ignore"):
        asked.evaluate(np.ones(4, int), atoms.positions, np.array(atoms.cell), EVERYWHERE)


def test_an_unknown_element_is_told_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="does not know U, Xx; it knows Ag, Cu, H"):
        potential(EMT(), "Cu", "U", "Xx")


@pytest.mark.parametrize("masses", [(1.008, 63.5), (2.014, 63.546), (4.0, 64.9), (3.0, 60.0)])
def test_isotopes_and_heavy_hydrogen_are_no_exchange_of_elements(masses: tuple[float]) -> None:
    potential(EMT(), "H", "Cu").check_masses(masses)


def test_exchanged_elements_are_told_by_their_masses() -> None:
    with pytest.raises(
        ValueError, match=r"type 1 is H, .* H Cu, but its mass is 63\.55, that of Cu"
    ):
        potential(EMT(), "H", "Cu").check_masses([63.55, 1.0])


def test_a_method_without_a_cutoff_repeats_everywhere_or_nowhere() -> None:
    atoms = bulk("Cu", cubic=True)
    loaded = LoadedModel(LennardJones(), None, frozenset({"Cu"}), np.inf)
    asked = Potential(loaded, ["Cu"], is_local=False)
    types, cell = np.ones(4, int), np.array(atoms.cell)
    for periodic in ([True, True, True], [False, False, False]):
        assert np.isfinite(asked.evaluate(types, atoms.positions, cell, np.array(periodic)).energy)
    with pytest.raises(FailedError, match="write 'boundary p p p' with a vacuum"):
        asked.evaluate(types, atoms.positions, cell, np.array([True, True, False]))
