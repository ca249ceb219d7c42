"""What the losses ask of a model: energies, and forces where needed, at given positions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from piwsl_plugins.losses.structures import Structures


class Evaluate(Protocol):
    """A model on displaced copies of one batch: a host's adapter, or a user's own."""

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        """Evaluate the model, all copies in one pass where it can.

        Args:
            positions: shape [n_copies, n_atoms, 3], angstrom; they require gradients.
            forces: whether forces are wanted.

        Returns:
            Energies, shape [n_copies, n_graphs], eV, and forces, shape [n_copies, n_atoms, 3],
            eV/angstrom, both differentiable; None for forces that are not wanted.
        """

    def select(self, chosen: Tensor) -> Evaluate | None:
        """The model on the structures ``chosen``, shape [n_chosen], int64, ascending, on the CPU.

        None where it can only be evaluated on all: ``batch_fraction`` is then not followed.
        """


@dataclasses.dataclass(frozen=True)
class _FromEnergy:
    """See :func:`from_energy`."""

    energy: Callable[[Tensor], Tensor]

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        energies = torch.stack([self.energy(copy) for copy in positions])
        if not forces:
            return energies, None
        (gradient,) = torch.autograd.grad(energies.sum(), positions, create_graph=True)
        return energies, -gradient

    def select(self, chosen: Tensor) -> None:
        return None


def from_energy(energy: Callable[[Tensor], Tensor]) -> Evaluate:
    """Make a model, whose forces are the exact gradient, of a function ``positions -> energies``.

    It takes shape [n_atoms, 3], angstrom, and returns shape [n_graphs], eV, for all structures.
    """
    return _FromEnergy(energy)


class Point(NamedTuple):
    """A displaced geometry: positions and energies, and forces, which are None if not wanted."""

    positions: Tensor
    energy: Tensor
    forces: Tensor


def evaluate_points(
    structures: Structures,
    evaluate: Evaluate,
    wanted: Mapping[str, tuple[Tensor, bool]],
    *,
    together: bool,
) -> dict[str, Point]:
    """Evaluate points at the wanted displacements, some of them with forces.

    Each point's positions are a leaf of its own. Where points are evaluated ``together``, one call
    serves all that need the same.
    """
    origin = structures.positions.detach()
    leaves = {name: (origin + shift).requires_grad_() for name, (shift, _) in wanted.items()}
    needs = {name: need for name, (_, need) in wanted.items()}
    calls = [[name] for name in wanted]
    if together:
        calls = [[n for n in needs if needs[n] == need] for need in sorted({*needs.values()})]
    points: dict[str, Point] = {}
    for call in calls:
        need = needs[call[0]]
        energy, forces = evaluate(torch.stack([leaves[name] for name in call]), forces=need)
        check_shape("evaluate: energy", energy, (len(call), structures.n_graphs))
        if need:
            check_shape("evaluate: forces", forces, (len(call), *origin.shape))
        for k, name in enumerate(call):
            found = cast(Tensor, forces[k] if need and forces is not None else None)
            points[name] = Point(leaves[name], energy[k], found)
    return points


def check_shape(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise ValueError for a tensor of another shape: (n, 1) would broadcast beside (n,)."""
    if tensor is None or tuple(tensor.shape) != shape:
        found = "None" if tensor is None else f"shape {tuple(tensor.shape)}"
        raise ValueError(f"{name}: got {found}, expected shape {shape}")
