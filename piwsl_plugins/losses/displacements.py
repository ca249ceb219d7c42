"""Displacements of atoms: random and adversarial, from a dedicated and seeded generator."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from piwsl_plugins.losses.taylor import sum_per_graph


def step_generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """Generator of the displacements of one optimiser step on one process.

    The stream depends on (seed, step, rank) alone: a restarted run draws what the uninterrupted
    one would have drawn, ranks draw different displacements, and torch's global stream, which
    the host uses, is left as it is.

    Args:
        seed: seed of the run's displacements.
        step: optimiser step, from 0.
        rank: rank of the process.

    Returns:
        A seeded CPU generator, so that every device draws the same displacements.
    """
    digest = hashlib.blake2b(f"piwsl {seed} {step} {rank}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def draw_displacements(
    positions: Tensor,
    graph_index: Tensor,
    n_graphs: int,
    *,
    kind: str,
    max_displacement: float,
    generator: torch.Generator,
    fraction: float = 1.0,
    isolated: Tensor | None = None,
) -> Tensor:
    """Draw one random displacement an atom.

    Args:
        positions: r, shape [n_atoms, 3], angstrom; gives shape, dtype and device.
        graph_index: graph of each atom, shape [n_atoms], int64, ascending.
        n_graphs: number of graphs.
        kind: ``ball`` (uniform in volume), ``shell`` (on the surface) or ``cube`` (componentwise).
        max_displacement: radius of the ball or half-edge of the cube, angstrom.
        generator: source of the random numbers; nothing else is drawn from.
        fraction: fraction of the atoms of each graph that is displaced, at least one.
        isolated: graphs without periodic directions, shape [n_graphs], bool; their net
            translation is removed (only where ``fraction`` is 1). Default: none.

    Returns:
        d, shape [n_atoms, 3], angstrom, detached. The distance of two atoms changes by at most
        twice the longest displacement; without its net translation an atom itself may move
        farther than that, by less than a factor of two.

    Raises:
        ValueError: an unknown kind.
    """
    # drawn in double precision, so that single- and double-precision runs displace alike
    n_atoms, dtype, device = positions.shape[0], torch.float64, generator.device
    if kind == "cube":
        unit = torch.rand(n_atoms, 3, generator=generator, dtype=dtype, device=device)
        unit = 2.0 * unit - 1.0
    elif kind in ("ball", "shell"):
        unit = torch.randn(n_atoms, 3, generator=generator, dtype=dtype, device=device)
        unit = torch.nn.functional.normalize(unit, dim=-1)
        if kind == "ball":
            volume = torch.rand(n_atoms, 1, generator=generator, dtype=dtype, device=device)
            unit = unit * volume.pow(1.0 / 3.0)
    else:
        raise ValueError(f"kind: got {kind!r}, expected 'ball', 'shell' or 'cube'")
    displacement = max_displacement * unit.to(positions)
    if fraction < 1.0:
        return keep_fraction(displacement, graph_index, n_graphs, fraction, generator)
    if isolated is not None:
        displacement = displacement - _net_translation(
            displacement, graph_index, n_graphs, isolated
        )
    return displacement


def choose_structures(n_graphs: int, fraction: float, generator: torch.Generator) -> Tensor:
    """Draw some of a batch's structures.

    Args:
        n_graphs: number of structures of the batch.
        fraction: expected fraction of them, in (0, 1]; at least one is drawn.
        generator: source of the random numbers.

    Returns:
        Which structures were drawn, shape [n_graphs], bool, on the generator's device.
    """
    lottery = torch.rand(n_graphs + 1, generator=generator, dtype=torch.float64)
    # the fraction on average, also where it is no whole number of structures
    number = max(1, int(fraction * n_graphs + float(lottery[-1])))
    chosen = torch.zeros(n_graphs, dtype=torch.bool)
    chosen[torch.argsort(lottery[:-1])[:number]] = True
    return chosen


def keep_fraction(
    displacement: Tensor,
    graph_index: Tensor,
    n_graphs: int,
    fraction: float,
    generator: torch.Generator,
) -> Tensor:
    """Leave all but a random fraction of the atoms of each graph where they are.

    Args:
        displacement: d, shape [n_atoms, 3], angstrom.
        graph_index: graph of each atom, shape [n_atoms], int64.
        n_graphs: number of graphs.
        fraction: fraction of the atoms of each graph that keeps its displacement, rounded to
            the nearest number of atoms, and at least one.
        generator: source of the random numbers.

    Returns:
        d, zero for the other atoms, shape [n_atoms, 3], angstrom.
    """
    lottery = torch.rand(
        len(displacement), generator=generator, dtype=torch.float64, device=generator.device
    )
    chosen = _choose_atoms(lottery.to(displacement), graph_index, n_graphs, fraction)
    return torch.where(chosen.unsqueeze(-1), displacement, 0.0)


def adversarial_displacements(
    forces: Tensor,
    graph_index: Tensor,
    *,
    max_displacement: float,
    reference_forces: Tensor | None = None,
    has_forces: Tensor | None = None,
    energy_error: Tensor | None = None,
) -> Tensor:
    """Displace each atom along the force error, or along the model's force where none is known.

    The energy error changes along d by <d, F_ref - F>: along F_ref - F it rises where it is
    positive or unknown, against it where it is negative.

    Args:
        forces: the model's F(r), shape [n_atoms, 3], eV/angstrom.
        graph_index: graph of each atom, shape [n_atoms], int64.
        max_displacement: length of each displacement, angstrom.
        reference_forces: shape [n_atoms, 3], eV/angstrom, any value where absent.
        has_forces: graphs with reference forces, shape [n_graphs], bool.
        energy_error: E - E_ref, shape [n_graphs], eV, 0 where no reference is known.

    Returns:
        d, shape [n_atoms, 3], angstrom, detached; zero for an atom without a direction.
    """
    direction = forces.detach()
    if reference_forces is not None and has_forces is not None:
        labelled = has_forces[graph_index].unsqueeze(-1)
        error = torch.where(labelled, reference_forces.detach(), direction) - direction
        direction = torch.where(labelled, error, direction)
        if energy_error is not None:
            falling = (energy_error.detach() < 0) & has_forces
            direction = torch.where(falling[graph_index].unsqueeze(-1), -direction, direction)
    return max_displacement * torch.nn.functional.normalize(direction, dim=-1)


def _choose_atoms(lottery: Tensor, graph_index: Tensor, n_graphs: int, fraction: float) -> Tensor:
    counts = torch.bincount(graph_index, minlength=n_graphs)
    first = counts.cumsum(0) - counts
    order = torch.argsort(lottery)
    order = order[torch.argsort(graph_index[order], stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    share = (fraction * counts.float()).round().clamp(min=1)
    return rank - first[graph_index] < share[graph_index]


def _net_translation(
    displacement: Tensor, graph_index: Tensor, n_graphs: int, isolated: Tensor
) -> Tensor:
    counts = torch.bincount(graph_index, minlength=n_graphs).clamp(min=1)
    total = torch.stack(
        [sum_per_graph(displacement[:, axis], graph_index, n_graphs) for axis in range(3)], dim=-1
    )
    mean = total / counts.unsqueeze(-1) * isolated.unsqueeze(-1)
    return mean[graph_index]
