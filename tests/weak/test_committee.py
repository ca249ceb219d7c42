"""A committee's mean and spread are those of its members, and weights follow the spread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.weak.committee import judge, opinion


def test_mean_and_spread_are_those_of_a_sample() -> None:
    forces = np.zeros((3, 2, 3))
    forces[:, 1, 0] = [1.0, 2.0, 3.0]  # a standard deviation of 1 in one component of six
    found = opinion(np.array([3.0, 4.0, 8.0]), forces)
    assert found.energy == pytest.approx(5.0)
    np.testing.assert_allclose(found.forces, [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    assert found.energy_std == pytest.approx(np.sqrt(7.0) / 2.0)
    assert found.forces_std == pytest.approx(np.sqrt(1.0 / 6.0))
    assert found.max_forces_std == pytest.approx(1.0)


def test_one_member_has_no_spread_to_tell() -> None:
    found = opinion(np.array([1.0]), np.ones((1, 2, 3)))
    assert found.energy == 1.0
    assert found.energy_std is found.forces_std is found.max_forces_std is None


@given(st.integers(2, 5), st.integers(1, 4), st.floats(-5.0, 5.0))
def test_what_all_members_share_is_no_disagreement(members: int, atoms: int, shift: float) -> None:
    rng = np.random.default_rng(members * 10 + atoms)
    energies, forces = rng.normal(size=members), rng.normal(size=(members, atoms, 3))
    one, other = opinion(energies, forces), opinion(energies + shift, forces + shift)
    assert other.energy_std == pytest.approx(one.energy_std)
    assert other.max_forces_std == pytest.approx(one.max_forces_std)
    # the worst atom's vector is no shorter than the mean over all components
    assert one.max_forces_std is not None
    assert one.forces_std is not None
    assert one.max_forces_std >= one.forces_std


@pytest.mark.parametrize(
    ("energies", "forces", "message"),
    [
        (np.zeros(0), np.zeros((0, 1, 3)), "expected"),
        (np.zeros(2), np.zeros((3, 1, 3)), "expected"),
        (np.array([0.0, np.nan]), np.zeros((2, 1, 3)), "not a finite number"),
    ],
)
def test_what_is_no_committee_is_refused(
    energies: np.ndarray, forces: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        opinion(energies, forces)


def test_frames_up_to_the_median_count_fully_and_others_by_the_inverse_variance() -> None:
    verdict = judge(np.array([0.1, 0.2, 0.4, 2.0, 0.2]))
    assert verdict.median == pytest.approx(0.2)
    np.testing.assert_allclose(verdict.weights, [1.0, 1.0, 0.25, 0.01, 1.0])
    assert verdict.threshold == pytest.approx(1.0)
    assert verdict.kept.tolist() == [True, True, True, False, True]


def test_a_threshold_of_the_users_takes_the_place_of_the_median_rule() -> None:
    verdict = judge(np.array([0.1, 0.2, 0.4]), 0.3)
    assert verdict.kept.tolist() == [True, True, False]


def test_members_that_agree_everywhere_leave_every_frame() -> None:
    verdict = judge(np.zeros(3))
    assert verdict.kept.all()
    assert verdict.weights.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("spread", "threshold", "message"),
    [([], None, "some frames"), ([np.nan], None, "finite"), ([1.0], 0.0, "must be positive")],
)
def test_nothing_to_judge_is_an_error(
    spread: list[float], threshold: float | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        judge(np.array(spread), threshold)
