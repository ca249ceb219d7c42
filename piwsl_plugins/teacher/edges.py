"""Edges: the vectors from atoms to their neighbours, of which energies are functions here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import ase
import numpy as np
import torch
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from torch import Tensor


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """The atoms of some structures, and the edges between neighbours, each in both directions.

    Attributes:
        numbers: atomic numbers, shape [n_atoms].
        structure: index of each atom's structure, shape [n_atoms].
        volumes: of the cells, shape [n_structures], angstrom^3; infinite where there is none.
        centre, neighbour: atoms of each edge, shape [n_edges].
        vectors: from centre to neighbour, shape [n_edges, 3], angstrom.
    """

    numbers: Tensor
    structure: Tensor
    volumes: Tensor
    centre: Tensor
    neighbour: Tensor
    vectors: Tensor

    @classmethod
    def of(
        cls, frames: Sequence[ase.Atoms], cutoff: float | None, device: torch.device | str = "cpu"
    ) -> Edges:
        """Find the neighbours: within the cutoff (angstrom), in a molecule all other atoms.

        Raises:
            ValueError: a periodic structure, and no cutoff.
        """
        sizes = np.array([len(atoms) for atoms in frames])
        starts = np.cumsum(sizes) - sizes
        found = [_edges(atoms, cutoff) for atoms in frames]
        volumes = [abs(atoms.cell.volume) if atoms.cell.rank == 3 else np.inf for atoms in frames]
        arrays = {
            "numbers": np.concatenate([atoms.numbers for atoms in frames]),
            "structure": np.repeat(np.arange(len(frames)), sizes),
            "volumes": np.array(volumes, dtype=float),
            "centre": np.concatenate([e[0] + s for e, s in zip(found, starts, strict=True)]),
            "neighbour": np.concatenate([e[1] + s for e, s in zip(found, starts, strict=True)]),
            "vectors": np.concatenate([e[2] for e in found]),
        }
        return cls(**{name: torch.as_tensor(a, device=device) for name, a in arrays.items()})

    def take(self, chosen: Tensor) -> Edges:
        """The same atoms with some of the edges; ``chosen``, a mask or indices."""
        parts = {name: getattr(self, name)[chosen] for name in ("centre", "neighbour", "vectors")}
        return dataclasses.replace(self, **parts)

    def forces(self, gradient: Tensor) -> Tensor:
        """Forces, [n_atoms, ..., 3], of the energy's derivative by the edges, [n_edges, ..., 3]."""
        zeros = gradient.new_zeros(len(self.numbers), *gradient.shape[1:])
        return zeros.index_add(0, self.centre, gradient).index_add(0, self.neighbour, -gradient)

    def stress(self, gradient: Tensor) -> Tensor:
        """Stress likewise, shape [n_structures, ..., 3, 3], eV/angstrom^3; zero without a cell."""
        vectors = self.vectors.reshape(-1, *[1] * (gradient.ndim - 1), 3)
        virial = gradient[..., None] * vectors
        total = virial.new_zeros(len(self.volumes), *virial.shape[1:])
        total = total.index_add(0, self.structure[self.centre], virial)
        return (total + total.mT) / (2 * self.volumes.reshape(-1, *[1] * (total.ndim - 1)))


def _edges(atoms: ase.Atoms, cutoff: float | None) -> list[NDArray[np.generic]]:
    """Centres, neighbours and vectors of one structure."""
    if atoms.pbc.any():
        if cutoff is None:
            raise ValueError("the teacher knows molecules alone; expected no periodic structure")
        return list(neighbor_list("ijD", atoms, cutoff))
    first, second = np.nonzero(~np.eye(len(atoms), dtype=bool))
    return [first, second, atoms.positions[second] - atoms.positions[first]]
