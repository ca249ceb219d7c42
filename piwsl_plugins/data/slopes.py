"""Slopes of energies against the work of forces and of the stress, 1 where all fit together."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from ase.geometry import find_mic
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

from piwsl_plugins.data.frames import Floats, Frame

MOST_ATOMS = 50  # of a frame are looked at


def evenly(number: int, most: int) -> list[int]:
    """Evenly spaced indices, ``most`` at most."""
    spaced = np.linspace(0, number - 1, min(number, most)).round()
    return [int(i) for i in np.unique(spaced)]


def slope_of(pairs: Sequence[tuple[float, float]]) -> tuple[float, int, bool]:
    """Median ratio of energy differences to work, the number of pairs, and whether it is sure.

    The pairs with the larger work count. Ten of them are needed, and half of them must agree within
    15 %, which one odd pair or two cannot bring about.
    """
    work, change = np.array(pairs).reshape(-1, 2).T
    strong = (np.abs(work) >= np.median(np.abs(work))) & (work != 0.0) if pairs else []
    number = int(np.sum(strong))
    if number < 3:
        return 0.0, 0, False
    low, value, high = np.percentile(change[strong] / work[strong], [25.0, 50.0, 75.0])
    return float(value), number, number >= 10 and bool(high - low < 0.3 * abs(value))


def works(group: Sequence[Frame], label: str, energy: str) -> list[tuple[float, float]]:
    """Work of forces or of the stress, and energy differences, between near frames, eV.

    dE = V stress:strain - F.du with the means of both frames, to third order; du is the
    displacement beside turns and strain. For forces, only frames of the same cell are compared.
    """
    vectors = "forces" if label == "stress" else label
    known = [frame for frame in group if {energy, label, vectors} <= frame.labels.keys()]
    if known and label != "stress":
        cell = known[0].atoms.cell.array
        known = [f for f in known if np.allclose(f.atoms.cell.array, cell, rtol=0.0, atol=1e-6)]
    if len(known) < 2 or (label == "stress" and not known[0].atoms.pbc.all()):
        return []
    found = []
    for one, other in _near_pairs(known):
        moved, turn, strain = _displacement(one.atoms, other.atoms)
        forces = 0.5 * (one.labels[vectors] @ turn + other.labels[vectors])
        work, change = -float(np.sum(forces * moved)), other.labels[energy] - one.labels[energy]
        if label == "stress":
            stress = 0.5 * (one.labels[label] + other.labels[label])
            volume = 0.5 * (one.atoms.get_volume() + other.atoms.get_volume())
            work, change = volume * float(np.sum(stress * strain)), change - work
        found.append((work, change))
    return found


def _near_pairs(frames: Sequence[Frame]) -> list[tuple[Frame, Frame]]:
    """Pairs of each frame and its nearest, the nearer half of them."""
    first, shapes = frames[0].atoms, []
    some = evenly(len(first), MOST_ATOMS)
    for atoms in (frame.atoms for frame in frames):
        shape = pdist(atoms.positions[some])
        if first.pbc.any():
            moved = find_mic(atoms.positions - first.positions, first.cell, first.pbc)[0]
            shape = np.append(moved - moved.mean(axis=0), atoms.cell.array)
        shapes.append(shape)
    distances, nearest = KDTree(shapes).query(shapes, k=2)  # each one itself, and its nearest
    order = np.argsort(distances[:, 1], kind="stable")[: max(30, len(frames) // 2)]
    pairs = {tuple(sorted(pair)) for pair in nearest[order].tolist()}
    return [(frames[i], frames[j]) for i, j in sorted(pairs)]


def _displacement(first: ase.Atoms, second: ase.Atoms) -> tuple[Floats, Floats, Floats]:
    """Displacements between frames, the rotation of the first one's vectors, and the strain.

    Molecules are superposed by least squares, and in cells the nearest images are taken; angstrom.
    """
    one, other, pbc = first.positions, second.positions, first.pbc
    if not pbc.any():
        one, other = one - one.mean(axis=0), other - other.mean(axis=0)
        left, _, right = np.linalg.svd(one.T @ other)  # Kabsch
        left[:, -1] *= np.sign(np.linalg.det(left @ right))
        return other - one @ (left @ right), np.asarray(left @ right), np.zeros((3, 3))
    cells = first.cell.array, second.cell.array
    deformation = np.linalg.solve(*cells) if pbc.all() else np.eye(3)
    moved = find_mic(other - one @ deformation, cells[1], pbc)[0]
    strain = 0.5 * (deformation + deformation.T) - np.eye(3)
    return moved - moved.mean(axis=0), np.eye(3), strain
