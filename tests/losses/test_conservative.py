"""The residual between two displaced points: a gradient field does no net work round a loop."""

from __future__ import annotations

import itertools

import pytest
import torch
from potentials import (
    PAIR_POTENTIALS,
    SCHEMES,
    Clusters,
    Energy,
    Model,
    clusters,
    harmonic,
    linear,
    morse,
    per_graph,
    random_hessian,
    random_steps,
    swirl_circulation,
    swirl_work,
    with_swirl,
)
from torch import Tensor

from piwsl_plugins.losses import conservative_residual, from_energy, quadratic_term, taylor_residual

OMEGA = torch.tensor([0.4, -1.1, 0.7], dtype=torch.float64)


def residual(
    model: Model, batch: Clusters, displacement: Tensor, other: Tensor, scheme: str = "first"
) -> Tensor:
    """R_C of a model, its forces at the other point averaged with the end's for the trapezoid."""
    end = (batch.positions + displacement).requires_grad_()
    start = (batch.positions + other).requires_grad_()
    energy_end, forces_end = model(end, forces=True)
    energy, forces = model(start, forces=True)
    assert forces is not None
    assert forces_end is not None
    quadratic = None
    if scheme == "hessian":
        quadratic = quadratic_term(
            forces, start, displacement - other, batch.graph_index, batch.n_graphs
        )
    if scheme == "trapezoid":
        forces = 0.5 * (forces + forces_end)
    return conservative_residual(
        energy_end, energy, forces, displacement, other, batch.graph_index, quadratic
    )


def loop_mismatch(model: Model, batch: Clusters, corners: list[Tensor], pieces: int) -> Tensor:
    """Sum of the trapezoid residuals round a closed polygon of displacements.

    The energies cancel, so that it is the quadrature of the work <dr, F> round the loop.
    """
    total = torch.zeros(batch.n_graphs, dtype=torch.float64)
    for start, end in itertools.pairwise([*corners, corners[0]]):
        points = [start + (end - start) * k / pieces for k in range(pieces + 1)]
        for here, there in itertools.pairwise(points):
            total = total + residual(model, batch, there, here, "trapezoid").detach()
    return total


def pair_of_steps(batch: Clusters, length: float = 0.3) -> tuple[Tensor, Tensor]:
    """Two displacements that have nothing to do with each other."""
    return (
        random_steps(batch.positions, length, seed=1),
        random_steps(batch.positions, length, seed=2),
    )


def two_molecules(potential: str = "morse") -> tuple[Clusters, Energy]:
    batch = clusters()
    return batch, PAIR_POTENTIALS[potential](batch.graph_index, batch.n_graphs)


@pytest.mark.parametrize("scheme", ["first", "trapezoid"])
def test_a_linear_potential_has_no_residual(scheme: str) -> None:
    batch = clusters()
    slope = random_steps(batch.positions, 7.0, seed=3)
    model = from_energy(linear(slope, batch.graph_index, batch.n_graphs))
    value = residual(model, batch, *pair_of_steps(batch), scheme)
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0.0, atol=1e-14)


def test_the_first_order_residual_of_a_harmonic_potential_is_half_the_form_of_d_minus_d() -> None:
    batch = clusters()
    hessian = random_hessian(batch.graph_index)
    model = from_energy(harmonic(hessian, 0.9 * batch.positions, batch.graph_index, 2))
    displacement, other = pair_of_steps(batch)
    flat = (displacement - other).flatten()
    density = (0.5 * flat * (hessian @ flat)).reshape(-1, 3).sum(-1)
    expected = per_graph(density, batch)
    value = residual(model, batch, displacement, other)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-11, atol=0.0)


@pytest.mark.parametrize("scheme", ["hessian", "trapezoid"])
def test_the_second_order_residual_of_a_harmonic_potential_is_zero(scheme: str) -> None:
    batch = clusters()
    hessian = random_hessian(batch.graph_index)
    model = from_energy(harmonic(hessian, 0.9 * batch.positions, batch.graph_index, 2))
    value = residual(model, batch, *pair_of_steps(batch), scheme)
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("name", PAIR_POTENTIALS)
@pytest.mark.parametrize(("scheme", "slope"), [("first", 2), ("hessian", 3), ("trapezoid", 3)])
def test_the_residual_falls_with_the_order_of_the_expansion(
    name: str, scheme: str, slope: int
) -> None:
    batch, energy = two_molecules(name)
    model = from_energy(energy)
    sizes = [
        residual(model, batch, *pair_of_steps(batch, 2.0**-power), scheme).detach().abs()
        for power in (9, 10)
    ]
    slopes = (sizes[0] / sizes[1]).log2()
    torch.testing.assert_close(slopes, torch.full_like(slopes, slope), rtol=0.0, atol=0.03)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_point_twice_has_no_residual(scheme: str) -> None:
    batch, energy = two_molecules()
    displacement, _ = pair_of_steps(batch)
    value = residual(from_energy(energy), batch, displacement, displacement, scheme)
    assert (value == 0.0).all()


def test_a_second_point_that_is_not_displaced_gives_the_taylor_residual() -> None:
    batch, energy = two_molecules()
    displacement, _ = pair_of_steps(batch)
    model = from_energy(energy)
    start = batch.positions.clone().requires_grad_()
    value, forces = model(start, forces=True)
    assert forces is not None
    value_end, _ = model(batch.positions + displacement, forces=False)
    expected = taylor_residual(value_end, value, forces, displacement, batch.graph_index)
    result = residual(model, batch, displacement, torch.zeros_like(displacement))
    torch.testing.assert_close(result, expected, rtol=0.0, atol=0.0)


def test_only_the_two_points_matter_and_not_the_geometry_between_them() -> None:
    batch, energy = two_molecules()
    displacement, other = pair_of_steps(batch)
    elsewhere = random_steps(batch.positions, 0.2, seed=8)
    moved = Clusters(
        positions=batch.positions + elsewhere, graph_index=batch.graph_index, n_graphs=2
    )
    model = from_energy(energy)
    here = residual(model, batch, displacement, other)
    there = residual(model, moved, displacement - elsewhere, other - elsewhere)
    torch.testing.assert_close(here, there, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", PAIR_POTENTIALS)
def test_a_gradient_field_has_no_path_mismatch_to_the_quadratures_order(name: str) -> None:
    batch, energy = two_molecules(name)
    model = from_energy(energy)
    corners = [torch.zeros_like(batch.positions), *pair_of_steps(batch, 0.2)]
    coarse, fine, finest = (
        loop_mismatch(model, batch, corners, pieces).abs() for pieces in (4, 8, 16)
    )
    assert (coarse > 1e-7).all()  # the quadrature has an error at all
    # the trapezoid rule's error falls with the square of the number of pieces
    for longer, shorter in ((coarse, fine), (fine, finest)):
        torch.testing.assert_close(
            longer / shorter, torch.full_like(longer, 4.0), rtol=0.1, atol=0.0
        )


def test_a_harmonic_field_has_no_path_mismatch_at_all() -> None:
    batch = clusters()
    hessian = random_hessian(batch.graph_index)
    model = from_energy(harmonic(hessian, 0.9 * batch.positions, batch.graph_index, 2))
    corners = [torch.zeros_like(batch.positions), *pair_of_steps(batch, 1.0)]
    mismatch = loop_mismatch(model, batch, corners, 1)
    torch.testing.assert_close(mismatch, torch.zeros_like(mismatch), rtol=0.0, atol=1e-12)


def test_a_swirl_has_its_closed_form_circulation_as_path_mismatch() -> None:
    batch = clusters()
    hessian = random_hessian(batch.graph_index)
    gradient_field = from_energy(harmonic(hessian, 0.9 * batch.positions, batch.graph_index, 2))
    model = with_swirl(gradient_field, OMEGA)
    corners = [torch.zeros_like(batch.positions), *pair_of_steps(batch, 1.0)]
    expected = swirl_circulation(OMEGA, corners, batch.graph_index, 2)
    assert (expected.abs() > 1e-3).all()
    for pieces in (1, 3):  # a linear force: exact for any number of pieces
        mismatch = loop_mismatch(model, batch, corners, pieces)
        torch.testing.assert_close(mismatch, expected, rtol=1e-10, atol=1e-13)


def test_the_swirls_circulation_is_the_work_along_the_sides() -> None:
    batch = clusters()
    corners = [random_steps(batch.positions, 1.0, seed=s) for s in range(4)]
    sides = [
        swirl_work(OMEGA, start, end, batch.graph_index, 2)
        for start, end in itertools.pairwise([*corners, corners[0]])
    ]
    total = swirl_circulation(OMEGA, corners, batch.graph_index, 2)
    torch.testing.assert_close(sum(sides), total, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("scheme", ["first", "trapezoid"])
def test_a_swirl_adds_its_work_from_the_other_point_to_the_residual(scheme: str) -> None:
    batch, energy = two_molecules()
    displacement, other = pair_of_steps(batch)
    model = from_energy(energy)
    extra = residual(with_swirl(model, OMEGA), batch, displacement, other, scheme) - residual(
        model, batch, displacement, other, scheme
    )
    # <d - d', omega x (r + d')> is already the whole work: omega x (d - d') does none along it
    expected = swirl_work(
        OMEGA, batch.positions + other, batch.positions + displacement, batch.graph_index, 2
    )
    torch.testing.assert_close(extra.detach(), expected, rtol=1e-10, atol=1e-13)


def test_a_swirl_vanishes_on_one_line_and_shows_between_two() -> None:
    batch = clusters()
    still = Clusters(
        positions=torch.zeros_like(batch.positions), graph_index=batch.graph_index, n_graphs=2
    )
    model = with_swirl(from_energy(nothing_at_all(batch)), OMEGA)
    displacement, other = pair_of_steps(batch)
    nothing = torch.zeros_like(displacement)
    radial = residual(model, still, displacement, nothing)
    torch.testing.assert_close(radial, torch.zeros_like(radial), rtol=0.0, atol=1e-14)
    between = residual(model, still, displacement, other)
    expected = swirl_work(OMEGA, other, displacement, batch.graph_index, 2)
    torch.testing.assert_close(between.detach(), expected, rtol=1e-11, atol=1e-14)
    assert (between.abs() > 1e-3).all()


def nothing_at_all(batch: Clusters) -> Energy:
    """No potential at all, differentiable."""
    return linear(torch.zeros_like(batch.positions), batch.graph_index, batch.n_graphs)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_training_through_the_residual_has_exact_first_and_second_derivatives(scheme: str) -> None:
    batch = clusters().graph(0)
    displacement, other = pair_of_steps(batch)

    def function(depth: Tensor, steepness: Tensor, length: Tensor) -> Tensor:
        model = from_energy(morse(batch.graph_index, 1, depth, steepness, length))
        return residual(model, batch, displacement, other, scheme)

    parameters = tuple(
        torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (4.5, 1.8, 1.15)
    )
    assert torch.autograd.gradcheck(function, parameters)
    assert torch.autograd.gradgradcheck(function, parameters)


def test_the_residual_is_differentiable_twice_in_all_its_arguments() -> None:
    batch = clusters().graph(0)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    def function(*tensors: Tensor) -> Tensor:
        energy_end, energy, forces, displacement, other, quadratic = tensors
        return conservative_residual(
            energy_end, energy, forces, displacement, other, batch.graph_index, quadratic
        )

    arguments = (random(1), random(1), random(3, 3), random(3, 3), random(3, 3), random(1))
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)
