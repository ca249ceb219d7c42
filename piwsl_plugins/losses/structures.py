"""A batch of structures as tensors, with the labels that it has."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pairs of near atoms, each in both directions.

    Attributes:
        index: the two atoms of each pair, shape [2, n_pairs], int64.
        shifts: what is added to the second atom's position minus the first's, periodic images,
            shape [n_pairs, 3], angstrom.
        radii: covalent radius of each atom, shape [n_atoms], angstrom.
    """

    index: Tensor
    shifts: Tensor
    radii: Tensor

    def select(self, atoms: Tensor) -> Pairs:
        """The pairs among some of the atoms, which are numbered anew.

        Args:
            atoms: those atoms, shape [n_atoms], bool; whole structures.
        """
        kept = atoms[self.index[0]]
        number = torch.cumsum(atoms, 0) - 1
        return Pairs(
            index=number[self.index[:, kept]], shifts=self.shifts[kept], radii=self.radii[atoms]
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Structures:
    """A batch of structures as tensors.

    Attributes:
        positions: r, shape [n_atoms, 3], angstrom. For ``second_order='hessian'`` it must be the
            very tensor that the forces handed in were differentiated with respect to.
        graph_index: graph of each atom, shape [n_atoms], int64, ascending.
        n_graphs: number of graphs.
        isolated: graphs without periodic directions, shape [n_graphs], bool, or None for all
            periodic.
        energy: reference energies, shape [n_graphs], eV, on the model's energy zero; any value
            where absent.
        has_energy: graphs with a reference energy, shape [n_graphs], bool.
        forces: reference forces, shape [n_atoms, 3], eV/angstrom; any value where absent.
        has_forces: graphs with reference forces, shape [n_graphs], bool.
        pairs: pairs of near atoms; read by the curvature loss alone.
    """

    positions: Tensor
    graph_index: Tensor
    n_graphs: int
    isolated: Tensor | None = None
    energy: Tensor | None = None
    has_energy: Tensor | None = None
    forces: Tensor | None = None
    has_forces: Tensor | None = None
    pairs: Pairs | None = None

    def __post_init__(self) -> None:
        n_atoms, n_graphs = self.positions.shape[0], self.n_graphs
        expected = {
            "positions": (n_atoms, 3),
            "graph_index": (n_atoms,),
            "isolated": (n_graphs,),
            "energy": (n_graphs,),
            "has_energy": (n_graphs,),
            "forces": (n_atoms, 3),
            "has_forces": (n_graphs,),
        }
        for name, shape in expected.items():
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, expected {shape}")
        for label in ("energy", "forces"):
            if (getattr(self, label) is None) != (getattr(self, f"has_{label}") is None):
                raise ValueError(f"{label} and has_{label} must be given together")

    def atom_counts(self) -> Tensor:
        """Number of atoms of each graph, shape [n_graphs], dtype of the positions."""
        counts = torch.bincount(self.graph_index, minlength=self.n_graphs)
        return counts.to(self.positions.dtype)

    def labelled(self, name: str) -> Tensor:
        """Graphs that have the label ``energy`` or ``forces``, shape [n_graphs], bool."""
        mask: Tensor | None = getattr(self, f"has_{name}")
        if mask is None:
            return torch.zeros(self.n_graphs, dtype=torch.bool, device=self.positions.device)
        return mask

    def select(self, chosen: Tensor) -> Structures:
        """Some of the structures, numbered anew.

        Args:
            chosen: those structures, shape [n_graphs], bool.
        """
        atoms = chosen[self.graph_index]
        number = torch.cumsum(chosen, 0) - 1

        def part(values: Tensor | None, kept: Tensor) -> Tensor | None:
            return None if values is None else values[kept]

        return Structures(
            positions=self.positions[atoms],
            graph_index=number[self.graph_index[atoms]],
            n_graphs=int(chosen.sum()),
            isolated=part(self.isolated, chosen),
            energy=part(self.energy, chosen),
            has_energy=part(self.has_energy, chosen),
            forces=part(self.forces, atoms),
            has_forces=part(self.has_forces, chosen),
            pairs=None if self.pairs is None else self.pairs.select(atoms),
        )
