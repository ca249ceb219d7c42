"""The curvature residual: what the model Hessian is, and for which potential it vanishes."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from potentials import Clusters, clusters, exact_forces, harmonic, random_steps
from tools import all_pairs, close, steps_of, structures_of
from torch import Tensor

from piwsl_plugins.losses import (
    Pairs,
    consistency_penalties,
    curvature_residual,
    from_energy,
    stretch_product,
)
from piwsl_plugins.settings import STRETCH_CONSTANT, PiwslSettings

HYDROGEN, CARBON = 0.31, 0.76


def stretch_hessian(positions: Tensor, batch: Clusters, radii: Tensor) -> Tensor:
    """The model Hessian, written out bond by bond, shape [3 n_atoms, 3 n_atoms]."""
    hessian = torch.zeros(len(positions), 3, len(positions), 3, dtype=torch.float64)
    for i in range(len(positions)):
        for j in range(i):
            if batch.graph_index[i] != batch.graph_index[j]:
                continue
            bond = positions[i] - positions[j]
            length = bond.norm()
            stiffness = 34.01 * torch.exp(3.0 - 3.0 * length / (radii[i] + radii[j]))
            block = stiffness * torch.outer(bond, bond) / length**2
            for one, other, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                hessian[one, :, other, :] += sign * block
    return hessian.reshape(positions.numel(), positions.numel())


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
    close(product[0], product.new_tensor([STRETCH_CONSTANT * 0.03, 0.0, 0.0]))
    close(product.sum(0), torch.zeros(3, dtype=torch.float64))
    longer = stretch_product(2.0 * positions, step, pairs)
    assert (longer / product)[0, 0] == pytest.approx(math.exp(-3.0))
    hartree, bohr = 27.211386, 0.52917721
    assert pytest.approx(0.35 * hartree / bohr**2, rel=1e-3) == STRETCH_CONSTANT


def test_an_image_across_the_cell_is_a_neighbour() -> None:
    positions = torch.tensor([[0.0, 0.0, 0.0], [4.6, 0.0, 0.0]], dtype=torch.float64)
    near = torch.tensor([[0.0, 0.0, 0.0], [-1.4, 0.0, 0.0]], dtype=torch.float64)
    step = random_steps(positions, 0.1)
    shifts = torch.tensor([[-6.0, 0.0, 0.0], [6.0, 0.0, 0.0]], dtype=torch.float64)
    radii = torch.full((2,), CARBON, dtype=torch.float64)
    across = Pairs(index=torch.tensor([[0, 1], [1, 0]]), shifts=shifts, radii=radii)
    direct = dataclasses.replace(across, shifts=0.0 * shifts)
    close(stretch_product(positions, step, across), stretch_product(near, step, direct))


def test_the_product_is_that_of_the_hessian_written_out_which_is_positive_semidefinite() -> None:
    batch = clusters()
    pairs, (step, _) = all_pairs(batch), steps_of(batch)
    hessian = stretch_hessian(batch.positions, batch, pairs.radii)
    product = stretch_product(batch.positions, step, pairs)
    close(product.flatten(), hessian @ step.flatten(), atol=1e-13)
    assert torch.linalg.eigvalsh(hessian).min() > -1e-10
    turn, _ = torch.linalg.qr(random_steps(torch.zeros(3, 3), 1.0, seed=9))
    turned = stretch_product(batch.positions @ turn, step @ turn, pairs)
    close(turned, product @ turn, atol=1e-13)


def test_the_residual_vanishes_for_the_potential_with_that_hessian_at_the_midpoint() -> None:
    batch = clusters()
    pairs, (step, _) = all_pairs(batch), steps_of(batch)
    hessian = stretch_hessian(batch.positions + 0.5 * step, batch, pairs.radii)
    energy = harmonic(hessian, 0.9 * batch.positions, batch.graph_index, 2)
    _, start = exact_forces(energy, batch.positions)
    _, end = exact_forces(energy, batch.positions + step)
    residual = curvature_residual(end, start, batch.positions, step, pairs)
    close(residual, torch.zeros_like(residual), atol=1e-12)


def test_the_penalty_is_the_mean_square_over_atoms_and_axes_of_each_structure() -> None:
    batch = clusters()
    pairs, steps = all_pairs(batch), steps_of(batch)
    flat = from_energy(lambda r: 0.0 * r.sum().expand(2))

    def found(pairs: Pairs | None) -> Tensor:
        structures, terms = structures_of(batch, pairs=pairs), ("curvature",)
        settings = PiwslSettings()
        return consistency_penalties(settings, terms, structures, None, None, flat, steps)[terms[0]]

    product = stretch_product(batch.positions + 0.5 * steps[0], steps[0], pairs)
    for graph in range(2):
        expected = product[batch.graph_index == graph].square().mean()
        close(found(pairs)[graph], expected)
    with pytest.raises(ValueError, match=r"needs Structures\.pairs, got None"):
        found(None)
