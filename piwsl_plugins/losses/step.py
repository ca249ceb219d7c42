"""The terms of one training step: displacements drawn, structures chosen, penalties returned."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from piwsl_plugins.losses.consistency import consistency_penalties
from piwsl_plugins.losses.displacements import choose_structures, draw_pair, step_generator
from piwsl_plugins.losses.model import Evaluate, evaluate_points
from piwsl_plugins.losses.structures import Structures
from piwsl_plugins.settings import PAPER_TERMS, PiwslSettings


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

    Where ``batch_fraction`` is below 1 and the model can be evaluated on some structures, these
    stand for all: their penalties are scaled so that the mean over the batch is right on average.

    Args:
        settings: settings of the terms.
        terms: some of ``taylor``, ``conservative`` and ``curvature``.
        structures: positions and labels.
        energy: the model's E(r), shape [n_graphs], eV, differentiable; None has it evaluated.
        forces: the model's F(r), shape [n_atoms, 3], eV/angstrom, differentiable; None likewise.
        evaluate: the model on displaced copies.
        generator: source of the random numbers, on the CPU.
        per_atom: divide each energy residual by the number of atoms, as hosts do with their error.

    Returns:
        For each term l(R), shape [n_graphs]; zero where a term does not apply or was not chosen.
    """
    part, numbers = structures, None
    if settings.batch_fraction < 1.0:
        chosen = choose_structures(structures.n_graphs, settings.batch_fraction, generator)
        some = evaluate.select(chosen)
        if some is not None:
            evaluate, part, numbers = some, structures.select(chosen), structures.on_device(chosen)
            if energy is not None and forces is not None:
                energy = energy.index_select(0, numbers)
                forces = forces.index_select(0, structures.atoms_of(chosen))
    pair = draw_pair(settings, part, energy, forces, generator)
    if numbers is not None and settings.order == 2 and settings.second_order == "hessian":
        energy = forces = None  # theirs is another graph than that of the part's positions
    penalties = consistency_penalties(
        settings, terms, part, energy, forces, evaluate, pair, per_atom=per_atom
    )
    if numbers is None:
        return penalties
    scale = structures.n_graphs / part.n_graphs
    return {
        term: values.new_zeros(structures.n_graphs).index_add(0, numbers, scale * values)
        for term, values in penalties.items()
    }


class ConsistencyLoss(torch.nn.Module):
    """The terms of a user's own training loop.

    Args:
        settings: the settings; weights left out are taken beside an energy weight of 1.
        terms: some of ``taylor``, ``conservative`` and ``curvature``.
        per_atom: divide each energy residual by its number of atoms.
    """

    def __init__(
        self, settings: PiwslSettings, terms: Sequence[str] = PAPER_TERMS, *, per_atom: bool = True
    ) -> None:
        super().__init__()
        self.settings, self.terms, self.per_atom = settings, tuple(terms), per_atom

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
            evaluate: the model; :func:`from_energy` makes one.
            step: optimiser step, from 0; seeds the displacements and drives warm-up and ``every``.
            steps: optimiser steps of the run; needed where a term fades.
            rank: rank of the process.

        Returns:
            The scalar to add to one's own loss, and the unweighted mean of each term.

        Raises:
            ValueError: a term fades, and ``steps`` was not given.
        """
        fading = [term for term in self.terms if self.settings.fade_of(term)]
        if fading and steps is None:
            raise ValueError(
                f"steps: got None, and the {fading[0]} term fades over part of the run: expected "
                "the number of optimiser steps of the run, or fade=0 in the settings"
            )
        factor = self.settings.schedule(step)
        total = structures.positions.new_zeros(())
        if factor == 0.0:
            return total, {}
        known: tuple[Tensor | None, Tensor | None] = (None, None)
        if self.settings.displacement == "adversarial":
            nowhere = {"start": (torch.zeros_like(structures.positions), True)}
            start = evaluate_points(structures, evaluate, nowhere, together=True)["start"]
            structures = dataclasses.replace(structures, positions=start.positions)
            known = (start.energy, start.forces)
        generator = step_generator(self.settings.seed, step, rank)
        penalties = step_penalties(
            *(self.settings, self.terms, structures, *known, evaluate, generator),
            per_atom=self.per_atom,
        )
        means = {term: values.mean() for term, values in penalties.items()}
        for term, mean in means.items():
            falling = self.settings.falling(term, step, math.inf if steps is None else steps)
            total = total + factor * falling * self.settings.weight(term, 1.0) * mean
        return total, means
