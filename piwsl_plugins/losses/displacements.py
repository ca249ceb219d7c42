"""Displacements of atoms: random and adversarial, from a dedicated and seeded generator.

One rule for both: where all atoms are displaced (``fraction`` is 1), isolated graphs lose their net
translation, which changes no energy; where only a fraction is displaced, the other atoms stay
exactly where they are, and the translation is left in. Rotations are left in.
"""

from __future__ import annotations

import functools
import hashlib

import torch
from torch import Tensor

from piwsl_plugins.losses.structures import Structures, count_atoms, sum_per_graph
from piwsl_plugins.settings import PiwslSettings


def step_generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """Generator, on the CPU, of the displacements of one optimiser step on one process.

    Its stream depends on (seed, step, rank) alone: a restarted run draws the same, on any device,
    ranks draw different displacements, and torch's global stream is left to the host.
    """
    digest = hashlib.blake2b(f"piwsl {seed} {step} {rank}".encode(), digest_size=8).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest, "big") >> 1)


def choose_structures(n_graphs: int, fraction: float, generator: torch.Generator) -> Tensor:
    """Draw a fraction of a batch's structures, at least one: [n_chosen], int64, ascending."""
    lottery = _uniform(n_graphs + 1, generator=generator)
    # the fraction on average, also where it is no whole number of structures
    number = max(1, int(fraction * n_graphs + float(lottery[-1])))
    return torch.argsort(lottery[:-1])[:number].sort().values


def draw_displacements(
    structures: Structures,
    *,
    kind: str,
    max_displacement: float,
    generator: torch.Generator,
    fraction: float = 1.0,
) -> Tensor:
    """Draw one random displacement for each atom.

    Args:
        structures: the undisplaced structures; their positions give shape, dtype and device.
        kind: ``ball`` (uniform in volume), ``shell`` (on the surface) or ``cube`` (componentwise).
        max_displacement: radius of the ball or half-edge of the cube, angstrom.
        generator: source of the random numbers, on the CPU; nothing else is drawn from.
        fraction: part of each graph's atoms that is displaced, to the nearest number, at least one.

    Returns:
        d, shape [n_atoms, 3], angstrom, detached. The distance of two atoms changes by at most
        twice the longest displacement; an atom in a graph without net translation may move so far.

    Raises:
        ValueError: an unknown kind.
    """
    # drawn in double precision, so that single- and double-precision runs displace alike
    positions = structures.positions
    n_atoms, device = len(positions), generator.device
    if kind == "cube":
        unit = 2.0 * _uniform(n_atoms, 3, generator=generator) - 1.0
    elif kind in ("ball", "shell"):
        unit = torch.randn(n_atoms, 3, generator=generator, dtype=torch.float64, device=device)
        unit = torch.nn.functional.normalize(unit, dim=-1)
        if kind == "ball":
            unit = unit * _uniform(n_atoms, 1, generator=generator).pow(1.0 / 3.0)
    else:
        raise ValueError(f"kind: got {kind!r}, expected 'ball', 'shell' or 'cube'")
    displacement = max_displacement * unit.to(positions.device, positions.dtype, non_blocking=True)
    return _restrict(displacement, structures, fraction, generator)


def adversarial_displacements(
    settings: PiwslSettings,
    structures: Structures,
    energy: Tensor,
    forces: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Displace each atom along the force error, or along the model's force where none is known.

    The energy error changes along d by <d, F_ref - F>: along F_ref - F it rises where it is
    positive or unknown, against it where it is negative. All atoms move by ``max_displacement``
    (before the net translation is removed), but those without a direction. The arguments are those
    of :func:`draw_pair`.
    """
    direction = forces.detach()
    if structures.forces is not None:
        has_forces, index = structures.labelled("forces"), structures.graph_index
        known = has_forces[index].unsqueeze(-1)
        reference = torch.where(known, structures.forces, 0.0)
        direction = torch.where(known, reference - direction, direction)
        if structures.energy is not None:
            below = structures.labelled("energy") & (energy.detach() < structures.energy)
            against = (below & has_forces)[index].unsqueeze(-1)
            direction = torch.where(against, -direction, direction)
    displacement = settings.max_displacement * torch.nn.functional.normalize(direction, dim=-1)
    return _restrict(displacement, structures, settings.fraction, generator)


def draw_pair(
    settings: PiwslSettings,
    structures: Structures,
    energy: Tensor | None,
    forces: Tensor | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draw d and d' independently; d' is random also where d is adversarial.

    The arguments are those of :func:`~piwsl_plugins.losses.step.step_penalties`; the model's
    energies and forces are only read where d is adversarial.

    Returns:
        d and d', each of shape [n_atoms, 3], angstrom, detached.

    Raises:
        ValueError: adversarial displacements without energies and forces.
    """
    draw = functools.partial(
        draw_displacements,
        structures,
        max_displacement=settings.max_displacement,
        generator=generator,
        fraction=settings.fraction,
    )
    if settings.displacement != "adversarial":
        return draw(kind=settings.displacement), draw(kind=settings.displacement)
    if energy is None or forces is None:
        raise ValueError("adversarial displacements need the model's energies and forces, got None")
    adversarial = adversarial_displacements(settings, structures, energy, forces, generator)
    return adversarial, draw(kind="ball")


def _uniform(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)


def _restrict(
    displacement: Tensor, structures: Structures, fraction: float, generator: torch.Generator
) -> Tensor:
    """Displace a fraction of each graph's atoms, or all without their net translation."""
    index, n_graphs = structures.graph_index, structures.n_graphs
    counts = count_atoms(index, n_graphs)
    if fraction < 1.0:
        lottery = _uniform(len(displacement), generator=generator)
        lottery = lottery.to(displacement.device, displacement.dtype, non_blocking=True)
        order = torch.argsort(lottery)
        order = order[torch.argsort(index[order], stable=True)]  # by graph, then by lot
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        share = (fraction * counts.to(torch.float32)).round().clamp(min=1)
        chosen = rank - (counts.cumsum(0) - counts)[index] < share[index]
        return torch.where(chosen.unsqueeze(-1), displacement, 0.0)
    if structures.isolated is not None:
        mean = sum_per_graph(displacement, index, n_graphs) / counts.clamp(min=1).unsqueeze(-1)
        displacement = displacement - (mean * structures.isolated.unsqueeze(-1))[index]
    return displacement
