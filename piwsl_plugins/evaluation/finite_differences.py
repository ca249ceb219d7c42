"""Whether the forces are the gradient of the energy, by finite differences of the energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from piwsl_plugins.evaluation.comparison import Floats
from piwsl_plugins.evaluation.curvature import random_directions
from piwsl_plugins.evaluation.predict import energy_at, forces_at

#: Fifth derivative along a unit direction over 30, of molecules at most, eV/angstrom^5.
TYPICAL_TRUNCATION = 3e3
#: Spacing of the energies whose fourth differences show the rounding noise, angstrom.
NOISE_SPACING = 1e-4
SHORTEST_STEP, LONGEST_STEP = 1e-3, 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class ForceConsistency:
    """Forces against finite differences of the energies, along random unit directions.

    Attributes:
        rms_error: Root mean square difference, eV/angstrom.
        max_error: Largest absolute difference, eV/angstrom.
        resolution: What rounding of the energies and the length of the step make of it,
            eV/angstrom, roughly; differences of that size say nothing.
        step: Step of the differences, angstrom.
        n_directions: Number of directions, over all frames.
    """

    rms_error: float
    max_error: float
    resolution: float
    step: float
    n_directions: int


def energy_noise(frame: Atoms, calculator: Calculator, way: Floats) -> float:
    """Rounding noise of an energy, eV, from a table of differences.

    Fourth differences of nine energies close to one another cancel what is smooth and leave noise
    of variance s^2 with the variance (8! / 4!^2) s^2 = 70 s^2 (R. W. Hamming, *Numerical Methods
    for Scientists and Engineers*).

    Args:
        frame: Structure, angstrom.
        calculator: Any ASE calculator.
        way: Unit direction, shape ``[n_atoms, 3]``.
    """
    steps = NOISE_SPACING * np.arange(-4, 5)
    energies = np.array([energy_at(frame, frame.positions + h * way, calculator) for h in steps])
    return float(np.sqrt(np.mean(np.diff(energies, n=4) ** 2) / 70.0))


def force_consistency(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    directions: int = 2,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> ForceConsistency:
    """Compare -<F, d> with the derivative of the energy along random unit directions d.

    The derivative is the central difference of fourth order, [8 (E(h) - E(-h)) - (E(2h) - E(-2h))]
    / (12 h). Its step balances truncation against the noise of the energies, which is measured, so
    that single precision gets a longer one.

    Args:
        frames: Structures, angstrom; they are copied, not changed.
        calculator: Any ASE calculator with energies and forces.
        directions: Number of directions in each frame.
        seed: Seed of the directions.
        progress: Called after each direction.

    Raises:
        ValueError: There are no frames, or an energy or force is not finite.
    """
    if not frames:
        raise ValueError("no frames to take differences at")
    rng = np.random.default_rng(seed)
    ways = [random_directions(len(frame), directions, rng) for frame in frames]
    noise = energy_noise(frames[0], calculator, ways[0][0])
    step = float(np.clip((noise / TYPICAL_TRUNCATION) ** 0.2, SHORTEST_STEP, LONGEST_STEP))
    errors = []
    for frame, of_frame in zip(frames, ways, strict=True):
        forces = forces_at(frame, frame.positions, calculator)
        for way in of_frame:
            at = {
                k: energy_at(frame, frame.positions + k * step * way, calculator)
                for k in (-2, -1, 1, 2)
            }
            slope = (8.0 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12.0 * step)
            errors.append(slope + float(np.sum(forces * way)))
            if progress is not None:
                progress()
    absolute = np.abs(errors)
    return ForceConsistency(
        rms_error=float(np.sqrt(np.mean(absolute**2))),
        max_error=float(absolute.max()),
        resolution=float(
            np.hypot(noise * np.sqrt(130.0) / (12.0 * step), TYPICAL_TRUNCATION * step**4)
        ),
        step=step,
        n_directions=len(errors),
    )
