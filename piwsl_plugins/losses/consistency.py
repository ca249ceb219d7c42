"""From a batch of structures and any model, an :class:`Evaluate`, to the penalty of each term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from piwsl_plugins.losses.curvature import curvature_residual
from piwsl_plugins.losses.model import Evaluate, Point, check_shape, evaluate_points
from piwsl_plugins.losses.penalties import exceed_tolerance, mean_per_graph, penalise
from piwsl_plugins.losses.residuals import conservative_residual, quadratic_term, taylor_residual
from piwsl_plugins.losses.structures import Structures, count_atoms, sum_per_graph
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

    The arguments are those of :func:`~piwsl_plugins.losses.step.step_penalties`, with d and d',
    each of shape [n_atoms, 3] and in angstrom, in place of a generator.

    Returns:
        For each term l(R), shape [n_graphs]; zero in structures that a term does not apply to.

    Raises:
        ValueError: an unknown term, energies or forces of another shape, or a curvature term
            without pairs.
    """
    if not terms or not set(terms) <= set(TERMS):
        raise ValueError(f"terms: got {tuple(terms)!r}, expected some of {TERMS}")
    displacement, other = (tensor.detach() for tensor in displacements)
    points = _points(settings, terms, structures, (energy, forces), evaluate, displacement, other)
    end, index, n_graphs = points["end"], structures.graph_index, structures.n_graphs

    def penalty(residual: Tensor, step: Tensor) -> Tensor:
        step_squared = sum_per_graph(step.square().sum(-1), index, n_graphs)
        residual = exceed_tolerance(residual, step_squared, settings.tolerance)
        if per_atom:
            residual = residual / count_atoms(index, n_graphs).clamp(min=1)
        return penalise(residual, settings.penalty, settings.huber_delta)

    found: dict[str, Tensor] = {}
    if "taylor" in terms:
        residual = _taylor(settings, structures, points["start"], end, displacement)
        found["taylor"] = penalty(residual, displacement)
    if "conservative" in terms:
        start, step = points["other"], displacement - other
        extrapolation = _second_order(settings, structures, start, end, start.forces, step)
        residual = conservative_residual(
            end.energy, start.energy, extrapolation[0], displacement, other, index, extrapolation[1]
        )
        found["conservative"] = penalty(residual, step)
    if "curvature" in terms:
        if structures.pairs is None:
            raise ValueError("the curvature term needs Structures.pairs, got None")
        start = points["start"]
        residual = curvature_residual(
            end.forces, start.forces, start.positions, displacement, structures.pairs
        )
        values = penalise(residual, settings.penalty, settings.huber_delta).mean(-1)
        found["curvature"] = mean_per_graph(values, index, n_graphs)
    return found


def _points(
    settings: PiwslSettings,
    terms: Sequence[str],
    structures: Structures,
    known: tuple[Tensor | None, Tensor | None],
    evaluate: Evaluate,
    displacement: Tensor,
    other: Tensor,
) -> dict[str, Point]:
    """The points that the terms need: ``start`` (r), ``end`` (r + d) and ``other`` (r + d')."""
    second = settings.second_order if settings.order == 2 else ""
    energy, forces = known
    wanted: dict[str, tuple[Tensor, bool]] = {}
    points: dict[str, Point] = {}
    if not set(terms).isdisjoint(("taylor", "curvature")):
        if energy is None or forces is None:
            wanted["start"] = (torch.zeros_like(displacement), True)
        else:
            check_shape("energy", energy, (structures.n_graphs,))
            check_shape("forces", forces, tuple(structures.positions.shape))
            points["start"] = Point(structures.positions, energy, forces)
    paper = not set(terms).isdisjoint(PAPER_TERMS)
    wanted["end"] = (displacement, "curvature" in terms or (paper and second == "trapezoid"))
    if "conservative" in terms:
        wanted["other"] = (other, True)
    # the forces of a Hessian-vector product must not hang on a pass that others share
    return points | evaluate_points(structures, evaluate, wanted, together=second != "hessian")


def _taylor(
    settings: PiwslSettings, structures: Structures, start: Point, end: Point, step: Tensor
) -> Tensor:
    """R_T, from the anchor; 0 in graphs that lack the anchor's labels."""
    index, energy, forces, applies = structures.graph_index, start.energy, start.forces, None
    if settings.anchor != "prediction":
        has_energy = structures.labelled("energy")
        if structures.energy is not None:
            energy = torch.where(has_energy, structures.energy, energy)
        if settings.anchor == "label_and_forces":
            applies = has_energy & structures.labelled("forces")
            if structures.forces is not None:
                forces = torch.where(applies[index].unsqueeze(-1), structures.forces, forces)
    forces, quadratic = _second_order(settings, structures, start, end, forces, step)
    residual = taylor_residual(end.energy, energy, forces, step, index, quadratic)
    return residual if applies is None else torch.where(applies, residual, 0.0)


def _second_order(
    settings: PiwslSettings,
    structures: Structures,
    start: Point,
    end: Point,
    forces: Tensor,
    step: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """The forces to extrapolate with, and 1/2 d'Hd where it is a term of its own."""
    if settings.order == 1:
        return forces, None
    if settings.second_order == "trapezoid":
        return 0.5 * (forces + end.forces), None
    index, n_graphs = structures.graph_index, structures.n_graphs
    return forces, quadratic_term(start.forces, start.positions, step, index, n_graphs)
