"""Curvature between labelled frames: no further reference calculation is needed for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from piwsl_plugins.evaluation.comparison import Comparison, Floats
from piwsl_plugins.evaluation.softening import Softening, check_resampling, percentiles

#: Frames of the same atoms that are paired with one another; more are thinned out evenly.
MOST_FRAMES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Secants:
    """Secant curvatures of pairs of frames, model and reference.

    Attributes:
        predicted: Of the model, shape ``[n_pairs]``, eV/angstrom^2.
        reference: From the labels, same shape and unit.
        pairs: Indices of the two frames of each pair, shape ``[n_pairs, 2]``.
    """

    predicted: Floats
    reference: Floats
    pairs: np.ndarray[tuple[int, int], np.dtype[np.int64]]


def secant_curvatures(frames: Sequence[Atoms], comparison: Comparison) -> Secants | None:
    """Curvature along the way between two frames, c = -<d, F(r + d) - F(r)> / <d, d>.

    Every pair of frames with the same atoms in the same order counts, up to `MOST_FRAMES` frames
    of a kind. A molecule is first superposed on the other (rotation and translation of least
    squares), its forces turned with it. Frames of one lattice are subtracted by the minimum image
    convention, and their common translation is left out.

    Args:
        frames: Structures, angstrom, in the order of ``comparison``.
        comparison: Predicted and reference forces; frames in which an atom has no force label are
            left out.

    Returns:
        The curvatures, or None where there is no pair.
    """
    alike = defaultdict(list)
    starts = np.concatenate([[0], np.cumsum(comparison.n_atoms)])
    for index, frame in enumerate(frames):
        if len(frame) > 1 and comparison.has_forces[starts[index] : starts[index + 1]].all():
            lattice = np.round(frame.cell.array, 6).tolist() if frame.pbc.any() else None
            alike[str((frame.numbers.tolist(), frame.pbc.tolist(), lattice))].append(index)
    found: list[tuple[float, float, int, int]] = []
    for members in alike.values():
        chosen = np.unique(np.linspace(0, len(members) - 1, MOST_FRAMES).round().astype(int))
        kept = [members[position] for position in chosen]
        for position, first in enumerate(kept):
            for second in kept[position + 1 :]:
                pair = _pair(frames[first], frames[second])
                if pair is None:
                    continue
                way, turn = pair
                both = [
                    _secant(way, turn, force[starts[first] :], force[starts[second] :])
                    for force in (comparison.forces, comparison.reference_forces)
                ]
                found.append((both[0], both[1], first, second))
    if not found:
        return None
    table = np.array(found)
    return Secants(
        predicted=table[:, 0], reference=table[:, 1], pairs=table[:, 2:].astype(np.int64)
    )


def _pair(first: Atoms, second: Atoms) -> tuple[Floats, Floats] | None:
    """Way from the first frame to the second, [n, 3], and the turn of the second's forces."""
    if first.pbc.any():
        way, _ = find_mic(second.positions - first.positions, first.cell, first.pbc)
        way = way - way.mean(axis=0)
        turn = np.eye(3)
    else:
        here = first.positions - first.positions.mean(axis=0)
        there = second.positions - second.positions.mean(axis=0)
        left, _, right = np.linalg.svd(there.T @ here)
        # a mirror image is not superposed by a mirror
        handed = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
        turn = left @ handed @ right
        way = there @ turn - here
    return (way, turn) if np.sum(way**2) > 1e-8 else None  # the same geometry twice has no way


def _secant(way: Floats, turn: Floats, first: Floats, second: Floats) -> float:
    """Secant curvature along a way from the forces at its ends."""
    change = second[: len(way)] @ turn - first[: len(way)]
    return -float(np.sum(way * change) / np.sum(way**2))


def secant_softening(
    secants: Secants, *, confidence: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Softening:
    """Slope of predicted against reference secant curvatures through the origin.

    The interval comes from resampling frames, and with them the pairs that they stand in: a pair
    counts as often as the product of the times that its two frames were drawn.

    Args:
        secants: Curvatures of the pairs.
        confidence: Probability of the percentile interval, between 0 and 1.
        resamples: Number of bootstrap samples, at least 100.
        seed: Seed of the resampling.

    Raises:
        ValueError: A setting is out of range, or all reference curvatures are zero.
    """
    check_resampling(confidence, resamples)
    frames, index = np.unique(secants.pairs, return_inverse=True)
    first, second = index.reshape(secants.pairs.shape).T
    sums = np.zeros((2, len(frames), len(frames)))
    sums[0, first, second] = secants.predicted * secants.reference
    sums[1, first, second] = secants.reference**2
    product, norm = sums.sum(axis=(1, 2))
    if norm == 0.0:
        raise ValueError("no slope: there is no reference value that differs from zero")
    interval = None
    if len(frames) > 2:
        rng = np.random.default_rng(seed)
        times = rng.multinomial(len(frames), np.full(len(frames), 1.0 / len(frames)), resamples)
        products, norms = (np.einsum("ri,ri->r", times @ part, times) for part in sums)
        interval = percentiles(products[norms > 0] / norms[norms > 0], confidence)
    slope = float(product / norm)
    return Softening(slope=slope, interval=interval, confidence=confidence, n_frames=len(frames))
