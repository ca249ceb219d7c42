"""What is asked of a potential finds stiffness, circulation and rounding that are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from stand_in import Harmonic, rattled

from piwsl_plugins.evaluation.dynamics import (
    curvatures,
    random_directions,
    work_errors,
)

SWIRL = np.array([0.3, -1.0, 2.0])
STRETCHED = Atoms("H2", positions=[[0.0, 0.0, 0.0], [0.5, 0.8, 0.3]])


def test_the_curvature_of_a_spring_is_its_stiffness() -> None:
    found = curvatures(rattled("CH4", "H2O"), Harmonic(7.0))
    np.testing.assert_allclose(found, np.full((2, 3), 7.0), rtol=1e-9)


def test_the_work_of_the_gradient_is_the_fall_of_the_energy() -> None:
    found = work_errors(rattled("CH4", "CO"), EMT(), size=0.02)
    assert found["n_sides"] == 6
    assert found["mean_work_mev"] > 1.0
    assert found["ratio"] < 1e-6


def test_a_swirl_does_the_work_of_its_circulation() -> None:
    atom = Atoms("H", positions=[[0.0, 0.0, 0.0]])
    found = work_errors([atom], Harmonic(4.0, swirl=SWIRL), seed=5, size=0.1)
    first, second = 0.1 * random_directions(1, 2, np.random.default_rng(5))[:, 0]
    # sides through the centre of the swirl see none of it
    expected = 1000.0 * abs(SWIRL @ np.cross(first, second)) / np.sqrt(3.0)
    assert found["rms_error_mev"] == pytest.approx(expected, rel=1e-9)
    assert found["ratio"] > 0.05
    assert work_errors([atom], Harmonic(0.0))["ratio"] is None


def test_single_precision_hides_no_gradient() -> None:
    assert work_errors([STRETCHED], Harmonic(single=True))["ratio"] < 1e-2


@pytest.mark.parametrize("ask", [curvatures, work_errors])
def test_a_potential_that_diverges_is_an_error(ask: object) -> None:
    with pytest.raises(ValueError, match="of a displaced frame is not a finite number"):
        ask([Atoms("H")], Harmonic(np.nan))
