"""Whether a sampled geometry is still the system that was sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.neighborlist import natural_cutoffs, neighbor_list
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from piwsl_plugins.evaluation.dynamics import Ranges, neighbour_ranges, strange_neighbour

BOND = 1.4
"""Atoms closer than this many sums of their covalent radii count as bonded."""


@dataclass(frozen=True, slots=True)
class Plausibility:
    """What geometries must look like.

    Attributes:
        ranges: Shortest and longest distance of an atom to its nearest neighbour in the known
            geometries, by element, angstrom.
    """

    ranges: Ranges

    @classmethod
    def of(cls, known: Sequence[Atoms]) -> Plausibility:
        """What the known geometries say of others of the same system."""
        return cls(neighbour_ranges(known))

    def objection(self, atoms: Atoms, parent: Atoms) -> str | None:
        """Why a geometry is not to be used, or None.

        Args:
            atoms: The geometry, angstrom.
            parent: The known geometry that it was made from.

        Returns:
            An atom whose nearest neighbour is closer than 0.6 times the shortest, or farther than
            1.5 times the longest, such distance among the known; or more fragments than the
            molecules of the parent; in words.
        """
        if not np.isfinite(atoms.positions).all():
            return "a position is not a finite number"
        found = strange_neighbour(atoms, self.ranges)
        if found is None and not atoms.pbc.any():
            before, now = fragments(parent), fragments(atoms)
            if now > before:
                return f"it fell into {now} fragments, from {before}"
        return found


def fragments(atoms: Atoms) -> int:
    """Number of molecules, by distances between atoms and covalent radii."""
    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=BOND))
    bonds = coo_array((np.ones(len(first)), (first, second)), shape=(len(atoms), len(atoms)))
    return int(connected_components(bonds, directed=False)[0])
