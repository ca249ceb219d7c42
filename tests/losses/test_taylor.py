"""The Taylor residual on potentials whose derivatives are known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from potentials import (
    PAIR_POTENTIALS,
    SCHEMES,
    Clusters,
    Energy,
    clusters,
    exact_forces,
    harmonic,
    lennard_jones,
    linear,
    morse,
    per_graph,
    random_hessian,
    random_steps,
)
from torch import Tensor

from piwsl_plugins.losses import from_energy, quadratic_term, sum_per_graph, taylor_residual, work


def residual(energy: Energy, batch: Clusters, displacement: Tensor, scheme: str) -> Tensor:
    """R_T of a model whose forces are the exact gradient."""
    model = from_energy(energy)
    start = batch.positions.detach().requires_grad_()
    end = (start.detach() + displacement).requires_grad_()
    value, forces = model(start, forces=True)
    value_end, forces_end = model(end, forces=True)
    assert forces is not None
    assert forces_end is not None
    quadratic = None
    if scheme == "hessian":
        quadratic = quadratic_term(forces, start, displacement, batch.graph_index, batch.n_graphs)
    if scheme == "trapezoid":
        forces = 0.5 * (forces + forces_end)
    return taylor_residual(value_end, value, forces, displacement, batch.graph_index, quadratic)


def directional_derivatives(energy: Energy, batch: Clusters, direction: Tensor) -> list[Tensor]:
    """First, second and third derivative of each graph's energy along ``direction``."""
    t = torch.zeros(batch.n_graphs, dtype=torch.float64, requires_grad=True)
    value = energy(batch.positions + t[batch.graph_index].unsqueeze(-1) * direction)
    derivatives = []
    for _ in range(3):
        (value,) = torch.autograd.grad(value.sum(), t, create_graph=True)
        derivatives.append(value.detach())
    return derivatives


def stretch(batch: Clusters, length: float) -> Tensor:
    """A breathing step with some noise: no derivative along it is small by chance."""
    steps = batch.positions - batch.positions.mean(0) + random_steps(batch.positions, 0.2)
    return length * torch.nn.functional.normalize(steps.flatten(), dim=0).reshape(steps.shape)


def anisotropic(batch: Clusters) -> tuple[Tensor, Energy]:
    """A Hessian and the harmonic potential that has it, away from its minimum."""
    hessian = random_hessian(batch.graph_index)
    minimum = batch.positions + random_steps(batch.positions, 0.5, seed=5)
    return hessian, harmonic(hessian, minimum, batch.graph_index, batch.n_graphs)


def half_quadratic_form(hessian: Tensor, displacement: Tensor, batch: Clusters) -> Tensor:
    """1/2 d'Hd of each graph, from the matrix."""
    flat = displacement.flatten()
    density = (0.5 * flat * (hessian @ flat)).reshape(-1, 3).sum(-1)
    return per_graph(density, batch)


@pytest.mark.parametrize("scheme", ["first", "trapezoid"])
def test_a_linear_potential_has_no_residual(scheme: str) -> None:
    batch = clusters()
    slope = random_steps(batch.positions, 7.0, seed=1)
    energy = linear(slope, batch.graph_index, batch.n_graphs)
    value = residual(energy, batch, random_steps(batch.positions, 0.8), scheme)
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0.0, atol=1e-14)


def test_a_linear_potential_plus_a_flat_harmonic_one_has_no_residual_in_the_hessian_form() -> None:
    batch = clusters()
    slope = random_steps(batch.positions, 7.0, seed=1)
    straight = linear(slope, batch.graph_index, batch.n_graphs)
    flat = harmonic(torch.zeros(21, 21, dtype=torch.float64), batch.positions, batch.graph_index, 2)
    value = residual(
        lambda r: straight(r) + flat(r), batch, random_steps(batch.positions, 0.8), "hessian"
    )
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0.0, atol=1e-14)


def test_the_first_order_residual_of_a_harmonic_potential_is_half_dhd_at_any_length() -> None:
    batch = clusters()
    hessian, energy = anisotropic(batch)
    for length in (1e-3, 0.1, 2.0):
        displacement = random_steps(batch.positions, length)
        expected = half_quadratic_form(hessian, displacement, batch)
        value = residual(energy, batch, displacement, "first")
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("scheme", ["hessian", "trapezoid"])
def test_the_second_order_residual_of_a_harmonic_potential_is_zero(scheme: str) -> None:
    batch = clusters()
    _, energy = anisotropic(batch)
    value = residual(energy, batch, random_steps(batch.positions, 2.0), scheme)
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", PAIR_POTENTIALS)
@pytest.mark.parametrize(("scheme", "slope"), [("first", 2), ("hessian", 3), ("trapezoid", 3)])
def test_the_residual_falls_with_the_order_of_the_expansion(
    name: str, scheme: str, slope: int
) -> None:
    batch = clusters()
    energy = PAIR_POTENTIALS[name](batch.graph_index, batch.n_graphs)
    sizes = torch.stack(
        [
            residual(energy, batch, stretch(batch, 2.0**-power), scheme).detach().abs()
            for power in range(7, 11)
        ]
    )
    slopes = (sizes[:-1] / sizes[1:]).log2()
    torch.testing.assert_close(slopes[-1], torch.full_like(slopes[-1], slope), rtol=0.0, atol=0.02)
    # what is left of the deviation is the next order's and halves with the length
    deviations = (slopes - slope).abs()
    assert (deviations[1:] < 0.7 * deviations[:-1]).all()


@pytest.mark.parametrize("name", PAIR_POTENTIALS)
@pytest.mark.parametrize(
    ("scheme", "derivative", "factor"),
    [("first", 2, 1 / 2), ("hessian", 3, 1 / 6), ("trapezoid", 3, -1 / 12)],
)
def test_the_leading_error_is_the_first_derivative_left_out(
    name: str, scheme: str, derivative: int, factor: float
) -> None:
    batch = clusters()
    energy = PAIR_POTENTIALS[name](batch.graph_index, batch.n_graphs)
    displacement = stretch(batch, 1e-3)
    leading = factor * directional_derivatives(energy, batch, displacement)[derivative - 1]
    value = residual(energy, batch, displacement, scheme)
    torch.testing.assert_close(value.detach(), leading, rtol=0.02, atol=0.0)


@pytest.mark.parametrize("name", PAIR_POTENTIALS)
def test_the_trapezoids_error_is_minus_half_of_the_hessian_forms(name: str) -> None:
    batch = clusters()
    energy = PAIR_POTENTIALS[name](batch.graph_index, batch.n_graphs)
    displacement = stretch(batch, 1e-3)
    trapezoid = residual(energy, batch, displacement, "trapezoid")
    hessian = residual(energy, batch, displacement, "hessian")
    ratio = (trapezoid / hessian).detach()
    torch.testing.assert_close(ratio, torch.full_like(ratio, -0.5), rtol=0.02, atol=0.0)


def test_the_trapezoid_residual_changes_sign_when_the_ends_are_exchanged() -> None:
    batch = clusters()
    energy = morse(batch.graph_index, batch.n_graphs)
    displacement = random_steps(batch.positions, 0.2)
    displaced = Clusters(
        positions=batch.positions + displacement,
        graph_index=batch.graph_index,
        n_graphs=batch.n_graphs,
    )
    there = residual(energy, batch, displacement, "trapezoid")
    back = residual(energy, displaced, -displacement, "trapezoid")
    torch.testing.assert_close(back, -there, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_rigid_translation_has_no_residual(scheme: str) -> None:
    batch = clusters()
    energy = morse(batch.graph_index, batch.n_graphs)
    shift = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64).expand_as(batch.positions)
    value = residual(energy, batch, shift, scheme)
    torch.testing.assert_close(value, torch.zeros_like(value), rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_displacement_has_no_residual(scheme: str) -> None:
    batch = clusters()
    energy = lennard_jones(batch.graph_index, batch.n_graphs)
    value = residual(energy, batch, torch.zeros_like(batch.positions), scheme)
    assert (value == 0.0).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_graph_in_a_batch_has_the_residual_that_it_has_alone(scheme: str) -> None:
    batch = clusters()
    displacement = random_steps(batch.positions, 0.3)
    together = residual(morse(batch.graph_index, 2), batch, displacement, scheme)
    for number in range(batch.n_graphs):
        alone = batch.graph(number)
        own = displacement[batch.graph_index == number]
        value = residual(morse(alone.graph_index, 1), alone, own, scheme)
        torch.testing.assert_close(together[number], value[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("potential", [morse, lennard_jones])
def test_the_quadratic_term_is_half_dhd_of_autograds_own_hessian(
    potential: Callable[[Tensor, int], Energy],
) -> None:
    batch = clusters()
    energy = potential(batch.graph_index, batch.n_graphs)
    displacement = random_steps(batch.positions, 0.3)
    start = batch.positions.clone().requires_grad_()
    _, forces = from_energy(energy)(start, forces=True)
    assert forces is not None
    value = quadratic_term(forces, start, displacement, batch.graph_index, batch.n_graphs)
    matrix = torch.autograd.functional.hessian(lambda r: energy(r).sum(), batch.positions)
    expected = half_quadratic_form(matrix.reshape(21, 21), displacement, batch)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-10, atol=1e-13)


def test_the_quadratic_term_refuses_forces_without_a_graph() -> None:
    batch = clusters()
    _, forces = exact_forces(morse(batch.graph_index, 2), batch.positions)
    start = batch.positions.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="grad"):
        quadratic_term(forces, start, torch.ones_like(start), batch.graph_index, 2)


def test_the_quadratic_term_takes_the_displacement_as_fixed() -> None:
    batch = clusters()
    hessian, energy = anisotropic(batch)
    start = batch.positions.clone().requires_grad_()
    _, forces = from_energy(energy)(start, forces=True)
    assert forces is not None
    displacement = 0.01 * forces  # depends on the positions, as an adversarial one does
    value = quadratic_term(forces, start, displacement, batch.graph_index, batch.n_graphs)
    expected = half_quadratic_form(hessian, displacement.detach(), batch)
    torch.testing.assert_close(value.detach(), expected, rtol=1e-9, atol=1e-13)
    # neither the constant Hessian nor the displacement leaves anything to train
    assert not value.requires_grad


def test_the_quadratic_term_keeps_no_graph_unless_asked() -> None:
    batch = clusters()
    start = batch.positions.clone().requires_grad_()
    _, forces = from_energy(morse(batch.graph_index, 2))(start, forces=True)
    assert forces is not None
    step = random_steps(batch.positions, 0.3)
    value = quadratic_term(forces, start, step, batch.graph_index, 2, create_graph=False)
    assert not value.requires_grad


def test_work_is_positive_along_the_force_and_lowers_the_energy() -> None:
    batch = clusters()
    energy = morse(batch.graph_index, batch.n_graphs)
    value, forces = exact_forces(energy, batch.positions)
    displacement = 1e-5 * forces
    done = work(displacement, forces, batch.graph_index, batch.n_graphs)
    assert (done > 0).all()
    change = energy(batch.positions + displacement) - value
    torch.testing.assert_close(change, -done, rtol=1e-2, atol=0.0)


def test_sums_follow_the_graph_index_in_any_order_and_leave_empty_graphs_at_zero() -> None:
    values = torch.tensor([1.0, 20.0, 300.0, 4000.0], dtype=torch.float64)
    total = sum_per_graph(values, torch.tensor([2, 0, 2, 0]), 4)
    assert total.tolist() == [4020.0, 0.0, 301.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_residuals_keep_the_dtype(dtype: torch.dtype) -> None:
    batch = clusters()
    single = Clusters(
        positions=batch.positions.to(dtype), graph_index=batch.graph_index, n_graphs=2
    )
    step = random_steps(batch.positions, 0.1).to(dtype)
    for scheme in SCHEMES:
        assert residual(morse(batch.graph_index, 2), single, step, scheme).dtype == dtype


def test_the_residual_is_differentiable_twice_in_all_its_arguments() -> None:
    batch = clusters().graph(0)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    def function(*tensors: Tensor) -> Tensor:
        energy_end, energy, forces, displacement, quadratic = tensors
        return taylor_residual(
            energy_end, energy, forces, displacement, batch.graph_index, quadratic
        )

    arguments = (random(1), random(1), random(3, 3), random(3, 3), random(1))
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_training_through_the_residual_has_exact_first_and_second_derivatives(scheme: str) -> None:
    batch = clusters().graph(0)
    displacement = random_steps(batch.positions, 0.3)

    def function(depth: Tensor, steepness: Tensor, length: Tensor) -> Tensor:
        energy = morse(batch.graph_index, 1, depth, steepness, length)
        return residual(energy, batch, displacement, scheme)

    parameters = tuple(
        torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (4.5, 1.8, 1.15)
    )
    assert torch.autograd.gradcheck(function, parameters)
    assert torch.autograd.gradgradcheck(function, parameters)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_residual_is_differentiable_in_the_positions(scheme: str) -> None:
    batch = clusters().graph(0)
    displacement = random_steps(batch.positions, 0.3)
    model = from_energy(lennard_jones(batch.graph_index, 1))

    def function(start: Tensor) -> Tensor:
        end = start + displacement
        value, forces = model(start, forces=True)
        value_end, forces_end = model(end, forces=True)
        assert forces is not None
        assert forces_end is not None
        quadratic = None
        if scheme == "hessian":
            quadratic = quadratic_term(forces, start, displacement, batch.graph_index, 1)
        if scheme == "trapezoid":
            forces = 0.5 * (forces + forces_end)
        return taylor_residual(value_end, value, forces, displacement, batch.graph_index, quadratic)

    start = batch.positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(function, (start,))
    assert torch.autograd.gradgradcheck(function, (start,))
