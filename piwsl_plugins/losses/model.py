"""What the losses ask of a model: energies, and forces where needed, at given positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from piwsl_plugins.losses.structures import Structures


class Evaluate(Protocol):
    """A model at given positions.

    A model that can evaluate k displaced copies of its batch in one call may offer a method
    ``stacked(positions, *, forces)`` beside this: positions of shape [k, n_atoms, 3] in, energies
    of shape [k, n_graphs] and forces of shape [k, n_atoms, 3] out. It is then called where two
    points need the same. One that can evaluate some of its structures alone may offer
    ``select(chosen)``, chosen being of shape [n_graphs], bool, which returns such a model; without
    it the setting ``batch_fraction`` is not followed, and all structures are evaluated.
    """

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        """Evaluate the model.

        Args:
            positions: shape [n_atoms, 3], angstrom, with gradients switched on.
            forces: whether forces are wanted; without, ``None`` may be returned for them.

        Returns:
            Energies, shape [n_graphs], eV, and forces, shape [n_atoms, 3], eV/angstrom, both
            differentiable.
        """


def from_energy(energy: Callable[[Tensor], Tensor]) -> Evaluate:
    """Make a model of a differentiable function ``positions -> energies``.

    Args:
        energy: takes positions, shape [n_atoms, 3], angstrom; returns shape [n_graphs], eV.

    Returns:
        The callable that :func:`consistency_penalties` and :class:`ConsistencyLoss` take, its
        forces being the exact gradient -dE/dr.
    """

    def evaluate(positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        value = energy(positions)
        if not forces:
            return value, None
        (gradient,) = torch.autograd.grad(value.sum(), positions, create_graph=True)
        return value, -gradient

    return evaluate


class Point(NamedTuple):
    """A displaced geometry: positions, energies, and forces (zeros where none were wanted)."""

    positions: Tensor
    energy: Tensor
    forces: Tensor


def evaluate_points(
    structures: Structures,
    evaluate: Evaluate,
    wanted: Sequence[tuple[Tensor, bool]],
    *,
    stack: bool = True,
) -> list[Point]:
    """Evaluate displaced points, in one call where the model can and they want the same.

    Args:
        structures: the undisplaced structures.
        evaluate: the model.
        wanted: displacement of each point, shape [n_atoms, 3], and whether it needs forces.
        stack: whether one call may serve several points; their forces are then functions of all
            positions together.

    Returns:
        The points, in the same order.
    """
    origin = structures.positions.detach()
    stacked = getattr(evaluate, "stacked", None) if stack else None
    need = [forces for _, forces in wanted]
    if stacked is not None and len(wanted) > 1 and len(set(need)) == 1:
        positions = (origin + torch.stack([shift for shift, _ in wanted])).requires_grad_()
        energy, forces = stacked(positions, forces=need[0])
        check_shape("evaluate.stacked: energy", energy, (len(wanted), structures.n_graphs))
        check_shape("evaluate.stacked: forces", forces, tuple(positions.shape))
        return [Point(*parts) for parts in zip(positions, energy, forces, strict=True)]
    points = []
    for shift, need_forces in wanted:
        positions = (origin + shift).requires_grad_()
        energy, forces = evaluate(positions, forces=need_forces)
        check_shape("evaluate: energy", energy, (structures.n_graphs,))
        if need_forces:
            check_shape("evaluate: forces", forces, tuple(positions.shape))
        else:
            forces = torch.zeros_like(positions)
        points.append(Point(positions, energy, forces))
    return points


def check_shape(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    """Refuse a tensor of another shape.

    Args:
        name: what the error calls it.
        tensor: the tensor, or None.
        shape: the shape that it must have.

    Raises:
        ValueError: it has another, or is None.
    """
    # (n, 1) beside (n,) would broadcast to (n, n) without a word
    if tensor is None or tuple(tensor.shape) != shape:
        found = "None" if tensor is None else f"shape {tuple(tensor.shape)}"
        raise ValueError(f"{name}: got {found}, expected shape {shape}")
