"""What the tests of the consistency terms share: labels, displacements, and R written out."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from potentials import Clusters, Energy, Model, exact_forces, morse, per_graph, random_steps
from torch import Tensor

from piwsl_plugins.losses import Structures, consistency_penalties
from piwsl_plugins.settings import PAPER_TERMS, PiwslSettings

SCHEMES: dict[str, dict[str, Any]] = {
    "first": {"order": 1},
    "trapezoid": {"order": 2, "second_order": "trapezoid"},
    "hessian": {"order": 2, "second_order": "hessian"},
}
ANCHORS = ("prediction", "label", "label_and_forces")
TAYLOR, CONSERVATIVE = ("taylor",), ("conservative",)
NAN = float("nan")


def structures_of(batch: Clusters, **labels: Tensor) -> Structures:
    return Structures(
        positions=batch.positions, graph_index=batch.graph_index, n_graphs=batch.n_graphs, **labels
    )


def steps_of(batch: Clusters, length: float = 0.3) -> tuple[Tensor, Tensor]:
    return (
        random_steps(batch.positions, length, seed=1),
        random_steps(batch.positions, length, seed=2),
    )


def penalties(
    settings: PiwslSettings,
    structures: Structures,
    model: Model,
    displacements: tuple[Tensor, Tensor],
    terms: tuple[str, ...] = PAPER_TERMS,
    *,
    per_atom: bool = True,
) -> dict[str, Tensor]:
    """Evaluate the undisplaced structures as a host does, then ask for the penalties."""
    positions = structures.positions.detach().clone().requires_grad_()
    structures = dataclasses.replace(structures, positions=positions)
    energy, forces = model(positions, forces=True)
    assert forces is not None
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
        size = 3 * len(start)
        product = (hessian.reshape(size, size) @ step.flatten()).reshape(-1, 3)
        residual = residual - per_graph(0.5 * step * product, batch)
    return residual


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
