"""Softening: slopes of predicted against reference forces or curvatures, with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.evaluation.comparison import Comparison, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Softening:
    """Slope of predicted against reference forces, or curvatures; dimensionless.

    Attributes:
        slope: 1 is neither soft nor stiff; below 1 the model's potential is too soft.
        interval: Lower and upper end of the bootstrap interval, or None for a single frame, from
            which no spread can be told.
        confidence: Probability that the interval was made for.
        n_frames: Number of frames that the slope comes from, those with a label.
    """

    slope: float
    interval: tuple[float, float] | None
    confidence: float
    n_frames: int


def slope_through_origin(predicted: Floats, reference: Floats) -> float:
    """Least-squares slope through the origin, ``sum(F * F_ref) / sum(F_ref^2)``.

    Args:
        predicted: Predicted forces or curvatures, any shape, eV/angstrom or eV/angstrom^2.
        reference: Reference values, same shape and unit.

    Returns:
        The dimensionless slope.

    Raises:
        ValueError: The shapes differ, or the reference values are all zero or none at all, so that
            there is no slope.
    """
    if predicted.shape != reference.shape:
        raise ValueError(
            f"predicted values have shape {predicted.shape}, reference values {reference.shape}"
        )
    norm = float(np.sum(reference**2))
    if norm == 0.0:
        raise ValueError("no slope: there is no reference value that differs from zero")
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
    labelled = comparison.has_forces
    if not labelled.any():
        return None
    predicted, reference = comparison.labelled_forces
    frame = comparison.frame_of_atom[labelled]
    return grouped_slope(
        predicted, reference, frame, confidence=confidence, resamples=resamples, seed=seed
    )


def grouped_slope(
    predicted: Floats,
    reference: Floats,
    frame: NDArray[np.int64],
    *,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Softening:
    """Slope through the origin with a bootstrap interval that resamples whole frames.

    Args:
        predicted: Predicted values, shape ``[n, ...]``.
        reference: Reference values, same shape and unit.
        frame: Index of the frame that each row belongs to, shape ``[n]``.
        confidence: Probability of the percentile interval, between 0 and 1.
        resamples: Number of bootstrap samples, at least 100.
        seed: Seed of the resampling.

    Returns:
        The slope with its interval.

    Raises:
        ValueError: ``confidence`` or ``resamples`` is out of range, the shapes differ, or all
            reference values are zero.
    """
    check_resampling(confidence, resamples)
    slope = slope_through_origin(predicted, reference)
    frames, index = np.unique(frame, return_inverse=True)
    # The slope of a resample needs the two sums of each frame only.
    rows = (len(frame), -1)
    product = np.bincount(index, weights=np.sum((predicted * reference).reshape(rows), axis=1))
    norm = np.bincount(index, weights=np.sum((reference**2).reshape(rows), axis=1))
    interval = None
    if len(frames) > 1:
        draws = np.random.default_rng(seed).integers(len(frames), size=(resamples, len(frames)))
        norms = norm[draws].sum(axis=1)
        slopes = product[draws].sum(axis=1)[norms > 0] / norms[norms > 0]
        interval = percentiles(slopes, confidence)
    return Softening(slope=slope, interval=interval, confidence=confidence, n_frames=len(frames))


def percentiles(slopes: Floats, confidence: float) -> tuple[float, float]:
    """The interval that holds the middle ``confidence`` of resampled slopes."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(slopes, [tail, 1.0 - tail])
    return float(low), float(high)


def check_resampling(confidence: float, resamples: int) -> None:
    """Check the two settings of a bootstrap.

    Raises:
        ValueError: One of them is out of range.
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if resamples < 100:
        raise ValueError(f"resamples must be at least 100, got {resamples}")
