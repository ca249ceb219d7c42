"""Labels of a cheap method for the frames of the accuracy benchmark."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from piwsl_plugins.settings import WEAK_FORCES
from piwsl_plugins.weak.command import main as weak
from piwsl_plugins.weak.files import read_frames

Floats = NDArray[np.float64]
LOW_ENERGY = "weak_energy"
"""Name of the cheap method's energies, as ``piwsl weak label`` writes them."""
TOLERANCE = 1e-6
"""Angstrom by which positions may differ, for another number of decimals."""


def cheap_labels(
    source: Path,
    frames: Sequence[Atoms],
    labels: Path | None,
    method: str,
    made: Path,
    names: Sequence[str],
    tell: Callable[[str], object],
) -> list[Atoms]:
    """The frames with the cheap method's labels; they are computed where no file of them is there.

    Args:
        source: The file of the frames.
        frames: Its frames.
        labels: A file with the same frames and their labels, or None.
        method: A method of ``piwsl weak label``, for where no file is given.
        made: Where computed labels stay.
        names: Those of the labels that are needed: ``weak_energy``, ``weak_forces``.
        tell: Is told the command that computes them.

    Raises:
        ValueError: The file has other frames, or not these labels; or they cannot be computed.
    """
    if labels is None:
        labels = made
        if not labels.exists():
            labels.parent.mkdir(parents=True, exist_ok=True)
            words = ["label", str(source), "--method", method, "--strict", "-o", str(labels)]
            tell(shlex.join(["piwsl", "weak", *words]))
            if weak(words) != 0:
                raise ValueError(f"{source}: {method} could not label all frames")
    found = read_frames(labels)
    remedy = f"expected the frames of {source} in their order, each with {' and '.join(names)}"
    if len(found) != len(frames):
        raise ValueError(f"{labels}: {len(found)} frames instead of {len(frames)}; {remedy}")
    for number, (atoms, frame) in enumerate(zip(found, frames, strict=True)):
        same = np.array_equal(atoms.numbers, frame.numbers) and np.allclose(
            atoms.positions, frame.positions, rtol=0.0, atol=TOLERANCE
        )
        lacking = [name for name in names if name not in {**atoms.info, **atoms.arrays}]
        if not same or lacking:
            what = f"has no {lacking[0]}" if same else "is another one"
            raise ValueError(f"{labels}, frame {number}: {what}; {remedy}")
    return found


def energies_and_forces(frames: Sequence[Atoms]) -> tuple[Floats, Floats]:
    """Both labels of all frames: eV, shape [n_frames], and eV/angstrom, shape [sum(n_atoms), 3]."""
    energies = np.array([atoms.info[LOW_ENERGY] for atoms in frames], dtype=np.float64)
    return energies, np.concatenate([atoms.arrays[WEAK_FORCES] for atoms in frames])
