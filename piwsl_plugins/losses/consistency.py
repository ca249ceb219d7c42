"""From a batch of structures and a model to the penalty of each term.

The one place that asks a model for energies and forces at displaced points. Any model will do: the
hosts' adapters and a user's own training loop pass a callable that gives energies (and forces) at
given positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from piwsl_plugins.losses.conservative import conservative_residual
from piwsl_plugins.losses.curvature import curvature_residual, mean_per_graph
from piwsl_plugins.losses.model import Evaluate, Point, check_shape, evaluate_points
from piwsl_plugins.losses.reduction import exceed_tolerance, penalise
from piwsl_plugins.losses.structures import Structures
from piwsl_plugins.losses.taylor import quadratic_term, sum_per_graph, taylor_residual
from piwsl_plugins.settings import PAPER_TERMS, TERMS, PiwslSettings


def consistency_penalties(
    settings: PiwslSettings,
    terms: Sequence[str],
    structures: Structures,
    energy: Tensor | None,
    forces: Tensor | None,
    evaluate: Evaluate,
    displacements: tuple[Tensor, Tensor],
    *,
    per_atom: bool = True,
) -> dict[str, Tensor]:
    """Penalties of the terms' residuals, structure by structure.

    E(r + d) and F(r + d) are evaluated once and shared by the terms; an energy alone is asked for
    wherever the mathematics needs no forces.

    Args:
        settings: order, anchor, tolerance and penalty.
        terms: some of ``taylor``, ``conservative`` and ``curvature``.
        structures: the undisplaced structures and their labels.
        energy: the model's E(r), shape [n_graphs], eV, differentiable; None to have it evaluated.
        forces: the model's F(r), shape [n_atoms, 3], eV/angstrom, differentiable; None likewise.
        evaluate: the model at given positions.
        displacements: d and d', each of shape [n_atoms, 3], angstrom.
        per_atom: divide each energy residual by its number of atoms, as the host does with its
            energy error.

    Returns:
        For each term l(R), shape [n_graphs]; zero in structures that a term does not apply to.

    Raises:
        ValueError: an unknown term, energies or forces of another shape, or a curvature term
            without pairs.
    """
    unknown = set(terms) - set(TERMS)
    if unknown or not terms:
        raise ValueError(f"terms: got {tuple(terms)!r}, expected some of {TERMS}")
    displacement, other = (tensor.detach() for tensor in displacements)
    hessian = settings.order == 2 and settings.second_order == "hessian"
    trapezoid = settings.order == 2 and not hessian
    index, n_graphs = structures.graph_index, structures.n_graphs

    def finish(residual: Tensor, step: Tensor, applies: Tensor | None) -> Tensor:
        step_squared = sum_per_graph(step.square().sum(-1), index, n_graphs)
        residual = exceed_tolerance(residual, step_squared, settings.tolerance)
        if applies is not None:
            residual = torch.where(applies, residual, 0.0)
        if per_atom:
            residual = residual / structures.atom_counts().clamp(min=1)
        return penalise(residual, settings.penalty, settings.huber_delta)

    needs_start = not set(terms).isdisjoint(("taylor", "curvature"))
    evaluate_start = needs_start and (energy is None or forces is None)
    end_forces = "curvature" in terms or (trapezoid and not set(terms).isdisjoint(PAPER_TERMS))
    wanted = [(displacement, end_forces)]
    if evaluate_start:
        wanted.insert(0, (torch.zeros_like(displacement), True))
    if "conservative" in terms:
        wanted.append((other, True))
    # a Hessian-vector product needs positions of its own for each point
    points = evaluate_points(structures, evaluate, wanted, stack=not hessian)
    first = points.pop(0) if evaluate_start else None
    if needs_start and energy is not None and forces is not None:
        check_shape("energy", energy, (n_graphs,))
        check_shape("forces", forces, (len(index), 3))
        first = Point(structures.positions, energy, forces)
    end, *others = points
    penalties: dict[str, Tensor] = {}
    if first is not None and "taylor" in terms:
        start_energy, start_forces, applies = _anchor(
            settings, structures, first.energy, first.forces
        )
        quadratic = None
        if hessian:
            quadratic = quadratic_term(first.forces, first.positions, displacement, index, n_graphs)
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
    if first is not None and "curvature" in terms:
        if structures.pairs is None:
            raise ValueError("the curvature term needs Structures.pairs, got None")
        residual = curvature_residual(
            end.forces, first.forces, first.positions, displacement, structures.pairs
        )
        penalty = penalise(residual, settings.penalty, settings.huber_delta)
        penalties["curvature"] = mean_per_graph(penalty, index, n_graphs)
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
