"""Energy is conserved on a potential, not in a swirl, and an explosion is seen."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from swirl import Harmonic

from piwsl_plugins.evaluation.dynamics import (
    constant_energy,
    heat_bath,
    nearest_neighbours,
    neighbour_ranges,
)

MORSE = {"epsilon": 4.0, "rho0": 3.0, "r0": 1.2, "rcut1": 6.0, "rcut2": 8.0}


def dimer(distance: float = 1.2) -> Atoms:
    return Atoms("O2", positions=[[0.0, 0.0, 0.0], [distance, 0.0, 0.0]])


def test_a_vibrating_dimer_keeps_its_energy() -> None:
    found = constant_energy(dimer(), MorsePotential(**MORSE), {"O": (0.9, 1.6)}, steps=400)
    assert found.exploded_at is None
    assert found.times[-1] == pytest.approx(0.2)
    assert found.drift is not None
    assert abs(found.drift) < 1e-2
    assert found.fluctuation is not None
    assert found.fluctuation < 1e-3


def test_a_longer_step_lets_the_energy_fluctuate_more_by_its_square() -> None:
    runs = [
        constant_energy(dimer(), MorsePotential(**MORSE), {}, steps=n, timestep=t)
        for n, t in ((400, 0.5), (200, 1.0))
    ]
    short, long = (run.fluctuation for run in runs)
    assert short is not None
    assert long is not None
    assert long / short == pytest.approx(4.0, rel=0.3)


def test_a_swirl_feeds_energy_into_an_atom() -> None:
    found = constant_energy(Atoms("H", positions=[[1, 0, 0]]), Harmonic(5.0, swirl=(0, 0, 2)), {})
    assert found.drift is not None
    assert found.drift > 1.0


def test_atoms_that_fly_apart_have_exploded() -> None:
    away = Harmonic(-20.0, dimer().positions.mean(axis=0))
    found = constant_energy(dimer(), away, neighbour_ranges([dimer()]), steps=500)
    assert found.exploded_at is not None
    assert found.exploded_at < 0.1
    assert found.drift is None
    assert found.reason is not None
    assert found.reason.startswith("the nearest neighbour of atom 0 (O) is ")
    assert found.reason.endswith("in the data 1.20 to 1.20 Å")


def test_a_model_that_fails_on_the_way_is_told_and_not_raised() -> None:
    class Broken(Harmonic):
        def calculate(self, *arguments: object, **names: object) -> None:
            super().calculate(*arguments, **names)
            if abs(self.atoms.positions[0, 0]) > 1e-3:
                raise RuntimeError("no such geometry")

    found = constant_energy(Atoms("H"), Broken(), {}, steps=200)
    assert found.reason == "the model failed: no such geometry"
    assert len(found.times) == len(found.energies)


def test_ranges_are_those_of_the_nearest_neighbour_by_element() -> None:
    water = molecule("H2O")
    found = neighbour_ranges([water, Atoms("He")])
    bond = water.get_distance(0, 1)
    assert found == {"O": pytest.approx((bond, bond)), "H": pytest.approx((bond, bond))}
    assert np.isinf(nearest_neighbours(Atoms("He"))).all()


def test_the_frame_stays_as_it_was() -> None:
    atoms = molecule("CH4")
    before = atoms.positions.copy()
    constant_energy(atoms, EMT(), {}, steps=3)
    np.testing.assert_array_equal(atoms.positions, before)
    assert atoms.calc is None


def test_energy_that_runs_away_has_exploded_where_a_limit_is_set() -> None:
    atom, swirl = Atoms("H", positions=[[1, 0, 0]]), Harmonic(5.0, swirl=(0, 0, 2))
    found = constant_energy(atom, swirl, {}, most_drift=0.5)
    assert found.reason is not None
    assert found.reason.endswith(" eV per atom from the first")
    assert abs(found.energies[-1]) > 0.5 >= abs(found.energies[-2])
    assert found.exploded_at == pytest.approx(found.times[-1])


def test_a_heat_bath_brings_a_cold_start_to_its_temperature() -> None:
    atoms = Atoms("H40", positions=np.zeros((40, 3)))
    runs = {seed: heat_bath(atoms, Harmonic(5.0), {}, seed=seed, friction=0.1) for seed in (1, 2)}
    # kinetic and potential energy of an oscillator; it started with the former alone
    expected = 1.5 * units.kB * 300.0
    for found in runs.values():
        assert (found.reason, found.drift) == (None, None)
        assert np.mean(found.energies[500:]) == pytest.approx(expected, rel=0.4)
    assert not np.allclose(runs[1].energies, runs[2].energies)
    again = heat_bath(atoms, Harmonic(5.0), {}, seed=1, friction=0.1)
    np.testing.assert_array_equal(again.energies, runs[1].energies)
