"""The curvature residual: zero for the model Hessian, and what that Hessian is."""

from __future__ import annotations

import math

import pytest
import torch
from consistency_tools import structures_of
from potentials import Clusters, Energy, clusters, exact_forces, random_steps
from torch import Tensor

from piwsl_plugins.losses import (
    Pairs,
    consistency_penalties,
    curvature_residual,
    from_energy,
    stretch_product,
)
from piwsl_plugins.losses.curvature import STRETCH_CONSTANT
from piwsl_plugins.settings import PiwslSettings

HYDROGEN, CARBON = 0.31, 0.76


def all_pairs(batch: Clusters, radius: float = CARBON) -> Pairs:
    same = batch.graph_index.unsqueeze(0) == batch.graph_index.unsqueeze(1)
    first, second = (same & ~torch.eye(len(same), dtype=torch.bool)).nonzero().T
    return Pairs(
        index=torch.stack([first, second]),
        shifts=torch.zeros(len(first), 3, dtype=torch.float64),
        radii=torch.full((len(same),), radius, dtype=torch.float64),
    )


def stretch_energy(start: Tensor, pairs: Pairs, n_graphs: int, index: Tensor) -> Energy:
    """The harmonic potential whose Hessian at ``start`` is that of the stretches."""

    def energy(positions: Tensor) -> Tensor:
        displacement = positions - start
        density = 0.5 * displacement * stretch_product(start, displacement, pairs)
        return torch.zeros(n_graphs, dtype=torch.float64).index_add(0, index, density.sum(-1))

    return energy


def test_two_atoms_at_the_sum_of_their_radii_have_the_force_constant_of_the_source() -> None:
    pairs = Pairs(
        index=torch.tensor([[0, 1], [1, 0]]),
        shifts=torch.zeros(2, 3, dtype=torch.float64),
        radii=torch.tensor([HYDROGEN, CARBON], dtype=torch.float64),
    )
    length = HYDROGEN + CARBON
    positions = torch.tensor([[0.0, 0.0, 0.0], [length, 0.0, 0.0]], dtype=torch.float64)
    step = torch.tensor([[0.01, 0.5, 0.2], [-0.02, -0.3, 0.7]], dtype=torch.float64)
    product = stretch_product(positions, step, pairs)
    expected = STRETCH_CONSTANT * 0.03
    torch.testing.assert_close(product[0], product.new_tensor([expected, 0.0, 0.0]))
    torch.testing.assert_close(product.sum(0), torch.zeros(3, dtype=torch.float64))
    longer = stretch_product(2.0 * positions, step, pairs)
    assert (longer / product)[0, 0] == pytest.approx(math.exp(-3.0))
    hartree, bohr = 27.211386, 0.52917721
    assert pytest.approx(0.35 * hartree / bohr**2, rel=1e-3) == STRETCH_CONSTANT


def test_an_image_across_the_cell_is_a_neighbour() -> None:
    positions = torch.tensor([[0.0, 0.0, 0.0], [4.6, 0.0, 0.0]], dtype=torch.float64)
    near = torch.tensor([[0.0, 0.0, 0.0], [-1.4, 0.0, 0.0]], dtype=torch.float64)
    step = random_steps(positions, 0.1)
    radii = torch.full((2,), CARBON, dtype=torch.float64)
    index = torch.tensor([[0, 1], [1, 0]])
    shifts = torch.tensor([[-6.0, 0.0, 0.0], [6.0, 0.0, 0.0]], dtype=torch.float64)
    across = stretch_product(positions, step, Pairs(index=index, shifts=shifts, radii=radii))
    direct = stretch_product(near, step, Pairs(index=index, shifts=0.0 * shifts, radii=radii))
    torch.testing.assert_close(across, direct)


def test_the_model_hessian_is_symmetric_and_positive_semidefinite() -> None:
    batch = clusters()
    pairs, size = all_pairs(batch), batch.positions.numel()
    columns = [
        stretch_product(batch.positions, unit.view(-1, 3), pairs).flatten()
        for unit in torch.eye(size, dtype=torch.float64)
    ]
    hessian = torch.stack(columns)
    torch.testing.assert_close(hessian, hessian.T)
    assert torch.linalg.eigvalsh(hessian).min() > -1e-10


def test_the_residual_vanishes_for_the_potential_with_that_hessian() -> None:
    batch = clusters()
    pairs = all_pairs(batch)
    step = random_steps(batch.positions, 0.3)
    middle = batch.positions + 0.5 * step
    energy = stretch_energy(middle, pairs, batch.n_graphs, batch.graph_index)
    _, start = exact_forces(energy, batch.positions)
    _, end = exact_forces(energy, batch.positions + step)
    residual = curvature_residual(end, start, batch.positions, step, pairs)
    torch.testing.assert_close(residual, torch.zeros_like(residual), rtol=0, atol=1e-12)


def test_the_residual_turns_with_the_structure() -> None:
    batch = clusters()
    pairs = all_pairs(batch)
    step, start, end = (random_steps(batch.positions, 0.5, seed=s) for s in range(3))
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    turned = curvature_residual(
        end @ turn, start @ turn, batch.positions @ turn, step @ turn, pairs
    )
    straight = curvature_residual(end, start, batch.positions, step, pairs)
    torch.testing.assert_close(turned, straight @ turn)


def test_the_penalty_is_the_mean_square_over_atoms_and_axes_of_each_structure() -> None:
    batch = clusters()
    pairs = all_pairs(batch)
    d, other = (
        random_steps(batch.positions, 0.2, seed=1),
        random_steps(batch.positions, 0.2, seed=2),
    )
    model = from_energy(lambda r: torch.zeros(2, dtype=r.dtype) + 0.0 * r.sum())
    structures = structures_of(batch, pairs=pairs)
    found = consistency_penalties(
        PiwslSettings(), ("curvature",), structures, None, None, model, (d, other)
    )
    product = stretch_product(batch.positions + 0.5 * d, d, pairs)
    for graph in range(2):
        expected = product[batch.graph_index == graph].square().mean()
        torch.testing.assert_close(found["curvature"][graph], expected)


def test_without_pairs_the_term_is_refused() -> None:
    batch = clusters()
    steps = random_steps(batch.positions, 0.2)
    model = from_energy(lambda r: torch.zeros(2, dtype=r.dtype) + 0.0 * r.sum())
    with pytest.raises(ValueError, match=r"needs Structures\.pairs, got None"):
        consistency_penalties(
            PiwslSettings(), ("curvature",), structures_of(batch), None, None, model, (steps, steps)
        )
