"""Normal modes of a geometry; which sampled ones are of the system, and far from the others."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence

import ase
import numpy as np
from ase.neighborlist import natural_cutoffs, neighbor_list
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from piwsl_plugins.data.frames import Floats
from piwsl_plugins.data.splits import farthest

BOND = 1.4  # atoms nearer than this many sums of their covalent radii count as bonded
CLOSEST, FARTHEST = 0.6, 1.5
"""Bounds of an atom's nearest-neighbour distance, relative to the extremes in known geometries."""
NEIGHBOURS = 6.0  # atoms farther than this are no neighbours, angstrom
MOST_KNOWN = 2000  # known geometries that others are kept away from; more are thinned out evenly


def normal_modes(atoms: ase.Atoms) -> tuple[Floats, Floats]:
    """Vibrations by central differences of forces, without translations and free rotations.

    Returns:
        Squared angular frequencies, shape [n_modes], eV/angstrom^2/amu, negative for unstable
        modes; and displacements along the modes, shape [n_modes, n_atoms, 3], 1/sqrt(amu).
    """
    from ase.vibrations import Vibrations  # with matplotlib, slow to import

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ASE's, about modes that are no vibrations
        vibrations = Vibrations(atoms, name=f"{folder}/modes")
        vibrations.run()
        hessian = vibrations.get_vibrations().get_hessian_2d()
    root = np.sqrt(np.repeat(atoms.get_masses(), 3))
    motions = [np.tile(axis, len(atoms)) for axis in np.eye(3)]
    if not atoms.pbc.any():
        arms = atoms.positions - atoms.get_center_of_mass()
        motions += [np.cross(axis, arms).ravel() for axis in np.eye(3)]
    _, sizes, rows = np.linalg.svd(np.array(motions) * root)
    internal = rows[int((sizes > 1e-8 * sizes.max()).sum()) :]
    weighted = 0.5 * (hessian + hessian.T) / np.outer(root, root)
    curvatures, vectors = np.linalg.eigh(internal @ weighted @ internal.T)
    return curvatures, (vectors.T @ internal / root).reshape(-1, len(atoms), 3)


class Plausibility:
    """What geometries must look like to be still the system of the known ones."""

    def __init__(self, known: Sequence[ase.Atoms]) -> None:
        self.ranges: dict[int, tuple[float, float]] = {}
        for atoms in known[:: 1 + len(known) // 200]:
            for z, distance in zip(atoms.numbers.tolist(), _nearest(atoms), strict=True):
                if np.isfinite(distance):
                    low, high = self.ranges.get(z, (np.inf, 0.0))
                    self.ranges[z] = (min(low, distance), max(high, distance))

    def objection(self, atoms: ase.Atoms, parent: ase.Atoms) -> str:
        """Why a geometry made from a parent is not to be used; empty if it is.

        An atom's nearest neighbour is nearer or farther than the known ones allow, or there are
        more fragments than in the parent.
        """
        if not np.isfinite(atoms.positions).all():
            return "a position is not finite"
        for number, distance in enumerate(_nearest(atoms)):
            low, high = self.ranges.get(int(atoms.numbers[number]), (0.0, np.inf))
            if not CLOSEST * low <= distance <= FARTHEST * high:
                return (
                    f"atom {number} ({atoms.symbols[number]}) has its nearest neighbour at "
                    f"{distance:.2f} angstrom; known are {low:.2f} to {high:.2f}"
                )
        before, now = (0, 0) if atoms.pbc.any() else (_fragments(parent), _fragments(atoms))
        return f"it fell into {now} fragments, from {before}" if now > before else ""


def _fragments(atoms: ase.Atoms) -> int:
    """Number of molecules, by distances between atoms and covalent radii."""
    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=BOND))
    bonds = coo_array((np.ones(len(first)), (first, second)), shape=(len(atoms), len(atoms)))
    return int(connected_components(bonds, directed=False)[0])


def _nearest(atoms: ase.Atoms) -> Floats:
    """Distance of each atom to the nearest other, shape [n_atoms], angstrom; inf for none."""
    nearest = np.full(len(atoms), np.inf)
    index, distance = neighbor_list("id", atoms, NEIGHBOURS)
    np.minimum.at(nearest, index, distance)
    return nearest


def choose(
    known: Sequence[ase.Atoms], sampled: Sequence[ase.Atoms], number: int | None, closest: float
) -> list[int]:
    """Numbers of at most ``number`` sampled geometries, the farthest from all others first.

    None is nearer to a known one, or to one before it, than ``closest``, as :func:`farthest` says.
    """
    if not sampled or (number is None and closest == 0):
        return list(range(len(sampled)))
    thinned = known[:: 1 + len(known) // MOST_KNOWN]
    frames, first = [*thinned, *sampled], len(thinned)
    order, distance = farthest(frames, range(first), len(frames))
    far = order[(order >= first) & (distance >= closest)] - first
    return [int(index) for index in far[:number]]
