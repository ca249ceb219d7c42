"""From residuals and force errors to penalties: values, what is free, and where they pull."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from piwsl_plugins.losses import exceed_tolerance, penalise, weak_force_penalties

RESIDUALS = st.floats(min_value=-1e3, max_value=1e3)
PENALTIES = ("squared", "absolute", "huber")
INDEX = torch.tensor([0, 0, 1])


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@given(RESIDUALS, st.floats(min_value=1e-4, max_value=10.0))
def test_squared_is_the_square_absolute_the_size_and_huber_something_between(
    residual: float, delta: float
) -> None:
    size = abs(residual)
    huber = 0.5 * size**2 if size <= delta else delta * (size - 0.5 * delta)
    for penalty, expected in zip(PENALTIES, (residual**2, size, huber), strict=True):
        for sign in (1.0, -1.0):
            value = float(penalise(scalar(sign * residual), penalty, delta))
            assert value == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_penalty_is_differentiable_twice_and_zero_costs_nothing_and_pulls_nowhere(
    penalty: str,
) -> None:
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    values = penalise(zero, penalty)
    (gradient,) = torch.autograd.grad(values.sum(), zero)
    assert values.tolist() == gradient.tolist() == [0.0, 0.0, 0.0]
    residual = torch.tensor([-0.8, -0.004, 0.003, 0.5], dtype=torch.float64, requires_grad=True)

    def function(r: Tensor) -> Tensor:
        return penalise(r, penalty, 0.01)

    assert torch.autograd.gradcheck(function, (residual,))
    assert torch.autograd.gradgradcheck(function, (residual,))


@given(RESIDUALS, st.floats(0.0, 10.0), st.floats(0.0, 100.0))
def test_the_tolerance_takes_its_budget_off_the_size_and_keeps_the_sign(
    residual: float, step_squared: float, tolerance: float
) -> None:
    value = float(exceed_tolerance(scalar(residual), scalar(step_squared), tolerance))
    excess = max(abs(residual) - 0.5 * tolerance * step_squared, 0.0)
    assert value == pytest.approx(math.copysign(excess, residual), rel=1e-12, abs=1e-12)


def test_a_residual_within_its_budget_pulls_nowhere_and_one_beyond_pulls_fully() -> None:
    residual = torch.tensor([-3.0, -0.5, 0.5, 3.0], requires_grad=True)
    excess = exceed_tolerance(residual, torch.ones(4), 2.0)
    assert torch.autograd.grad(excess.sum(), residual)[0].tolist() == [1.0, 0.0, 0.0, 1.0]


def random_forces() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    forces, weak = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    return forces.requires_grad_(), weak


def test_the_penalty_is_the_mean_square_over_components() -> None:
    forces, weak = random_forces()
    error = forces - weak
    expected = torch.stack([part.square().mean() for part in error.split([2, 1])])
    torch.testing.assert_close(weak_force_penalties(forces, weak, INDEX, 2), expected)


def test_missing_weak_forces_cost_nothing_and_leave_no_nan_in_the_gradient() -> None:
    forces, weak = random_forces()
    weak[:2] = torch.nan
    trust = torch.tensor([torch.nan, torch.nan, 1.0])
    has = torch.tensor([False, True])
    for weights in (None, trust):
        values = weak_force_penalties(forces, weak, INDEX, 2, has_weak_forces=has, weights=weights)
        (gradient,) = torch.autograd.grad(values.sum(), forces)
        assert values[0] == 0.0
        assert values[1] > 0.0
        assert gradient[:2].eq(0.0).all()
        assert gradient[2].abs().min() > 0


def test_a_label_pulls_in_proportion_to_the_trust_in_it() -> None:
    forces, weak = random_forces()
    trust = torch.tensor([1.0, 0.25, 0.0], dtype=torch.float64)
    full, less = (
        weak_force_penalties(forces, weak, INDEX, 2, weights=weights) for weights in (None, trust)
    )
    pull, weaker = (torch.autograd.grad(values.sum(), forces)[0] for values in (full, less))
    torch.testing.assert_close(weaker, trust.unsqueeze(-1) * pull)
    assert less[1] == 0.0


def test_weak_force_gradients_are_right_to_second_order() -> None:
    forces, weak = random_forces()

    def total(values: Tensor) -> Tensor:
        return weak_force_penalties(values, weak, INDEX, 2)

    assert torch.autograd.gradcheck(total, forces)
    assert torch.autograd.gradgradcheck(total, forces)
