"""The teacher in front of a training: fitted to its energies, it gives its frames forces."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from piwsl_plugins.data.frames import Frame
from piwsl_plugins.data.targets import split_isolated
from piwsl_plugins.teacher.fitting import fit_teacher
from piwsl_plugins.teacher.model import Teacher, group_of
from piwsl_plugins.teacher.settings import TeacherSettings

FEWEST = 5
"""Energies below which nothing is fitted."""
COLLIDING = 0.4
"""Shortest distance that two atoms may have, in the sum of their covalent radii."""
WELL_EXPLAINED = 0.75
"""Largest leave-one-out error of a fit without a cheap method, in the spread of the energies: one
that explains less has forces that are too small, and does not know it."""
WELL_CORRELATED = 0.5
"""Correlation of a cheap method's energies with the reference's below which it may be left out."""


def teach(
    frames: Sequence[Frame], settings: TeacherSettings, say: Callable[[str], None]
) -> list[Frame] | None:
    """Fit a linear model to the training energies and let it label the forces.

    Args:
        frames: training frames (no validation frame among them); those with ``low_energy`` and
            ``low_forces`` are fitted on the difference. Frames without an energy are labelled too.
        settings: of the teacher.
        say: told in one line what was fitted, or why there is no teacher.

    Returns:
        The same frames, in the same order, with the labels ``weak_forces`` (shape [n_atoms, 3],
        eV/angstrom, of the whole energy: correction plus ``low_forces``) and
        ``weak_forces_weights`` (shape [n_atoms], 0 to 1, 0 where the force is masked); or None
        where no teacher is better than a bad one, which was said with numbers: train plainly.
    """
    usable = [f for f in split_isolated(frames)[1] if not _collides(f)]
    labelled = [f for f in usable if "energy" in f.labels]
    reason = unfit(labelled)
    if reason:
        say(f"no teacher: {reason}; training goes on without its forces")
        return None
    with_low = [f for f in labelled if "low_energy" in f.labels and "low_forces" in f.labels]
    teacher, low = fit_best(labelled, with_low, settings, say)
    if teacher is None and not low:
        return None
    can = [
        f
        for f in usable
        if (not low or "low_forces" in f.labels)
        and (teacher is None or {*f.atoms.numbers} <= {*teacher.basis.elements})
    ]
    forces, stds = forces_of(teacher, can, low)
    size = float(np.sqrt(np.mean(np.concatenate(forces) ** 2)))
    weights = [_weights(std, size, settings.max_uncertainty) for std in stds]
    masked = sum(int((w == 0).sum()) for w in weights)
    expected = float(np.sqrt(np.mean(np.concatenate(stds) ** 2)))
    if teacher is not None:
        say(
            f"{describe(teacher, low)}; expected error of its forces {1e3 * expected:.0f} "
            f"meV/angstrom, their size {1e3 * size:.0f}"
        )
    total = sum(len(f.atoms) for f in frames)
    if masked or len(can) < len(frames):
        left_out = total - sum(len(f.atoms) for f in can)
        say(
            f"teacher: not trained on are the forces on {masked} of {total} atoms, whose predicted "
            f"error exceeds {settings.max_uncertainty:g} times their size, and on {left_out} atoms "
            "of frames that it cannot label (isolated or colliding atoms, elements without "
            "energies, no label of the cheap method)"
        )
    made = {
        id(f): {"weak_forces": force, "weak_forces_weights": weight}
        for f, force, weight in zip(can, forces, weights, strict=True)
    }
    return [dataclasses.replace(f, labels={**f.labels, **made.get(id(f), {})}) for f in frames]


def describe(teacher: Teacher, low: bool) -> str:
    """What a fit is: number of energies and features, and leave-one-out error."""
    fit, what = teacher.fit, "differences from the cheap method" if low else "energies"
    return (
        f"teacher: {fit.n_contrasts + len(teacher.groups)} {what}, {len(teacher.scale)} features, "
        f"leave-one-out error {1e3 * fit.loo:.3g} meV of a spread of {1e3 * fit.spread:.3g}"
    )


def fit_best(
    labelled: Sequence[Frame],
    with_low: Sequence[Frame],
    settings: TeacherSettings,
    say: Callable[[str], None],
) -> tuple[Teacher | None, bool]:
    """Fit on the difference from the cheap method, and on the energies where that is better.

    Frames ``labelled`` have an energy, those of them ``with_low`` a cheap method's energy and
    forces. Returns the teacher or None, and whether the latter are part of the forces.
    """
    related, correction = 0.0, None
    if not unfit(with_low):
        related = _correlation(with_low)
        correction = fit_teacher(with_low, settings, low=True)
        if correction.fit.explains and related >= WELL_CORRELATED:
            return correction, True
    alone = fit_teacher(labelled, settings, low=False)
    explains = alone.fit.explains and alone.fit.loo < WELL_EXPLAINED * alone.fit.spread
    if explains and (
        correction is None or alone.fit.loo < min(correction.fit.loo, correction.fit.spread)
    ):
        if correction is not None:
            say(
                f"teacher: the cheap method is left out (correlation of its energies {related:.2f},"
                f" leave-one-out error on it {1e3 * correction.fit.loo:.3g} meV, without it "
                f"{1e3 * alone.fit.loo:.3g})"
            )
        return alone, False
    reason = _failure(alone)
    if correction is not None:
        if correction.fit.explains and correction.fit.loo < WELL_EXPLAINED * alone.fit.spread:
            return correction, True
        if related >= WELL_CORRELATED:
            say(
                f"teacher: {_failure(correction)}, so that the cheap method's forces are not "
                f"corrected (correlation of its energies with the reference's {related:.2f})"
            )
            return None, True
        reason = (
            f"the cheap method's energies have a correlation of {related:.2f} with the "
            f"reference's, expected at least {WELL_CORRELATED:g}, and {reason}"
        )
    say(f"no teacher: {reason}; training goes on without its forces")
    return None, False


def forces_of(
    teacher: Teacher | None, frames: Sequence[Frame], low: bool
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Forces of the whole energy and their predicted errors, one array [n_atoms, 3] a frame."""
    ends = np.cumsum([len(f.atoms) for f in frames])[:-1]
    if teacher is None:
        forces, stds = ([np.zeros((len(f.atoms), 3)) for f in frames] for _ in range(2))
    else:
        found = teacher.predict([f.atoms for f in frames])
        forces, stds = (
            np.split(part.cpu().numpy(), ends) for part in (found.forces, found.forces_std)
        )
    if low:
        forces = [f + frame.labels["low_forces"] for f, frame in zip(forces, frames, strict=True)]
    return forces, stds


def _weights(std: NDArray[np.float64], size: float, most: float) -> NDArray[np.float64]:
    """Weights of atoms' forces: 1 where they are certain, 1/2 where the error is their size."""
    error = np.sqrt(np.mean(std**2, axis=1)) / max(size, 1e-12)
    return np.where(error > most, 0.0, 1.0 / (1.0 + error**2))


def unfit(frames: Sequence[Frame]) -> str:
    """Why nothing can be fitted to these frames, or nothing."""
    if len(frames) < FEWEST:
        return f"{len(frames)} frames have an energy, expected at least {FEWEST}"
    geometries = {np.round(_distances(f), 6).tobytes() for f in frames}
    groups = {group_of(f.atoms) for f in frames}
    if len(geometries) <= len(groups):
        return (
            f"{len(frames)} energies are of {len(geometries)} geometries of {len(groups)} "
            "molecules, and without a second geometry of one nothing is known of its forces"
        )
    return ""


def _distances(frame: Frame) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = frame.atoms.get_all_distances(mic=bool(frame.atoms.pbc.any()))
    return distances


def _collides(frame: Frame) -> bool:
    """Whether two atoms are much closer than a bond."""
    radii = covalent_radii[frame.atoms.numbers]
    distances = _distances(frame) + np.diag(np.full(len(radii), np.inf))
    return bool((distances < COLLIDING * (radii[:, None] + radii)).any())


def _correlation(frames: Sequence[Frame]) -> float:
    """Pearson's r of the cheap method's and the reference's energies within groups."""
    _, group = np.unique([group_of(f.atoms) for f in frames], return_inverse=True)
    pairs = np.array([[f.labels["energy"], f.labels["low_energy"]] for f in frames])
    for number in range(group.max() + 1):
        pairs[group == number] -= pairs[group == number].mean(axis=0)
    norms = np.linalg.norm(pairs, axis=0)
    return float(pairs[:, 0] @ pairs[:, 1] / max(float(norms.prod()), 1e-300))


def _failure(teacher: Teacher) -> str:
    fit = teacher.fit
    return (
        f"the fit does not explain the energies: its leave-one-out error is {1e3 * fit.loo:.3g} "
        f"meV, their spread {1e3 * fit.spread:.3g} meV ({fit.n_contrasts} differences of energies)"
    )
