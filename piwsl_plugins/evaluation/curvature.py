"""Curvature of a potential along random directions, from differences of its forces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from piwsl_plugins.evaluation.comparison import Floats
from piwsl_plugins.evaluation.predict import forces_at
from piwsl_plugins.evaluation.softening import Softening, grouped_slope


def random_directions(n_atoms: int, count: int, rng: np.random.Generator) -> Floats:
    """Directions in the space of all coordinates, uniform on the unit sphere.

    Args:
        n_atoms: Number of atoms.
        count: Number of directions.
        rng: Source of the random numbers.

    Returns:
        Shape ``[count, n_atoms, 3]``; the squares of each direction's components sum to 1.
    """
    drawn = rng.normal(size=(count, n_atoms, 3))
    length = np.sqrt(np.sum(drawn**2, axis=(1, 2), keepdims=True))
    return np.asarray(drawn / length)


def curvatures(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    directions: int = 3,
    step: float = 0.01,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> Floats:
    """Curvature along random unit directions d, c = -<d, F(r + h d) - F(r - h d)> / (2 h).

    The same frames, number of directions and seed give the same directions, so that two calculators
    can be compared.

    Args:
        frames: Structures, angstrom; they are copied, not changed.
        calculator: Any ASE calculator with forces.
        directions: Number of directions in each frame.
        step: Length h of the displacement of all atoms together, angstrom.
        seed: Seed of the directions.
        progress: Called after each direction.

    Returns:
        Shape ``[n_frames, directions]``, eV/angstrom^2; positive in a minimum.

    Raises:
        ValueError: A force is not finite.
    """
    rng = np.random.default_rng(seed)
    result = np.empty((len(frames), directions))
    for row, frame in enumerate(frames):
        ways = random_directions(len(frame), directions, rng)
        for column, way in enumerate(ways):
            ahead = forces_at(frame, frame.positions + step * way, calculator)
            behind = forces_at(frame, frame.positions - step * way, calculator)
            result[row, column] = -np.sum(way * (ahead - behind)) / (2.0 * step)
            if progress is not None:
                progress()
    return result


def curvature_softening(predicted: Floats, reference: Floats, *, seed: int = 0) -> Softening:
    """Slope of predicted against reference curvatures, with its interval.

    Args:
        predicted: Of the model, shape ``[n_frames, directions]``, eV/angstrom^2.
        reference: Of the reference calculator along the same directions, same shape and unit.
        seed: Seed of the resampling.

    Raises:
        ValueError: The shapes differ, or the reference is flat.
    """
    return grouped_slope(predicted, reference, np.arange(len(reference)), seed=seed)
