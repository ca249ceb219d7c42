"""Forces of a cheap method for the training frames of the accuracy benchmark."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from piwsl_plugins.settings import WEAK_FORCES
from piwsl_plugins.weak.command import main as weak

TOLERANCE = 1e-6
"""Angstrom by which positions may differ, for another number of decimals."""


def weak_forces(
    train: Path,
    frames: Sequence[Atoms],
    labels: Path | None,
    method: str,
    folder: Path,
    tell: Callable[[str], object],
) -> list[NDArray[np.float64]]:
    """Weak forces of all frames; they are computed where no file of them is there.

    Args:
        train: The training file.
        frames: Its frames.
        labels: A file with the same frames and their ``weak_forces``, or None.
        method: A method of ``piwsl weak label``, for where no file is given.
        folder: The benchmark's folder, in which computed labels stay.
        tell: Is told the command that computes them.

    Returns:
        -dE/dr of each frame, shape [n_atoms, 3], eV/angstrom.

    Raises:
        ValueError: The file has other frames, or no weak forces; or they cannot be computed.
    """
    if labels is None:
        labels = folder / "data" / f"weak-{Path(method).name}.xyz"
        if not labels.exists():
            labels.parent.mkdir(parents=True, exist_ok=True)
            words = ["label", str(train), "--method", method, "--strict", "-o", str(labels)]
            tell(shlex.join(["piwsl", "weak", *words]))
            if weak(words) != 0:
                raise ValueError(f"{train}: no weak forces could be computed by {method}")
    if not labels.is_file():
        raise ValueError(f"there is no file {labels}")
    found = ase.io.read(labels, index=":")
    remedy = f"expected the frames of {train} in their order, each with {WEAK_FORCES}"
    if len(found) != len(frames):
        raise ValueError(f"{labels}: {len(found)} frames instead of {len(frames)}; {remedy}")
    for number, (atoms, frame) in enumerate(zip(found, frames, strict=True)):
        same = np.array_equal(atoms.numbers, frame.numbers) and np.allclose(
            atoms.positions, frame.positions, rtol=0.0, atol=TOLERANCE
        )
        if not same or WEAK_FORCES not in atoms.arrays:
            what = f"has no {WEAK_FORCES}" if same else "is another one"
            raise ValueError(f"{labels}, frame {number}: {what}; {remedy}")
    return [atoms.arrays[WEAK_FORCES] for atoms in found]
