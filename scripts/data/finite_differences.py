"""Forces of an isolated molecule from central differences of energies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from ccsdt_cbs import Geometry
from numpy.typing import NDArray


def rigid_motions(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return translations and rotations about the origin as rows, shape [6, 3 n_atoms].

    The rows times the forces are the net force and the net torque. ``positions``: angstrom.
    """
    axes = np.eye(3)
    moves = [np.tile(axis, (len(positions), 1)) for axis in axes]
    moves += [np.cross(axis, positions) for axis in axes]
    return np.array(moves).reshape(6, -1)


def stencil(
    geometry: Geometry, step: float, full: bool
) -> Iterator[tuple[int, int, Geometry, Geometry]]:
    """Yield atom, axis and the geometries at ``+step`` and ``-step`` (angstrom).

    Net force and net torque of an isolated molecule vanish, so that 3n - 6 force components fix the
    other six: those that are best determined, by pivoted Cholesky on the internal-motion projector.
    With ``full`` all 3n are displaced.
    """
    size = 3 * len(geometry.symbols)
    chosen = list(range(size)) if full else []
    rigid, _ = np.linalg.qr(rigid_motions(np.array(geometry.positions)).T)
    projector = np.eye(size) - rigid @ rigid.T
    while len(chosen) < size - 6:
        pivot = int(np.argmax(np.round(np.diag(projector), 6)))
        chosen.append(pivot)
        projector -= np.outer(projector[pivot], projector[pivot]) / projector[pivot, pivot]
    for atom, axis in (divmod(index, 3) for index in sorted(chosen)):
        ahead, behind = (geometry.displaced(atom, axis, sign * step) for sign in (1, -1))
        yield atom, axis, ahead, behind


def finite_difference_forces(
    geometry: Geometry, step: float, full: bool, energies: Mapping[Geometry, float]
) -> NDArray[np.float64] | None:
    """Return central-difference forces; what was not probed follows from zero net force and torque.

    Args:
        geometry: the undisplaced frame.
        step: displacement, angstrom.
        full: every coordinate was displaced, so that net force and torque are not imposed.
        energies: energies, eV.

    Returns:
        ``-dE/dr``, shape [n_atoms, 3], eV/angstrom; ``None`` if an energy is missing.
    """
    size = 3 * len(geometry.symbols)
    rows: list[NDArray[np.float64]] = []
    values: list[float] = []
    for atom, axis, ahead, behind in stencil(geometry, step, full):
        if ahead not in energies or behind not in energies:
            return None
        rows.append(np.eye(size)[3 * atom + axis])
        values.append(-(energies[ahead] - energies[behind]) / (2.0 * step))
    if not full:
        rows += list(rigid_motions(np.array(geometry.positions)))
        values += [0.0] * 6
    return np.linalg.solve(np.array(rows), np.array(values)).reshape(-1, 3)
