"""The one place that asks a model for energies and forces at displaced points.

Any model will do: the hosts' adapters and a user's own training loop pass a callable that gives
energies (and forces) at given positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from piwsl_plugins.losses.conservative import conservative_residual
from piwsl_plugins.losses.displacements import (
    adversarial_displacements,
    draw_displacements,
    keep_fraction,
    step_generator,
)
from piwsl_plugins.losses.model import Evaluate, check_shape, evaluate_points
from piwsl_plugins.losses.reduction import exceed_tolerance, penalise
from piwsl_plugins.losses.structures import Structures
from piwsl_plugins.losses.taylor import quadratic_term, sum_per_graph, taylor_residual
from piwsl_plugins.settings import TERMS, PiwslSettings


def draw_pair(
    settings: PiwslSettings,
    structures: Structures,
    energy: Tensor,
    forces: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draw d and d' independently; d' is random also where d is adversarial.

    Args:
        settings: kind, length and fraction of the displacements.
        structures: the undisplaced structures.
        energy: the model's E(r), shape [n_graphs], eV.
        forces: the model's F(r), shape [n_atoms, 3], eV/angstrom.
        generator: source of the random numbers.

    Returns:
        d and d', each of shape [n_atoms, 3], angstrom, detached.
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


def consistency_penalties(
    settings: PiwslSettings,
    terms: Sequence[str],
    structures: Structures,
    energy: Tensor,
    forces: Tensor,
    evaluate: Evaluate,
    displacements: tuple[Tensor, Tensor],
    *,
    per_atom: bool = True,
) -> dict[str, Tensor]:
    """Penalties of the Taylor and conservative-force residuals, structure by structure.

    E(r + d) is evaluated once and shared by both terms; an energy alone is asked for wherever
    the mathematics needs no forces.

    Args:
        settings: order, anchor, tolerance and penalty.
        terms: ``taylor``, ``conservative`` or both.
        structures: the undisplaced structures and their labels.
        energy: the model's E(r), shape [n_graphs], eV, differentiable.
        forces: the model's F(r), shape [n_atoms, 3], eV/angstrom, differentiable.
        evaluate: the model at displaced positions.
        displacements: d and d', each of shape [n_atoms, 3], angstrom.
        per_atom: divide each residual by its number of atoms, as the host does with its energy
            error.

    Returns:
        For each term l(R), shape [n_graphs]; zero in structures that a term does not apply to.

    Raises:
        ValueError: an unknown term, or energies or forces of another shape.
    """
    unknown = set(terms) - set(TERMS)
    if unknown or not terms:
        raise ValueError(f"terms: got {tuple(terms)!r}, expected some of {TERMS}")
    displacement, other = (tensor.detach() for tensor in displacements)
    hessian = settings.order == 2 and settings.second_order == "hessian"
    trapezoid = settings.order == 2 and not hessian
    index, n_graphs = structures.graph_index, structures.n_graphs

    check_shape("energy", energy, (n_graphs,))
    check_shape("forces", forces, (len(index), 3))

    def finish(residual: Tensor, step: Tensor, applies: Tensor | None) -> Tensor:
        step_squared = sum_per_graph(step.square().sum(-1), index, n_graphs)
        residual = exceed_tolerance(residual, step_squared, settings.tolerance)
        if applies is not None:
            residual = torch.where(applies, residual, 0.0)
        if per_atom:
            residual = residual / structures.atom_counts().clamp(min=1)
        return penalise(residual, settings.penalty, settings.huber_delta)

    wanted = [(displacement, trapezoid)]
    if "conservative" in terms:
        wanted.append((other, True))
    end, *others = evaluate_points(structures, evaluate, wanted)
    penalties: dict[str, Tensor] = {}
    if "taylor" in terms:
        start_energy, start_forces, applies = _anchor(settings, structures, energy, forces)
        quadratic = None
        if hessian:
            quadratic = quadratic_term(forces, structures.positions, displacement, index, n_graphs)
        if trapezoid:
            start_forces = 0.5 * (start_forces + end.forces)
        residual = taylor_residual(
            end.energy, start_energy, start_forces, displacement, index, quadratic
        )
        penalties["taylor"] = finish(residual, displacement, applies)
    for start in others:
        step, start_forces, quadratic = displacement - other, start.forces, None
        if hessian:
            quadratic = quadratic_term(start_forces, start.positions, step, index, n_graphs)
        if trapezoid:
            start_forces = 0.5 * (start_forces + end.forces)
        residual = conservative_residual(
            end.energy, start.energy, start_forces, displacement, other, index, quadratic
        )
        penalties["conservative"] = finish(residual, step, None)
    return penalties


def _anchor(
    settings: PiwslSettings, structures: Structures, energy: Tensor, forces: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Energy and forces that the Taylor loss starts from, and the graphs it applies to."""
    if settings.anchor == "prediction":
        return energy, forces, None
    has_energy = structures.labelled("energy")
    if structures.energy is not None:
        energy = torch.where(has_energy, structures.energy, energy)
    if settings.anchor == "label":
        return energy, forces, None
    applies = has_energy & structures.labelled("forces")
    if structures.forces is not None:
        known = applies[structures.graph_index].unsqueeze(-1)
        forces = torch.where(known, structures.forces, forces)
    return energy, forces, applies


class ConsistencyLoss(torch.nn.Module):
    """The PIWSL terms of a user's own training loop.

    Args:
        settings: the settings; weights left out are taken beside an energy weight of 1.
        terms: ``taylor``, ``conservative`` or both.
        per_atom: divide each residual by its number of atoms.

    Example:
        >>> import torch
        >>> from piwsl_plugins.losses import ConsistencyLoss, Structures, from_energy
        >>> from piwsl_plugins.settings import PiwslSettings
        >>> loss = ConsistencyLoss(PiwslSettings(order=1, taylor_weight=1.0), ("taylor",))
        >>> positions = torch.zeros(2, 3, dtype=torch.float64)
        >>> atoms = Structures(positions=positions, graph_index=torch.tensor([0, 0]), n_graphs=1)
        >>> model = from_energy(lambda r: r.square().sum().reshape(1))
        >>> total, terms = loss(atoms, model, step=0)
    """

    def __init__(
        self,
        settings: PiwslSettings,
        terms: Sequence[str] = TERMS,
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
        rank: int = 0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of the terms' means over the structures.

        Args:
            structures: positions and labels.
            evaluate: the model, see :class:`Evaluate`; :func:`from_energy` makes one.
            step: optimiser step, from 0; seeds the displacements and drives warm-up and ``every``.
            rank: rank of the process.

        Returns:
            The scalar to add to one's own loss, and the unweighted mean of each term.
        """
        factor = self.settings.schedule(step)
        if factor == 0.0:
            return structures.positions.new_zeros(()), {}
        positions = structures.positions.detach().requires_grad_()
        structures = dataclasses.replace(structures, positions=positions)
        energy, forces = evaluate(positions, forces=True)
        if forces is None:
            raise ValueError(f"evaluate: forces: got None, expected shape {tuple(positions.shape)}")
        generator = step_generator(self.settings.seed, step, rank)
        pair = draw_pair(self.settings, structures, energy, forces, generator)
        penalties = consistency_penalties(
            self.settings,
            self.terms,
            structures,
            energy,
            forces,
            evaluate,
            pair,
            per_atom=self.per_atom,
        )
        means = {term: values.mean() for term, values in penalties.items()}
        total = sum(
            (factor * self.settings.weight(term, 1.0) * mean for term, mean in means.items()),
            start=energy.new_zeros(()),
        )
        return total, means
