"""The curvature of a spring is its stiffness, and a softer model has the smaller slope."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from swirl import Harmonic

from piwsl_plugins.evaluation.curvature import (
    curvature_softening,
    curvatures,
    random_directions,
)


def frames() -> list[Atoms]:
    made = [molecule("CH4"), molecule("H2O"), molecule("CH4")]
    for number, atoms in enumerate(made):
        atoms.rattle(0.05, seed=number)
    return made


def test_directions_have_unit_length_over_all_atoms() -> None:
    found = random_directions(5, 4, np.random.default_rng(0))
    assert found.shape == (4, 5, 3)
    np.testing.assert_allclose(np.sum(found**2, axis=(1, 2)), 1.0)


def test_the_curvature_of_a_spring_is_its_stiffness() -> None:
    found = curvatures(frames(), Harmonic(7.0), directions=4)
    np.testing.assert_allclose(found, np.full((3, 4), 7.0), rtol=1e-9)


def test_the_same_seed_gives_two_calculators_the_same_directions() -> None:
    one, two = (curvatures(frames(), EMT(), seed=3) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, curvatures(frames(), EMT(), seed=4))


def test_the_slope_of_a_potential_of_half_the_stiffness_is_a_half() -> None:
    reference = curvatures(frames(), EMT())
    found = curvature_softening(0.5 * reference, reference)
    assert found.slope == pytest.approx(0.5)
    assert found.interval == pytest.approx((0.5, 0.5))
    assert found.n_frames == 3
