"""From residuals to penalties: their values, their units, and what the tolerance sets free."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from potentials import clusters, harmonic, per_graph, random_hessian, random_steps

from piwsl_plugins.losses import exceed_tolerance, from_energy, penalise, taylor_residual

RESIDUALS = st.floats(min_value=-1e3, max_value=1e3)
PENALTIES = ("squared", "absolute", "huber")


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@given(RESIDUALS)
def test_squared_is_the_square_and_absolute_the_size(residual: float) -> None:
    assert float(penalise(scalar(residual), "squared")) == residual * residual
    assert float(penalise(scalar(residual), "absolute")) == abs(residual)


@given(RESIDUALS, st.floats(min_value=1e-4, max_value=10.0))
def test_huber_is_half_the_square_up_to_delta_and_linear_beyond(
    residual: float, delta: float
) -> None:
    size = abs(residual)
    expected = 0.5 * size**2 if size <= delta else delta * (size - 0.5 * delta)
    value = float(penalise(scalar(residual), "huber", delta))
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("penalty", PENALTIES)
@given(residual=RESIDUALS)
def test_a_penalty_is_even_and_never_negative(penalty: str, residual: float) -> None:
    there, back = (float(penalise(scalar(sign * residual), penalty)) for sign in (1.0, -1.0))
    assert there == back >= 0.0


@pytest.mark.parametrize("penalty", PENALTIES)
@given(small=st.floats(min_value=0.0, max_value=10.0), more=st.floats(1e-3, 10.0))
def test_a_larger_residual_costs_more(penalty: str, small: float, more: float) -> None:
    low, high = (float(penalise(scalar(value), penalty)) for value in (small, small + more))
    assert low < high


@pytest.mark.parametrize("penalty", PENALTIES)
def test_no_residual_costs_nothing_and_pulls_nowhere(penalty: str) -> None:
    residual = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    penalty_values = penalise(residual, penalty)
    penalty_values.sum().backward()
    assert penalty_values.tolist() == [0.0, 0.0, 0.0]
    assert residual.grad is not None
    assert residual.grad.tolist() == [0.0, 0.0, 0.0]


def test_hubers_pull_stops_growing_at_delta() -> None:
    residual = torch.tensor([-5.0, -0.02, 0.001, 0.02, 5.0], dtype=torch.float64)
    residual.requires_grad_()
    penalise(residual, "huber", 0.01).sum().backward()
    assert residual.grad is not None
    assert residual.grad.tolist() == [-0.01, -0.01, 0.001, 0.01, 0.01]


def test_penalties_act_on_each_residual_and_keep_shape_and_dtype() -> None:
    residual = torch.linspace(-0.03, 0.03, 6, dtype=torch.float32).reshape(2, 3)
    for penalty in PENALTIES:
        value = penalise(residual, penalty, 0.01)
        assert value.shape == residual.shape
        assert value.dtype == torch.float32


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_penalty_is_differentiable_twice_away_from_its_kinks(penalty: str) -> None:
    residual = torch.tensor([-0.8, -0.004, 0.003, 0.5], dtype=torch.float64, requires_grad=True)

    def function(r: torch.Tensor) -> torch.Tensor:
        return penalise(r, penalty, 0.01)

    assert torch.autograd.gradcheck(function, (residual,))
    assert torch.autograd.gradgradcheck(function, (residual,))


def test_an_unknown_penalty_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="penalty: got 'cubed', expected 'squared', 'absolute'"):
        penalise(scalar(1.0), "cubed")


@given(RESIDUALS, st.floats(0.0, 10.0), st.floats(0.0, 100.0))
def test_the_tolerance_takes_its_budget_off_the_size_and_keeps_the_sign(
    residual: float, step_squared: float, tolerance: float
) -> None:
    value = float(exceed_tolerance(scalar(residual), scalar(step_squared), tolerance))
    excess = max(abs(residual) - 0.5 * tolerance * step_squared, 0.0)
    assert value == pytest.approx(math.copysign(excess, residual), rel=1e-12, abs=1e-12)


def test_no_tolerance_leaves_the_residual_alone() -> None:
    residual = torch.tensor([-1.5, 0.0, 2.5], dtype=torch.float64)
    assert torch.equal(exceed_tolerance(residual, torch.ones_like(residual), 0.0), residual)


def test_a_residual_within_its_budget_pulls_nowhere_and_one_beyond_pulls_fully() -> None:
    residual = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    exceed_tolerance(residual, torch.ones(5, dtype=torch.float64), 2.0).sum().backward()
    assert residual.grad is not None
    assert residual.grad.tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]


def test_a_tolerance_equal_to_the_curvature_frees_an_isotropic_harmonic_potential() -> None:
    batch = clusters()
    curvature = 30.0
    hessian = curvature * torch.eye(21, dtype=torch.float64)
    residual, step_squared = first_order(hessian, 0.3)
    freed = exceed_tolerance(residual, step_squared, curvature)
    torch.testing.assert_close(freed, torch.zeros_like(freed), rtol=0.0, atol=1e-12)
    # and half of it leaves the other half
    half = exceed_tolerance(residual, step_squared, curvature / 2)
    torch.testing.assert_close(half, residual / 2, rtol=1e-11, atol=0.0)
    assert len(freed) == batch.n_graphs


def test_a_tolerance_of_the_largest_eigenvalue_frees_an_anisotropic_harmonic_potential() -> None:
    hessian = random_hessian(clusters().graph_index)
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    residual, step_squared = first_order(hessian, 0.3)
    assert (exceed_tolerance(residual, step_squared, largest) == 0.0).all()


def test_a_maximum_is_freed_by_the_same_tolerance_as_a_minimum() -> None:
    hessian = -30.0 * torch.eye(21, dtype=torch.float64)
    residual, step_squared = first_order(hessian, 0.3)
    assert (residual < 0).all()
    left = exceed_tolerance(residual, step_squared, 20.0)
    torch.testing.assert_close(left, residual / 3, rtol=1e-11, atol=0.0)


def first_order(hessian: torch.Tensor, length: float) -> tuple[torch.Tensor, torch.Tensor]:
    """R_T and |d|^2 of a harmonic potential."""
    batch = clusters()
    model = from_energy(harmonic(hessian, batch.positions, batch.graph_index, batch.n_graphs))
    displacement = random_steps(batch.positions, length)
    start = batch.positions.clone().requires_grad_()
    energy, forces = model(start, forces=True)
    assert forces is not None
    energy_end, _ = model(batch.positions + displacement, forces=False)
    residual = taylor_residual(energy_end, energy, forces, displacement, batch.graph_index)
    return residual.detach(), per_graph(displacement.square(), batch)
