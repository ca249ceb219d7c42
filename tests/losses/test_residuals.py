"""The Taylor and conservative-force residuals on potentials whose derivatives are known."""

from __future__ import annotations

import itertools

import pytest
import torch
from potentials import (
    PAIR_POTENTIALS,
    Clusters,
    Energy,
    WithSwirl,
    clusters,
    harmonic,
    linear,
    morse,
    random_hessian,
    random_steps,
    swirl_circulation,
)
from tools import SCHEMES, at, close, half_quadratic_form, parameters, steps_of
from torch import Tensor

from piwsl_plugins.losses import (
    Evaluate,
    conservative_residual,
    from_energy,
    quadratic_term,
    sum_per_graph,
    taylor_residual,
)

OMEGA = torch.tensor([0.4, -1.1, 0.7], dtype=torch.float64)
TERMS = ("taylor", "conservative")


def steps(batch: Clusters, term: str, length: float = 0.3) -> tuple[Tensor, Tensor | None]:
    """d, and d' for the conservative-force residual."""
    displacement, other = steps_of(batch, length)
    return displacement, other if term == "conservative" else None


def residual(
    model: Evaluate, batch: Clusters, displacement: Tensor, other: Tensor | None, scheme: str
) -> Tensor:
    """R_C of a model, or R_T where d' is None; for the trapezoid, of the mean of both forces."""
    index, n_graphs = batch.graph_index, batch.n_graphs
    shift = torch.zeros_like(displacement) if other is None else other
    end = (batch.positions + displacement).requires_grad_()
    start = (batch.positions + shift).requires_grad_()
    energy_end, forces_end = at(model, end)
    energy, forces = at(model, start)
    quadratic = None
    if scheme == "hessian":
        quadratic = quadratic_term(forces, start, displacement - shift, index, n_graphs)
    if scheme == "trapezoid":
        forces = 0.5 * (forces + forces_end)
    if other is None:
        return taylor_residual(energy_end, energy, forces, displacement, index, quadratic)
    return conservative_residual(energy_end, energy, forces, displacement, other, index, quadratic)


def anisotropic(batch: Clusters) -> tuple[Tensor, Evaluate]:
    """A Hessian and the harmonic potential that has it, away from its minimum."""
    hessian = random_hessian(batch.graph_index)
    energy = harmonic(hessian, 0.9 * batch.positions, batch.graph_index, batch.n_graphs)
    return hessian, from_energy(energy)


def of_pairs(batch: Clusters, name: str = "morse") -> Energy:
    return PAIR_POTENTIALS[name](batch.graph_index, batch.n_graphs)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("length", [1e-3, 0.1, 2.0])
def test_the_first_order_residual_of_a_harmonic_potential_is_half_the_quadratic_form_of_the_step(
    term: str, length: float
) -> None:
    batch = clusters()
    hessian, model = anisotropic(batch)
    displacement, other = steps(batch, term, length)
    step = displacement if other is None else displacement - other
    expected = half_quadratic_form(hessian, step, batch)
    close(residual(model, batch, displacement, other, "first"), expected, atol=1e-13)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize(
    ("kind", "scheme"),
    [*itertools.product(["linear"], ["first", "trapezoid"]),
     *itertools.product(["harmonic"], ["hessian", "trapezoid"])],
)  # fmt: skip
def test_a_linear_potential_has_no_residual_nor_a_harmonic_one_at_second_order(
    term: str, kind: str, scheme: str
) -> None:
    batch = clusters()
    slope = random_steps(batch.positions, 7.0, seed=3)
    model = from_energy(linear(slope, batch.graph_index, 2))
    model = anisotropic(batch)[1] if kind == "harmonic" else model
    value = residual(model, batch, *steps(batch, term, 1.0), scheme)
    close(value, torch.zeros_like(value), atol=1e-12)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("name", PAIR_POTENTIALS)
@pytest.mark.parametrize(("scheme", "slope"), [("first", 2), ("hessian", 3), ("trapezoid", 3)])
def test_the_residual_falls_with_the_order_of_the_expansion(
    term: str, name: str, scheme: str, slope: int
) -> None:
    batch = clusters()
    model = from_energy(of_pairs(batch, name))
    sizes = [
        residual(model, batch, *steps(batch, term, 2.0**-power), scheme).abs() for power in (9, 10)
    ]
    slopes = (sizes[0] / sizes[1]).log2()
    close(slopes, torch.full_like(slopes, slope), rtol=0.0, atol=0.03)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_rigid_translation_no_displacement_and_the_same_point_twice_have_no_residual(
    scheme: str,
) -> None:
    batch = clusters()
    model = from_energy(of_pairs(batch))
    shift = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64).expand_as(batch.positions)
    value = residual(model, batch, shift, None, scheme)
    close(value, torch.zeros_like(value), atol=1e-13)
    assert (residual(model, batch, torch.zeros_like(shift), None, scheme) == 0.0).all()
    step, _ = steps_of(batch)
    assert (residual(model, batch, step, step, scheme) == 0.0).all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("term", TERMS)
def test_a_graph_in_a_batch_has_the_residual_that_it_has_alone(scheme: str, term: str) -> None:
    batch = clusters()
    displacement, other = steps(batch, term)
    together = residual(from_energy(of_pairs(batch)), batch, displacement, other, scheme)
    for number in range(batch.n_graphs):
        alone, own = batch.graph(number), batch.graph_index == number
        of_own = None if other is None else other[own]
        value = residual(from_energy(of_pairs(alone)), alone, displacement[own], of_own, scheme)
        close(together[number], value[0], rtol=1e-11, atol=1e-14)


def loop_mismatch(model: Evaluate, batch: Clusters, corners: list[Tensor], pieces: int) -> Tensor:
    """Sum of the trapezoid residuals round a closed polygon of displacements.

    The energies cancel, so that it is the quadrature of the work <dr, F> round the loop.
    """
    total = torch.zeros(batch.n_graphs, dtype=torch.float64)
    for start, end in itertools.pairwise([*corners, corners[0]]):
        points = [start + (end - start) * k / pieces for k in range(pieces + 1)]
        for here, there in itertools.pairwise(points):
            total = total + residual(model, batch, there, here, "trapezoid").detach()
    return total


@pytest.mark.parametrize("name", PAIR_POTENTIALS)
def test_a_gradient_field_has_no_path_mismatch_to_the_quadratures_order(name: str) -> None:
    batch = clusters()
    corners = [torch.zeros_like(batch.positions), *steps_of(batch, 0.2)]
    model = from_energy(of_pairs(batch, name))
    coarse, fine = (loop_mismatch(model, batch, corners, pieces).abs() for pieces in (8, 16))
    assert (coarse > 1e-7).all()  # the quadrature has an error at all
    # that of the trapezoid rule falls with the square of the number of pieces
    close(coarse / fine, torch.full_like(fine, 4.0), rtol=0.1)


def test_a_swirl_has_its_closed_form_circulation_as_path_mismatch() -> None:
    batch = clusters()
    model = WithSwirl(anisotropic(batch)[1], OMEGA)
    corners = [torch.zeros_like(batch.positions), *steps_of(batch, 1.0)]
    expected = swirl_circulation(OMEGA, corners, batch.graph_index, 2)
    assert (expected.abs() > 1e-3).all()
    for pieces in (1, 3):  # a linear force: exact for any number of pieces
        mismatch = loop_mismatch(model, batch, corners, pieces)
        close(mismatch, expected, rtol=1e-10, atol=1e-13)


def test_sums_follow_the_graph_index_in_any_order_and_leave_empty_graphs_at_zero() -> None:
    values = torch.tensor([1.0, 20.0, 300.0, 4000.0], dtype=torch.float64)
    total = sum_per_graph(values, torch.tensor([2, 0, 2, 0]), 4)
    assert total.tolist() == [4020.0, 0.0, 301.0, 0.0]


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_training_through_the_residual_has_exact_first_and_second_derivatives(
    term: str, scheme: str
) -> None:
    batch = clusters().graph(0)

    def function(depth: Tensor, steepness: Tensor) -> Tensor:
        model = from_energy(morse(batch.graph_index, 1, depth, steepness))
        return residual(model, batch, *steps(batch, term), scheme)

    assert torch.autograd.gradcheck(function, parameters(4.5, 1.8))
    assert torch.autograd.gradgradcheck(function, parameters(4.5, 1.8))
