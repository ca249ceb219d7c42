"""The terms of one training step: displacements drawn, structures chosen, penalties returned."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from piwsl_plugins.losses.consistency import consistency_penalties
from piwsl_plugins.losses.displacements import (
    adversarial_displacements,
    choose_structures,
    draw_displacements,
    keep_fraction,
    step_generator,
)
from piwsl_plugins.losses.model import Evaluate
from piwsl_plugins.losses.structures import Structures
from piwsl_plugins.settings import PAPER_TERMS, PiwslSettings


def draw_pair(
    settings: PiwslSettings,
    structures: Structures,
    energy: Tensor | None,
    forces: Tensor | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draw d and d' independently; d' is random also where d is adversarial.

    Args:
        settings: kind, length and fraction of the displacements.
        structures: the undisplaced structures.
        energy: the model's E(r), shape [n_graphs], eV; only read where d is adversarial.
        forces: the model's F(r), shape [n_atoms, 3], eV/angstrom; likewise.
        generator: source of the random numbers.

    Returns:
        d and d', each of shape [n_atoms, 3], angstrom, detached.

    Raises:
        ValueError: adversarial displacements without energies and forces.
    """

    def draw(kind: str) -> Tensor:
        return draw_displacements(
            structures.positions.detach(),
            structures.graph_index,
            structures.n_graphs,
            kind=kind,
            max_displacement=settings.max_displacement,
            generator=generator,
            fraction=settings.fraction,
            isolated=structures.isolated,
        )

    if settings.displacement != "adversarial":
        return draw(settings.displacement), draw(settings.displacement)
    if energy is None or forces is None:
        raise ValueError("adversarial displacements need the model's energies and forces, got None")
    error = None
    if structures.energy is not None:
        error = torch.where(structures.labelled("energy"), energy - structures.energy, 0.0)
    adversarial = adversarial_displacements(
        forces,
        structures.graph_index,
        max_displacement=settings.max_displacement,
        reference_forces=structures.forces,
        has_forces=structures.has_forces,
        energy_error=error,
    )
    if settings.fraction < 1.0:
        adversarial = keep_fraction(
            adversarial,
            structures.graph_index,
            structures.n_graphs,
            settings.fraction,
            generator,
        )
    return adversarial, draw("ball")


def step_penalties(
    settings: PiwslSettings,
    terms: Sequence[str],
    structures: Structures,
    energy: Tensor | None,
    forces: Tensor | None,
    evaluate: Evaluate,
    generator: torch.Generator,
    *,
    per_atom: bool = True,
) -> dict[str, Tensor]:
    """Penalties of the terms for one batch.

    Where ``batch_fraction`` is below 1 and the model can ``select``, some of the structures stand
    for all: theirs are scaled so that the mean over the batch is right on average.

    Args:
        settings: settings of the terms.
        terms: some of ``taylor``, ``conservative`` and ``curvature``.
        structures: the undisplaced structures and their labels.
        energy: the model's E(r), shape [n_graphs], eV, differentiable; None to have it evaluated
            where it is needed.
        forces: the model's F(r), shape [n_atoms, 3], eV/angstrom, differentiable; None likewise.
        evaluate: the model at given positions.
        generator: source of the random numbers.
        per_atom: divide each energy residual by its number of atoms.

    Returns:
        For each term l(R), shape [n_graphs]; zero where a term does not apply or was not chosen.
    """
    select = getattr(evaluate, "select", None)
    if settings.batch_fraction == 1.0 or select is None:
        pair = draw_pair(settings, structures, energy, forces, generator)
        return consistency_penalties(
            settings, terms, structures, energy, forces, evaluate, pair, per_atom=per_atom
        )
    n_graphs = structures.n_graphs
    chosen = choose_structures(n_graphs, settings.batch_fraction, generator)
    chosen = chosen.to(structures.positions.device)
    part = structures.select(chosen)
    if energy is not None and forces is not None:
        energy, forces = energy[chosen], forces[chosen[structures.graph_index]]
    pair = draw_pair(settings, part, energy, forces, generator)
    if settings.order == 2 and settings.second_order == "hessian":
        energy = forces = None  # theirs is another graph than that of the part's positions
    penalties = consistency_penalties(
        settings, terms, part, energy, forces, select(chosen), pair, per_atom=per_atom
    )
    numbers = chosen.nonzero().view(-1)
    scale = n_graphs / len(numbers)
    return {
        term: values.new_zeros(n_graphs).index_add(0, numbers, scale * values)
        for term, values in penalties.items()
    }


class ConsistencyLoss(torch.nn.Module):
    """The terms of a user's own training loop.

    Args:
        settings: the settings; weights left out are taken beside an energy weight of 1.
        terms: some of ``taylor``, ``conservative`` and ``curvature``.
        per_atom: divide each energy residual by its number of atoms.

    Example:
        >>> import torch
        >>> from piwsl_plugins.losses import ConsistencyLoss, Structures, from_energy
        >>> from piwsl_plugins.settings import PiwslSettings
        >>> loss = ConsistencyLoss(PiwslSettings(order=1, taylor_weight=0.5), ("taylor",))
        >>> positions = torch.zeros(2, 3, dtype=torch.float64)
        >>> atoms = Structures(positions=positions, graph_index=torch.tensor([0, 0]), n_graphs=1)
        >>> model = from_energy(lambda r: r.square().sum().reshape(1))
        >>> total, terms = loss(atoms, model, step=0)
    """

    def __init__(
        self,
        settings: PiwslSettings,
        terms: Sequence[str] = PAPER_TERMS,
        *,
        per_atom: bool = True,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.terms = tuple(terms)
        self.per_atom = per_atom

    def forward(
        self,
        structures: Structures,
        evaluate: Evaluate,
        *,
        step: int,
        steps: int | None = None,
        rank: int = 0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of the terms' means over the structures.

        Args:
            structures: positions and labels.
            evaluate: the model, see :class:`Evaluate`; :func:`from_energy` makes one.
            step: optimiser step, from 0; seeds the displacements and drives warm-up and ``every``.
            steps: optimiser steps of the run, for ``fade``; None, of a run without an end.
            rank: rank of the process.

        Returns:
            The scalar to add to one's own loss, and the unweighted mean of each term.
        """
        factor = self.settings.schedule(step)
        if factor == 0.0:
            return structures.positions.new_zeros(()), {}
        energy: Tensor | None = None
        forces: Tensor | None = None
        if self.settings.displacement == "adversarial":
            positions = structures.positions.detach().requires_grad_()
            structures = dataclasses.replace(structures, positions=positions)
            energy, forces = evaluate(positions, forces=True)
        penalties = step_penalties(
            self.settings,
            self.terms,
            structures,
            energy,
            forces,
            evaluate,
            step_generator(self.settings.seed, step, rank),
            per_atom=self.per_atom,
        )
        means = {term: values.mean() for term, values in penalties.items()}
        total = structures.positions.new_zeros(())
        for term, mean in means.items():
            falling = self.settings.falling(term, step, math.inf if steps is None else steps)
            total = total + factor * falling * self.settings.weight(term, 1.0) * mean
        return total, means
