"""Forces of an isolated molecule from central differences of energies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ccsdt_cbs import Geometry, Level
from numpy.typing import NDArray


def rigid_motions(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return translations and rotations about the origin as rows, shape [6, 3 n_atoms].

    The rows times the forces are the net force and the net torque. ``positions``: angstrom.
    """
    axes = np.eye(3)
    moves = [np.tile(axis, (len(positions), 1)) for axis in axes]
    moves += [np.cross(axis, positions) for axis in axes]
    return np.array(moves).reshape(6, -1)


def probed_coordinates(geometry: Geometry, full: bool) -> list[tuple[int, int]]:
    """Return the (atom, axis) pairs to displace: all of them, or the 3n - 6 that suffice.

    Net force and net torque of an isolated molecule vanish, so 3n - 6 force components fix the
    other six. Those chosen are best determined: pivoted Cholesky on the internal-motion projector.
    """
    size = 3 * len(geometry.symbols)
    chosen = list(range(size)) if full else []
    rigid, _ = np.linalg.qr(rigid_motions(np.array(geometry.positions)).T)
    projector = np.eye(size) - rigid @ rigid.T
    while len(chosen) < size - 6:
        pivot = int(np.argmax(np.round(np.diag(projector), 6)))
        chosen.append(pivot)
        projector -= np.outer(projector[pivot], projector[pivot]) / projector[pivot, pivot]
    return [(index // 3, index % 3) for index in sorted(chosen)]


def stencil(
    geometry: Geometry, step: float, full: bool
) -> Iterator[tuple[int, int, Geometry, Geometry]]:
    """Yield atom, axis and the geometries at ``+step`` and ``-step`` (angstrom)."""
    for atom, axis in probed_coordinates(geometry, full):
        ahead, behind = (geometry.displaced(atom, axis, sign * step) for sign in (1, -1))
        yield atom, axis, ahead, behind


def finite_difference_forces(
    geometry: Geometry, step: float, full: bool, energies: dict[str, float], level: Level
) -> NDArray[np.float64] | None:
    """Return central-difference forces; what was not probed follows from zero net force and torque.

    Args:
        geometry: the undisplaced frame.
        step: displacement, angstrom.
        full: every coordinate was displaced, so that net force and torque are not imposed.
        energies: energy (eV) by cache key.
        level: level of theory of the energies.

    Returns:
        ``-dE/dr``, shape [n_atoms, 3], eV/angstrom; ``None`` if an energy is missing.
    """
    rows: list[NDArray[np.float64]] = []
    values: list[float] = []
    for atom, axis, ahead, behind in stencil(geometry, step, full):
        keys = ahead.key(level), behind.key(level)
        if any(key not in energies for key in keys):
            return None
        rows.append(np.eye(3 * len(geometry.symbols))[3 * atom + axis])
        values.append(-(energies[keys[0]] - energies[keys[1]]) / (2.0 * step))
    if not full:
        rows += list(rigid_motions(np.array(geometry.positions)))
        values += [0.0] * 6
    return np.linalg.solve(np.array(rows), np.array(values)).reshape(-1, 3)
