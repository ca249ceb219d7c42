"""Checks of labels and geometries, so that bad input is named before a host trains on it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence

import ase
import numpy as np
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from piwsl_plugins.data.frames import DataError, Frame

SAME, SAME_ENERGY = 1e-6, 1e-3
"""Differences of the fingerprints, about angstrom, and of energies, eV, that copies may have."""
STATES = ("charge", "total_charge", "spin", "total_spin", "multiplicity", "head")  # in info


def listed(lines: Sequence[str]) -> str:
    """Lines of a message, ten at most, each on a line of its own, and how many more there are."""
    more = [f"and {len(lines) - 10} more"] if len(lines) > 10 else []
    return "".join(f"\n  {line}" for line in [*lines[:10], *more])


def placeholder_energies(frames: Sequence[Frame], label: str = "energy") -> list[int]:
    """Frames whose energy is 0 far from all others, or 9999, 1e30, ... beyond; no lone atoms."""
    known = [i for i, f in enumerate(frames) if label in f.labels and not f.is_isolated_atom]
    energies = np.array([frames[i].labels[label] for i in known])
    per_atom = energies / np.array([len(frames[i].atoms) for i in known])
    digits = [f"{abs(energy):.10g}".replace(".", "") for energy in energies]
    nines = np.array([len(text) > 2 and set(text) == {"9"} for text in digits], dtype=bool)
    odd, zero = nines | (np.abs(energies) >= 1e8), energies == 0.0
    rest = per_atom[~odd & ~zero]
    low, high = min(rest, default=-np.inf), max(rest, default=np.inf)
    odd &= (per_atom > high + 10.0) | (per_atom < low - 10.0)
    zero &= len(known) > 1 and bool(np.all(np.abs(rest) > 0.5))
    return [known[i] for i in np.flatnonzero(zero | odd)]


def placeholder_forces(frames: Sequence[Frame], label: str = "forces") -> list[int]:
    """Frames whose forces are all exactly zero and cannot be.

    Molecules of three atoms and more: another geometry has another energy, or no frame of the file
    has other forces. Cells, where symmetry may ask for zeros: two such frames have the same cell
    with different geometries and energies.
    """
    alike: dict[tuple[bytes, bytes], list[int]] = {}
    forces = {}
    for number, frame in enumerate(frames):
        if {label, "energy"} <= frame.labels.keys() and len(frame.atoms) > 1:
            cell = frame.atoms.cell.array.tobytes() if frame.atoms.pbc.any() else b""
            alike.setdefault((frame.atoms.numbers.tobytes(), cell), []).append(number)
            forces[number] = np.any(frame.labels[label])
    found = []
    for (_, cell), group in alike.items():
        free = not cell and len(frames[group[0]].atoms) > 2
        zero = [i for i in group if not forces[i]]
        compared = [frames[i] for i in (group if free else zero)]
        if not zero:
            continue
        differ = np.ptp([frame.labels["energy"] for frame in compared]) > SAME_ENERGY
        moved = np.ptp([frame.atoms.positions for frame in compared], axis=0).max() > 1e-3
        if (differ and moved) or (free and len(forces) > 2 and not any(forces.values())):
            found += zero
    return sorted(found)


def wrong_geometry(atoms: ase.Atoms) -> str:
    """What is wrong with the positions, elements and cell of a frame, or nothing."""
    bad = np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))
    if not len(atoms):
        return "has no atoms"
    if len(bad):
        return f"position of atom {bad[0]} is {atoms.positions[bad[0]]}, expected finite numbers"
    if not np.all(atoms.numbers > 0):
        ghost = int(np.argmin(atoms.numbers))
        return f"atom {ghost} is of no element (a ghost or dummy atom?); remove it"
    cell = atoms.cell.array
    periodic = np.where(atoms.pbc[:, None], cell, 0.0)  # numpy 2.2 knows no rank of no vectors
    if not np.isfinite(cell).all() or np.linalg.matrix_rank(periodic) < atoms.pbc.sum():
        return f"periodic along {atoms.pbc}, but the cell is {cell.tolist()}"
    return ""


def copies(frames: Iterable[Frame]) -> NDArray[np.int64]:
    """For each frame, the first frame that is the same geometry, shape [n_frames].

    Molecules of up to 200 atoms may be turned, mirrored and reordered, all else only shifted.
    """
    prints = np.array([_fingerprint(frame) for frame in frames]).reshape(-1, 4)
    keys, points = prints[:, 0], prints[:, 1:]
    groups = np.unique(keys, return_inverse=True)[1]
    for axis in range(3):
        order = np.lexsort((points[:, axis], groups))
        gap = (np.diff(groups[order]) > 0) | (np.diff(points[order, axis]) > SAME)
        groups[order] = np.concatenate([[0], np.cumsum(gap)]) if len(order) else 0
    first = np.full(len(groups), len(groups))
    np.minimum.at(first, groups, np.arange(len(groups)))
    return np.asarray(first[groups])


def _fingerprint(frame: Frame) -> tuple[float, ...]:
    """A number for the atoms, and three sums over pairs or projections for their positions."""
    atoms = frame.atoms
    states = "".join(f"{key}{atoms.info[key]}" for key in STATES if key in atoms.info)
    molecule = not atoms.pbc.any() and len(atoms) <= 200
    numbers = np.sort(atoms.numbers) if molecule else atoms.numbers
    key = zlib.crc32(numbers.tobytes() + atoms.pbc.tobytes() + states.encode())
    if molecule:
        weights = np.cos(np.outer(atoms.numbers, atoms.numbers))[np.triu_indices(len(atoms), 1)] + 2
        weights, distances = weights / len(atoms) ** 2, pdist(atoms.positions)
        return key, *(np.sum(weights * np.exp(-distances / r)) for r in (1.0, 2.0, 4.0))
    random = np.random.default_rng([2408_05215, len(atoms)])
    directions = random.standard_normal((len(atoms) * 3 + 9, 3))
    shifted = (atoms.positions - atoms.positions[0]).ravel() / math.sqrt(len(atoms))
    cell = (atoms.cell.array * atoms.pbc[:, None]).ravel()
    return key, *(np.concatenate([shifted, cell]) @ directions)


def count_copies(frames: Sequence[Frame]) -> int:
    """How many frames are copies of earlier ones; different energies of them are a DataError."""
    known = [f for f in frames if "energy" in f.labels and not f.is_isolated_atom]
    pairs = [(known[i], known[first]) for i, first in enumerate(copies(known)) if first != i]
    wrong = [
        "; ".join(f"frame {f.number}: {f.labels['energy']:.6f} eV" for f in pair)
        for pair in pairs
        if abs(pair[0].labels["energy"] - pair[1].labels["energy"]) > SAME_ENERGY
    ]
    if wrong:
        what = f"{len(wrong)} frames are copies of an earlier one with another energy"
        raise DataError(f"{what} (counted from 0):{listed(wrong)}\nKeep the copy that is right")
    return len(pairs)


def find_overlaps(train: Sequence[Frame], other: Sequence[Frame]) -> list[tuple[Frame, Frame]]:
    """Frames that are copies of training frames, each with that frame; no isolated atoms."""
    both = [frame for frame in [*train, *other] if not frame.is_isolated_atom]
    size = sum(not frame.is_isolated_atom for frame in train)
    first = copies(both)
    return [(both[i], both[first[i]]) for i in range(size, len(both)) if first[i] < size]


def check_no_overlap(
    train: Sequence[Frame], other: Sequence[Frame], names: tuple[str, str] = ("training", "test")
) -> None:
    """Raise a DataError that names frames, ten at most, that are in both sets."""
    lines = [f"{frame.name} is {first.name}" for frame, first in find_overlaps(train, other)]
    if lines:
        what = f"frames of the {names[1]} data are in the {names[0]} data as well"
        where = f"(frames counted from 0):{listed(lines)}\nRemove them from one of the two"
        raise DataError(f"{len(lines)} of {len(other)} {what} {where}")


def closest_pair(atoms: ase.Atoms, cutoff: float) -> tuple[float, int, int] | None:
    """Distance (angstrom) and indices of the closest atoms, images included, within the cutoff."""
    first, second, distances = neighbor_list("ijd", atoms, cutoff)
    return min(zip(distances.tolist(), first.tolist(), second.tolist(), strict=True), default=None)


def check_displacement(
    frames: Iterable[Frame], longest: float, setting: str, override: str
) -> None:
    """Raise a ValueError if the ``longest`` displacement (angstrom) may bring atoms too close.

    It must not exceed half the shortest distance; ``setting`` and ``override`` are the user's.
    """
    found = ((closest_pair(frame.atoms, 2.0 * longest), frame) for frame in frames)
    near = [(*pair, frame) for pair, frame in found if pair]
    if near:
        distance, i, j, frame = min(near, key=lambda one: one[0])
        symbols = frame.atoms.symbols
        raise ValueError(
            f"displacements of up to {longest:g} angstrom are longer than half the shortest "
            f"interatomic distance of the training data: {frame.name}, atoms {i} ({symbols[i]}) "
            f"and {j} ({symbols[j]}), {distance:.4f} angstrom apart (frames counted from 0). "
            f"Choose {setting} below {distance / 2:.4f}, remove the frame, or pass {override}."
        )
