"""Softening: the slope of predicted against reference forces, with a bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from piwsl_plugins.evaluation.comparison import Comparison, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Softening:
    """Slope of predicted against reference forces, dimensionless.

    Attributes:
        slope: 1 is neither soft nor stiff; below 1 the model's potential is too soft.
        interval: Lower and upper end of the bootstrap interval, or None for a single frame, from
            which no spread can be told.
        confidence: Probability that the interval was made for.
        n_frames: Number of frames that have at least one force label.
    """

    slope: float
    interval: tuple[float, float] | None
    confidence: float
    n_frames: int


def slope_through_origin(predicted: Floats, reference: Floats) -> float:
    """Least-squares slope through the origin, ``sum(F * F_ref) / sum(F_ref^2)``.

    Args:
        predicted: Predicted forces, any shape, eV/angstrom.
        reference: Reference forces, same shape and unit.

    Returns:
        The dimensionless slope.

    Raises:
        ValueError: The shapes differ, or the reference forces are all zero or none at all, so that
            there is no slope.
    """
    if predicted.shape != reference.shape:
        raise ValueError(
            f"predicted forces have shape {predicted.shape}, reference forces {reference.shape}"
        )
    norm = float(np.sum(reference**2))
    if norm == 0.0:
        raise ValueError("no slope: there is no reference force that differs from zero")
    return float(np.sum(predicted * reference)) / norm


def softening(
    comparison: Comparison, *, confidence: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Softening | None:
    """Slope of predicted against reference forces, and how sure it is.

    The interval comes from resampling whole frames with replacement, not single components: the
    forces within a frame go together, and to take them for independent would make it too narrow.

    Args:
        comparison: Predictions and labels; atoms without a force label are left out.
        confidence: Probability of the percentile interval, between 0 and 1.
        resamples: Number of bootstrap samples, at least 100.
        seed: Seed of the resampling, which makes the interval reproducible.

    Returns:
        The slope with its interval, or None where no atom has a force label.

    Raises:
        ValueError: ``confidence`` or ``resamples`` is out of range, or all reference forces are
            zero.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100, got {resamples}")
    labelled = comparison.has_forces
    if not labelled.any():
        return None
    predicted, reference = comparison.labelled_forces
    slope = slope_through_origin(predicted, reference)
    frames, index = np.unique(comparison.frame_of_atom[labelled], return_inverse=True)
    # The slope of a resample needs the two sums of each frame only.
    product = np.bincount(index, weights=np.sum(predicted * reference, axis=1))
    norm = np.bincount(index, weights=np.sum(reference**2, axis=1))
    interval = None
    if len(frames) > 1:
        draws = np.random.default_rng(seed).integers(len(frames), size=(resamples, len(frames)))
        norms = norm[draws].sum(axis=1)
        slopes = product[draws].sum(axis=1)[norms > 0] / norms[norms > 0]
        tail = (1.0 - confidence) / 2.0
        low, high = np.quantile(slopes, [tail, 1.0 - tail])
        interval = (float(low), float(high))
    return Softening(slope=slope, interval=interval, confidence=confidence, n_frames=len(frames))
