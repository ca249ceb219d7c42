"""LAMMPS's box as a cell that is periodic in all directions, and its order of a tensor's parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Empty space beyond the model's cutoff where LAMMPS's box does not repeat, angstrom.
MARGIN = 1.0
#: LAMMPS writes xx yy zz xy xz yz; ASE (Voigt) xx yy zz yz xz xy.
VOIGT_TO_LAMMPS = [0, 1, 2, 5, 4, 3]


def box_vectors(box: Sequence[Any]) -> tuple[Floats, NDArray[np.bool_]]:
    """Edges of LAMMPS's box.

    Args:
        box: What ``lammps.extract_box`` returns.

    Returns:
        Edges a, b, c as rows, shape ``[3, 3]``, in LAMMPS's unit of length, and in which of them
        the box repeats, shape ``[3]``.
    """
    low, high, xy, yz, xz, periodic, _ = box
    x, y, z = np.subtract(high, low)
    return np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]], dtype=float), np.array(periodic, bool)


def padded_cell(
    cell: Floats, periodic: NDArray[np.bool_], positions: Floats, cutoff: float
) -> Floats:
    """The same atoms in a cell that repeats everywhere, with the same neighbours.

    An edge in which the box does not repeat gives way to one at right angles to all that do, long
    enough that an atom and an image across it are farther apart than the model sees. So energy and
    forces are those of the open boundary, and the stress is the same in every host.

    Args:
        cell: Edges as rows, shape ``[3, 3]``, angstrom.
        periodic: In which of them the box repeats, shape ``[3]``.
        positions: Shape ``[n_atoms, 3]``, angstrom.
        cutoff: Of the model, angstrom.

    Returns:
        Edges as rows, shape ``[3, 3]``, angstrom.
    """
    if periodic.all():
        return cell
    open_directions = np.eye(3)
    if periodic.any():
        _, _, rows = np.linalg.svd(cell[periodic])
        open_directions = rows[int(periodic.sum()) :]
    lengths = np.ptp(positions @ open_directions.T, axis=0) + cutoff + MARGIN
    padded: Floats = cell.copy()
    padded[~periodic] = lengths[:, None] * open_directions
    return padded


def virial_of_stress(stress: Floats, cell: Floats) -> Floats:
    """The virial of a periodic cell.

    Args:
        stress: Derivative of the energy by strain over the volume, ASE's order of the six parts
            (Voigt), eV/angstrom^3.
        cell: Edges as rows, shape ``[3, 3]``, angstrom.

    Returns:
        Minus the derivative of the energy by strain, LAMMPS's order of the six parts, eV.
    """
    volume = abs(float(np.linalg.det(cell)))
    parts: Floats = -volume * np.asarray(stress, dtype=float)[VOIGT_TO_LAMMPS]
    return parts


def virial_of_forces(positions: Floats, forces: Floats) -> Floats:
    """The virial of atoms that nothing repeats: the sum of positions times forces.

    Args:
        positions: Shape ``[n_atoms, 3]``, angstrom.
        forces: Shape ``[n_atoms, 3]``, eV/angstrom.

    Returns:
        Minus the derivative of the energy by strain, LAMMPS's order of the six parts, eV.
    """
    product = (positions - positions.mean(axis=0)).T @ forces
    symmetric: Floats = 0.5 * (product + product.T)
    return symmetric[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
