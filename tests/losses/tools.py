"""What the tests of the losses share: points, labels, displacements, and R written out by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from potentials import Clusters, Energy, clusters, exact_forces, morse, per_graph, random_steps
from torch import Tensor

from piwsl_plugins.losses import Evaluate, Pairs, Structures, consistency_penalties
from piwsl_plugins.settings import PAPER_TERMS, PiwslSettings

SCHEMES: dict[str, dict[str, Any]] = {
    "first": {"order": 1},
    "trapezoid": {"order": 2, "second_order": "trapezoid"},
    "hessian": {"order": 2, "second_order": "hessian"},
}
"""First order, and the two forms of the second."""
ANCHORS = ("prediction", "label", "label_and_forces")
TAYLOR, CONSERVATIVE = ("taylor",), ("conservative",)
NAN = float("nan")
N_ATOMS = torch.tensor([3.0, 4.0], dtype=torch.float64)


def close(found: Tensor, expected: Tensor, rtol: float = 1e-9, atol: float = 0.0) -> None:
    torch.testing.assert_close(found.detach(), expected.detach(), rtol=rtol, atol=atol)


def parameters(*values: float) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values)


def at(model: Evaluate, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Energies and forces at one geometry."""
    energy, forces = model(positions.unsqueeze(0), forces=True)
    assert forces is not None
    return energy[0], forces[0]


def structures_of(batch: Clusters, **labels: Any) -> Structures:
    return Structures(
        positions=batch.positions, graph_index=batch.graph_index, n_graphs=batch.n_graphs, **labels
    )


def steps_of(batch: Clusters, length: float = 0.3) -> tuple[Tensor, Tensor]:
    return (
        random_steps(batch.positions, length, seed=1),
        random_steps(batch.positions, length, seed=2),
    )


def many(copies: int = 3) -> Clusters:
    """Twice as many clusters."""
    two = clusters()
    return Clusters(
        positions=torch.cat([two.positions + 0.05 * k for k in range(copies)]),
        graph_index=torch.cat([two.graph_index + 2 * k for k in range(copies)]),
        n_graphs=2 * copies,
    )


def all_pairs(batch: Clusters) -> Pairs:
    same = batch.graph_index.unsqueeze(0) == batch.graph_index.unsqueeze(1)
    index = (same & ~torch.eye(len(same), dtype=torch.bool)).nonzero().T
    shifts = torch.zeros(index.shape[1], 3, dtype=torch.float64)
    return Pairs(index=index, shifts=shifts, radii=torch.linspace(0.5, 0.9, len(same)).double())


def penalties(
    settings: PiwslSettings,
    structures: Structures,
    model: Evaluate,
    displacements: tuple[Tensor, Tensor],
    terms: tuple[str, ...] = PAPER_TERMS,
    *,
    per_atom: bool = True,
) -> dict[str, Tensor]:
    """Evaluate the undisplaced structures as a host does, then ask for the penalties."""
    positions = structures.positions.detach().clone().requires_grad_()
    structures = dataclasses.replace(structures, positions=positions)
    energy, forces = at(model, positions)
    return consistency_penalties(
        settings, terms, structures, energy, forces, model, displacements, per_atom=per_atom
    )


def residual_by_hand(
    energy: Energy, batch: Clusters, start: Tensor, end: Tensor, scheme: str
) -> Tensor:
    """E(end) minus its extrapolation from start, written out."""
    step = end - start
    e0, f0 = exact_forces(energy, start)
    e1, f1 = exact_forces(energy, end)
    if scheme == "trapezoid":
        f0 = 0.5 * (f0 + f1)
    residual = e1 - e0 + per_graph(step * f0, batch)
    if scheme == "hessian":
        hessian = torch.autograd.functional.hessian(lambda r: energy(r).sum(), start)
        residual = residual - half_quadratic_form(hessian, step, batch)
    return residual


def half_quadratic_form(hessian: Tensor, step: Tensor, batch: Clusters) -> Tensor:
    """1/2 d'Hd of each graph, from the matrix."""
    product = hessian.reshape(step.numel(), step.numel()) @ step.flatten()
    return per_graph(0.5 * step * product.reshape(-1, 3), batch)


def labelled(
    batch: Clusters, energy: Tensor, forces: Tensor, has_energy: list[bool], has_forces: list[bool]
) -> Structures:
    """Structures whose labels are NaN wherever they are said to be absent."""
    masks = torch.tensor(has_energy), torch.tensor(has_forces)
    return structures_of(
        batch,
        energy=torch.where(masks[0], energy, NAN),
        has_energy=masks[0],
        forces=torch.where(masks[1][batch.graph_index].unsqueeze(-1), forces, NAN),
        has_forces=masks[1],
    )


def reference(batch: Clusters) -> tuple[Tensor, Tensor]:
    """Labels from another potential than the model's."""
    return exact_forces(morse(batch.graph_index, 2, 4.0, 2.0, 1.1), batch.positions)
