"""Energy is conserved on a potential, not in a swirl, and an explosion is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.morse import MorsePotential
from stand_in import Harmonic

from piwsl_plugins.evaluation.dynamics import trajectory
from piwsl_plugins.teacher.geometries import Plausibility

MORSE = {"epsilon": 4.0, "rho0": 3.0, "r0": 1.2, "rcut1": 6.0, "rcut2": 8.0}
ATOM = Atoms("H", positions=[[1.0, 0.0, 0.0]])


def dimer() -> Atoms:
    return Atoms("O2", positions=[[0.0, 0.0, 0.0], [1.2, 0.0, 0.0]])


def run(frame: Atoms, calculator: Any, **options: Any) -> Any:
    return trajectory(frame, calculator, Plausibility([frame]), **options)


def test_a_vibrating_dimer_keeps_its_energy() -> None:
    found = run(dimer(), MorsePotential(**MORSE), steps=400)
    assert found.exploded_at is None
    assert found.times[-1] == pytest.approx(0.2)
    assert abs(found.drift) < 1e-2
    assert found.fluctuation < 1e-3


def test_energy_that_runs_away_has_exploded_where_a_limit_is_set() -> None:
    found = run(ATOM, Harmonic(5.0, swirl=(0, 0, 2)), most_drift=0.5)
    assert found.reason.endswith(" eV per atom from the first")
    assert abs(found.energies[-1]) > 0.5 >= abs(found.energies[-2])
    assert found.exploded_at == pytest.approx(found.times[-1])


def test_atoms_that_fly_apart_have_exploded() -> None:
    found = run(dimer(), Harmonic(-20.0, dimer().positions.mean(axis=0)), steps=500)
    assert found.exploded_at < 0.1
    assert found.drift is None
    assert "nearest neighbour" in found.reason
    assert "1.20" in found.reason


def test_a_model_that_fails_on_the_way_is_told_and_not_raised() -> None:
    class Broken(Harmonic):
        def calculate(self, *arguments: Any, **names: Any) -> None:
            super().calculate(*arguments, **names)
            if self.atoms.positions[0, 0] < 0.9:
                raise RuntimeError("no such geometry")

    found = run(ATOM, Broken(), steps=200)
    assert found.reason == "the model failed: no such geometry"
    assert len(found.times) == len(found.energies)


def test_a_heat_bath_brings_a_cold_start_to_its_temperature() -> None:
    atoms = Atoms("H40", positions=np.zeros((40, 3)))
    known = Plausibility([Atoms("H")])
    one, two, again = (
        trajectory(atoms, Harmonic(5.0), known, seed=seed, friction=0.1) for seed in (1, 2, 1)
    )
    # kinetic and potential energy of an oscillator; it started with the former alone
    expected = 1.5 * units.kB * 300.0
    for found in (one, two):
        assert (found.reason, found.drift) == ("", None)
        assert np.mean(found.energies[500:]) == pytest.approx(expected, rel=0.4)
    assert not np.allclose(one.energies, two.energies)
    np.testing.assert_array_equal(again.energies, one.energies)
