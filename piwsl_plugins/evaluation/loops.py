"""Work of the forces around closed loops: zero for a conservative field, and for no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from piwsl_plugins.evaluation.comparison import Floats
from piwsl_plugins.evaluation.curvature import random_directions
from piwsl_plugins.evaluation.predict import forces_at


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopWork:
    """Work around random triangles in the space of all coordinates.

    Attributes:
        rms_work: Root mean square of the work around a loop, eV.
        mean_edge_work: Mean absolute work along one edge, eV.
        ratio: The first over the second, or None where no edge takes any work.
        n_loops: Number of loops.
    """

    rms_work: float
    mean_edge_work: float
    ratio: float | None
    n_loops: int


def loop_work(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    size: float = 0.05,
    nodes: int = 8,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> LoopWork:
    """Work around a random triangle r, r + a, r + b at each frame, W = sum of <F, dl>.

    Each edge is integrated by Gauss-Legendre quadrature.

    Args:
        frames: Structures, angstrom; they are copied, not changed.
        calculator: Any ASE calculator with forces.
        size: Root mean square displacement of an atom along a and along b, angstrom.
        nodes: Nodes of the quadrature on each edge.
        seed: Seed of the triangles.
        progress: Called after each loop.

    Raises:
        ValueError: There are no frames, or a force is not finite.
    """
    if not frames:
        raise ValueError("no frames to draw loops at")
    rng = np.random.default_rng(seed)
    works = np.empty((len(frames), 3))
    for row, frame in enumerate(frames):
        offsets = size * np.sqrt(len(frame)) * random_directions(len(frame), 2, rng)
        corners = [frame.positions, *(frame.positions + offset for offset in offsets)]
        for edge in range(3):
            start, end = corners[edge], corners[(edge + 1) % 3]
            works[row, edge] = _work(frame, start, end, calculator, nodes)
        if progress is not None:
            progress()
    rms = float(np.sqrt(np.mean(works.sum(axis=1) ** 2)))
    edge_work = float(np.mean(np.abs(works)))
    return LoopWork(
        rms_work=rms,
        mean_edge_work=edge_work,
        ratio=rms / edge_work if edge_work > 0.0 else None,
        n_loops=len(frames),
    )


def _work(frame: Atoms, start: Floats, end: Floats, calculator: Calculator, nodes: int) -> float:
    """Work of the forces along a straight line, eV."""
    points, weights = np.polynomial.legendre.leggauss(nodes)
    total, way = 0.0, end - start
    for point, weight in zip(points, weights, strict=True):
        positions = start + 0.5 * (1.0 + point) * way
        total += 0.5 * weight * float(np.sum(forces_at(frame, positions, calculator) * way))
    return total
