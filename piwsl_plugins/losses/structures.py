"""A batch of structures as tensors, with the labels that it has."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


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
    """

    positions: Tensor
    graph_index: Tensor
    n_graphs: int
    isolated: Tensor | None = None
    energy: Tensor | None = None
    has_energy: Tensor | None = None
    forces: Tensor | None = None
    has_forces: Tensor | None = None

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
