"""Analytic potentials in float64 that double as models: energies, forces and work are known.

Most functions return a callable ``positions [n_atoms, 3] -> energies [n_graphs]`` (angstrom, eV)
for a batch described by ``graph_index``; its parameters may be tensors that are trained. With
``piwsl_plugins.losses.from_energy`` it becomes a model. Nothing here uses the package.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Energy = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clusters:
    """Small molecules without symmetry, batched: positions and the graph of each atom."""

    positions: Tensor
    graph_index: Tensor
    n_graphs: int

    def graph(self, number: int) -> Clusters:
        """One of the molecules alone."""
        chosen = self.graph_index == number
        return Clusters(
            positions=self.positions[chosen],
            graph_index=torch.zeros(int(chosen.sum()), dtype=torch.int64),
            n_graphs=1,
        )


def per_graph(values: Tensor, batch: Clusters) -> Tensor:
    """Sum over the atoms and axes of each graph, one graph after the other."""
    return torch.stack([values[batch.graph_index == g].sum() for g in range(batch.n_graphs)])


def clusters() -> Clusters:
    """A bent triatomic and a skewed four-atom cluster in the same place, 1.0 to 1.9 angstrom."""
    positions = [
        [0.00, 0.05, -0.02],
        [1.10, 0.00, 0.10],
        [-0.30, 1.05, 0.20],
        [0.00, 0.00, 0.00],
        [1.20, 0.10, -0.10],
        [0.40, 1.15, 0.15],
        [0.55, 0.35, 1.20],
    ]
    return Clusters(
        positions=torch.tensor(positions, dtype=torch.float64),
        graph_index=torch.tensor([0, 0, 0, 1, 1, 1, 1]),
        n_graphs=2,
    )


def random_steps(like: Tensor, length: float, seed: int = 0) -> Tensor:
    """A displacement of every atom whose whole length |d| is ``length`` angstrom."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    return length * torch.nn.functional.normalize(steps.flatten(), dim=0).reshape(like.shape)


class Recorder:
    """A model that writes down at which copies it was evaluated, and whether with forces."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.calls: list[tuple[int, bool]] = []
        self.positions: list[Tensor] = []

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        self.calls.append((len(positions), forces))
        self.positions.extend(positions.detach())
        return self.model(positions, forces=forces)

    def select(self, chosen: Tensor) -> None:
        return None


def linear(slope: Tensor, graph_index: Tensor, n_graphs: int) -> Energy:
    """E = sum over atoms of slope . r; forces -slope, no curvature."""
    return lambda positions: _sum((slope * positions).sum(-1), graph_index, n_graphs)


def harmonic(hessian: Tensor, minimum: Tensor, graph_index: Tensor, n_graphs: int) -> Energy:
    """E = 1/2 x'Hx with x = r - minimum and H of shape [3 n_atoms, 3 n_atoms], eV/angstrom^2."""

    def energy(positions: Tensor) -> Tensor:
        x = (positions - minimum).flatten()
        density = (0.5 * x * (hessian @ x)).reshape(-1, 3).sum(-1)
        return _sum(density, graph_index, n_graphs)

    return energy


def random_hessian(graph_index: Tensor, seed: int = 0) -> Tensor:
    """Anisotropic, positive definite Hessian, up to some 30 eV/angstrom^2, none between graphs."""
    generator = torch.Generator().manual_seed(seed)
    size = 3 * len(graph_index)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    owner = graph_index.repeat_interleave(3)
    same = (owner.unsqueeze(0) == owner.unsqueeze(1)).to(torch.float64)
    root = root * same
    return root @ root.T + torch.diag(torch.linspace(1.0, 5.0, size, dtype=torch.float64))


def morse(
    graph_index: Tensor,
    n_graphs: int,
    depth: float | Tensor = 4.5,
    steepness: float | Tensor = 1.8,
    length: float | Tensor = 1.15,
) -> Energy:
    """Sum over pairs of depth (1 - exp(-steepness (distance - length)))^2."""

    def profile(distance: Tensor) -> Tensor:
        return depth * (1.0 - torch.exp(-steepness * (distance - length))).square()

    return _pairs(graph_index, n_graphs, profile)


def lennard_jones(graph_index: Tensor, n_graphs: int, depth: float = 0.2) -> Energy:
    """Sum over pairs of 4 depth (distance^-12 - distance^-6), of a diameter of 1 angstrom."""
    return _pairs(graph_index, n_graphs, lambda r: 4.0 * depth * (r**-12 - r**-6))


PAIR_POTENTIALS: dict[str, Callable[[Tensor, int], Energy]] = {
    "morse": morse,
    "lennard_jones": lennard_jones,
}


def exact_forces(energy: Energy, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Energies and forces -dE/dr as plain numbers."""
    at = positions.detach().requires_grad_()
    value = energy(at)
    (gradient,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), -gradient


class WithSwirl:
    """A model with omega x r added to each atom's force: its energies do not match its forces."""

    def __init__(self, model: Any, omega: Tensor) -> None:
        self.model, self.omega = model, omega

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        energy, gradient = self.model(positions, forces=forces)
        if gradient is None:
            return energy, None
        return energy, gradient + torch.linalg.cross(self.omega.expand_as(positions), positions)

    def select(self, chosen: Tensor) -> None:
        return None


def swirl_circulation(
    omega: Tensor, corners: list[Tensor], graph_index: Tensor, n_graphs: int
) -> Tensor:
    """Work of the swirl round a closed polygon: 2 omega . (vector area), summed over atoms."""
    area = torch.zeros_like(corners[0])
    for start, end in itertools.pairwise(corners[1:]):
        area = area + 0.5 * torch.linalg.cross(start - corners[0], end - corners[0])
    return _sum((2.0 * omega * area).sum(-1), graph_index, n_graphs)


def _pairs(graph_index: Tensor, n_graphs: int, profile: Callable[[Tensor], Tensor]) -> Energy:
    size = len(graph_index)
    first, second = torch.triu_indices(size, size, offset=1, device=graph_index.device)
    together = graph_index[first] == graph_index[second]
    first, second = first[together], second[together]

    def energy(positions: Tensor) -> Tensor:
        distance = (positions[first] - positions[second]).square().sum(-1).sqrt()
        return _sum(profile(distance), graph_index[first], n_graphs)

    return energy


def _sum(values: Tensor, graph_index: Tensor, n_graphs: int) -> Tensor:
    return values.new_zeros(n_graphs).index_add(0, graph_index, values)
