"""What several models of the same data say together, and where they disagree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MULTIPLE = 5.0
"""Frames on which a committee disagrees more than this many times the median are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a committee says of one frame; standard deviations are those of a sample (n - 1).

    Attributes:
        energy: Mean, eV.
        forces: Mean, shape ``[n_atoms, 3]``, eV/angstrom.
        energy_std: Standard deviation of the energy, eV per atom; None for a committee of one.
        forces_std: Root mean square over all components of the forces' standard deviation,
            eV/angstrom; None for a committee of one.
        max_forces_std: Largest over the atoms of the length of the standard deviation of the three
            components, eV/angstrom; None for a committee of one.
    """

    energy: float
    forces: Floats
    energy_std: float | None
    forces_std: float | None
    max_forces_std: float | None


def opinion(energies: Floats, forces: Floats) -> Opinion:
    """Mean and disagreement.

    Args:
        energies: Shape ``[n_members]``, eV.
        forces: Shape ``[n_members, n_atoms, 3]``, eV/angstrom.

    Raises:
        ValueError: There is no member, or the shapes do not fit, or a number is not finite.
    """
    energies, forces = np.asarray(energies), np.asarray(forces)
    if energies.ndim != 1 or len(energies) == 0:
        raise ValueError(f"energies have shape {energies.shape}, expected [n_members]")
    if forces.ndim != 3 or forces.shape[0] != len(energies) or forces.shape[2] != 3:
        raise ValueError(
            f"forces have shape {forces.shape}, expected ({len(energies)}, n_atoms, 3)"
        )
    if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
        raise ValueError("a member of the committee says what is not a finite number")
    spread: tuple[float | None, float | None, float | None] = (None, None, None)
    if len(energies) > 1:
        variance = forces.var(axis=0, ddof=1)
        spread = (
            float(energies.std(ddof=1)) / forces.shape[1],
            float(np.sqrt(variance.mean())),
            float(np.sqrt(variance.sum(axis=1).max())),
        )
    return Opinion(
        energy=float(energies.mean()),
        forces=forces.mean(axis=0),
        energy_std=spread[0],
        forces_std=spread[1],
        max_forces_std=spread[2],
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the frames.

    Attributes:
        weights: Shape ``[n_frames]``, in (0, 1]; of those that are left out too.
        kept: Which frames are used, shape ``[n_frames]``.
        median: Median disagreement, eV/angstrom.
        threshold: Disagreement above which a frame is left out, eV/angstrom.
    """

    weights: Floats
    kept: NDArray[np.bool_]
    median: float
    threshold: float


def judge(disagreement: Floats, threshold: float | None = None) -> Verdict:
    """Weigh frames by how much a committee disagrees about them, and leave out the worst.

    A frame on which it disagrees no more than on the median frame has the weight 1, others the
    square of the median over theirs, as the inverse variance would have it.

    Args:
        disagreement: ``max_forces_std`` of each frame, shape ``[n_frames]``, eV/angstrom.
        threshold: eV/angstrom; None for five times the median.

    Raises:
        ValueError: No frame, a number that is not finite, or a threshold that is not positive.
    """
    spread = np.asarray(disagreement, dtype=np.float64)
    if spread.size == 0 or not np.isfinite(spread).all():
        raise ValueError("expected a finite disagreement of each of some frames")
    median = float(np.median(spread))
    limit = MULTIPLE * median if threshold is None else threshold
    if limit < 0.0 or threshold == 0.0:
        raise ValueError(f"the largest disagreement must be positive, got {limit:g} eV/angstrom")
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(spread > median, (median / spread) ** 2, 1.0)
    return Verdict(np.maximum(weights, np.finfo(float).tiny), spread <= limit, median, limit)
