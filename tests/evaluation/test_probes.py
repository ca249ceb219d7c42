"""What is asked of a potential finds stiffness, circulation and rounding that are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from stand_in import Harmonic, rattled

from piwsl_plugins.evaluation.dynamics import (
    LONGEST_STEP,
    SHORTEST_STEP,
    curvatures,
    force_consistency,
    loop_work,
    random_directions,
)

SWIRL = np.array([0.3, -1.0, 2.0])
STRETCHED = Atoms("H2", positions=[[0.0, 0.0, 0.0], [0.5, 0.8, 0.3]])


def test_the_curvature_of_a_spring_is_its_stiffness() -> None:
    found = curvatures(rattled("CH4", "H2O"), Harmonic(7.0))
    np.testing.assert_allclose(found, np.full((2, 3), 7.0), rtol=1e-9)


def test_a_conservative_field_does_no_work_around_loops() -> None:
    found = loop_work(rattled("CH4", "CO"), EMT(), size=0.02)
    assert found["n_loops"] == 2
    assert found["mean_edge_work_mev"] > 1.0
    assert found["ratio"] < 1e-6


def test_a_swirl_does_the_work_of_its_circulation() -> None:
    found = loop_work([Atoms("H")], Harmonic(4.0, swirl=SWIRL), size=0.1, seed=5)
    first, second = 0.1 * random_directions(1, 2, np.random.default_rng(5))[:, 0]
    expected = 1000.0 * abs(SWIRL @ np.cross(first, second))
    assert found["rms_work_mev"] == pytest.approx(expected, rel=1e-9)
    assert found["ratio"] > 0.05
    assert loop_work([Atoms("H")], Harmonic(0.0))["ratio"] is None


def test_the_forces_of_a_potential_are_its_gradient() -> None:
    found = force_consistency(rattled("CH4", "H2O"), EMT(), directions=3)
    assert found["n_directions"] == 6
    assert found["step_angstrom"] == SHORTEST_STEP
    assert found["max_error_mev_per_angstrom"] < 1e-5


def test_forces_that_are_no_gradient_are_found_with_their_size() -> None:
    swirl = 0.01 * SWIRL
    found = force_consistency([STRETCHED], Harmonic(swirl=swirl), seed=2, directions=1)
    (way,) = random_directions(2, 1, np.random.default_rng(2))
    expected = 1000.0 * abs(np.sum(np.cross(swirl, STRETCHED.positions) * way))
    assert found["rms_error_mev_per_angstrom"] == pytest.approx(expected, rel=1e-6)


def test_single_precision_gets_a_longer_step_and_says_what_it_resolves() -> None:
    found = force_consistency([STRETCHED], Harmonic(single=True), directions=8)
    assert SHORTEST_STEP < found["step_angstrom"] <= LONGEST_STEP
    assert found["rms_error_mev_per_angstrom"] < 4 * found["resolution_mev_per_angstrom"]
    assert found["resolution_mev_per_angstrom"] > 0.1


@pytest.mark.parametrize("ask", [curvatures, loop_work, force_consistency])
def test_a_potential_that_diverges_is_an_error(ask: object) -> None:
    with pytest.raises(ValueError, match="of a displaced frame is not a finite number"):
        ask([Atoms("H")], Harmonic(np.nan))
