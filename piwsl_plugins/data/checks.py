"""Checks of training frames, so that bad input is named before a host trains on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import ase
import numpy as np
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from scipy.spatial import cKDTree

MAX_NAMED = 10
"""Frames that one error message names."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One structure and the labels it has.

    Attributes:
        name: how an error calls it.
        atoms: geometry, angstrom.
        energy: eV, or None where absent.
        forces: eV/angstrom, shape [n_atoms, 3], or None where absent.
        stress: eV/angstrom^3, or None where absent.
    """

    name: str
    atoms: ase.Atoms
    energy: float | None
    forces: NDArray[np.float64] | None
    stress: NDArray[np.float64] | None = None


@dataclasses.dataclass(slots=True)
class Counts:
    """How many frames have which label."""

    frames: int = 0
    energies: int = 0
    forces: int = 0
    stresses: int = 0

    def add(self, other: Counts) -> None:
        """Add the counts of another source."""
        self.frames += other.frames
        self.energies += other.energies
        self.forces += other.forces
        self.stresses += other.stresses


def listed(lines: Sequence[str], number: int | None = None) -> str:
    """Lines of an error message, ten at most.

    Args:
        lines: all of them, or the first ten.
        number: how many there are in all; default, as many as were given.

    Returns:
        Each on a line of its own, and how many more there are.
    """
    more = (len(lines) if number is None else number) - MAX_NAMED
    shown = [*lines[:MAX_NAMED], *([f"and {more} more"] if more > 0 else [])]
    return "".join(f"\n  {line}" for line in shown)


def check_labels(frames: Iterable[Frame]) -> Counts:
    """Check that every label that is present is finite and of the right shape.

    Args:
        frames: the frames of one source.

    Returns:
        How many frames have which label.

    Raises:
        ValueError: NaN, infinite or misshapen labels; at most ten frames are named.
    """
    counts = Counts()
    bad: list[str] = []
    for frame in frames:
        counts.frames += 1
        if frame.energy is not None:
            counts.energies += 1
            if np.shape(frame.energy) != () or not np.isfinite(frame.energy):
                bad.append(f"{frame.name}: energy is {frame.energy}")
        if frame.forces is not None:
            counts.forces += 1
            expected = (len(frame.atoms), 3)
            if np.shape(frame.forces) != expected:
                bad.append(
                    f"{frame.name}: forces of shape {np.shape(frame.forces)}, expected {expected}"
                )
            elif not np.isfinite(frame.forces).all():
                atom = int(np.flatnonzero(~np.isfinite(frame.forces).all(axis=1))[0])
                bad.append(f"{frame.name}: forces of atom {atom} are {frame.forces[atom]}")
        if frame.stress is not None:
            counts.stresses += 1
            if not np.isfinite(frame.stress).all():
                bad.append(f"{frame.name}: stress is {np.ravel(frame.stress)}")
    if bad:
        raise ValueError(
            "labels that are not finite numbers of the right shape (frames counted from 0); leave "
            "a missing label out of the file, or remove the frame:" + listed(bad)
        )
    return counts


def closest_pair(atoms: ase.Atoms, cutoff: float) -> tuple[float, int, int] | None:
    """Closest pair of atoms nearer than ``cutoff``, periodic images included.

    Args:
        atoms: the structure, angstrom.
        cutoff: angstrom.

    Returns:
        Distance (angstrom) and the two atoms' indices, or None if no pair is that near.
    """
    if atoms.pbc.any():
        first, second, distances = neighbor_list("ijd", atoms, cutoff)
    else:
        pairs = cKDTree(atoms.positions).query_pairs(cutoff, output_type="ndarray")
        first, second = pairs[:, 0], pairs[:, 1]
        distances = np.linalg.norm(atoms.positions[first] - atoms.positions[second], axis=1)
    if len(distances) == 0:
        return None
    best = int(np.argmin(distances))
    return float(distances[best]), int(first[best]), int(second[best])


def check_displacement(
    frames: Iterable[Frame], longest: float, setting: str, override: str
) -> None:
    """Check that no displacement exceeds half the shortest interatomic distance.

    Args:
        frames: the training frames.
        longest: longest displacement of an atom, angstrom.
        setting: how the user sets it, for the message.
        override: how the user allows it all the same, for the message.

    Raises:
        ValueError: names the frame and the pair.
    """
    worst: tuple[float, str] | None = None
    for frame in frames:
        found = closest_pair(frame.atoms, 2.0 * longest)
        if found is not None and (worst is None or found[0] < worst[0]):
            distance, i, j = found
            symbols = frame.atoms.get_chemical_symbols()
            pair = f"atoms {i} ({symbols[i]}) and {j} ({symbols[j]})"
            worst = (distance, f"{frame.name}, {pair}, {distance:.4f} angstrom apart")
    if worst is not None:
        raise ValueError(
            f"displacements of up to {longest:g} angstrom are longer than half the shortest "
            f"interatomic distance of the training data: {worst[1]} (frames counted from 0). "
            f"Choose {setting} below {worst[0] / 2:.4f}, remove the frame, or pass {override}."
        )


def label_keys(atoms: ase.Atoms) -> set[str]:
    """Names under which a frame that ASE read may hold labels.

    Args:
        atoms: the frame.

    Returns:
        Its keys, those of the geometry left out.
    """
    results = atoms.calc.results if atoms.calc is not None else {}
    return (set(atoms.info) | set(atoms.arrays) | set(results)) - {"numbers", "positions"}
