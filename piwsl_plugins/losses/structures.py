"""A batch of structures as tensors, with the labels that it has, and sums over its graphs."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


def sum_per_graph(values: Tensor, graph_index: Tensor, n_graphs: int) -> Tensor:
    """Sum atomic values, shape [n_atoms, ...], over each graph, shape [n_graphs, ...]."""
    return values.new_zeros(n_graphs, *values.shape[1:]).index_add(0, graph_index, values)


def count_atoms(graph_index: Tensor, n_graphs: int) -> Tensor:
    """Number of atoms of each graph, shape [n_graphs], int64, on the device of ``graph_index``."""
    return sum_per_graph(torch.ones_like(graph_index), graph_index, n_graphs)


def rows_of(chosen: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of some structures in a tensor that holds those of all structures, one after another.

    Args:
        chosen: the structures, shape [n_chosen], int64, ascending.
        counts: number of rows (atoms, pairs) of each structure, shape [n_graphs], int64.

    Returns:
        The rows, and for each the position of its structure in ``chosen``, both of shape [n_rows],
        int64, on the device of the arguments: on the CPU, nothing waits for an accelerator.
    """
    kept = counts[chosen]
    shift = (counts.cumsum(0) - counts)[chosen] - (kept.cumsum(0) - kept)
    owner = torch.arange(len(chosen), device=chosen.device).repeat_interleave(kept)
    return torch.arange(len(owner), device=chosen.device) + shift[owner], owner


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pairs of near atoms, each in both directions.

    Attributes:
        index: the two atoms of each pair, shape [2, n_pairs], int64, structure after structure.
        shifts: what is added to the second atom's position minus the first's, periodic images,
            shape [n_pairs, 3], angstrom.
        radii: covalent radius of each atom, shape [n_atoms], angstrom.
        counts: number of pairs of each structure, as in :class:`Structures`.
    """

    index: Tensor
    shifts: Tensor
    radii: Tensor
    counts: Tensor | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Structures:
    """A batch of structures as tensors.

    Attributes:
        positions: r, shape [n_atoms, 3], angstrom. For ``second_order='hessian'`` it must be the
            very tensor that the forces handed in were differentiated with respect to.
        graph_index: graph of each atom, shape [n_atoms], int64, ascending.
        n_graphs: number of graphs.
        counts: number of atoms of each graph, shape [n_graphs], int64, on the CPU; default,
            counted when structures are selected, for which a GPU is waited for.
        isolated: graphs without periodic directions, shape [n_graphs], bool; default, none.
        energy: reference energies, shape [n_graphs], eV, on the model's zero; anything if absent.
        has_energy: graphs with a reference energy, shape [n_graphs], bool.
        forces: reference forces, shape [n_atoms, 3], eV/angstrom; any value where absent.
        has_forces: graphs with reference forces, shape [n_graphs], bool.
        pairs: pairs of near atoms; read by the curvature loss alone.

    Raises:
        ValueError: a tensor of another shape, or a label without its mask.
    """

    positions: Tensor
    graph_index: Tensor
    n_graphs: int
    counts: Tensor | None = None
    isolated: Tensor | None = None
    energy: Tensor | None = None
    has_energy: Tensor | None = None
    forces: Tensor | None = None
    has_forces: Tensor | None = None
    pairs: Pairs | None = None

    def __post_init__(self) -> None:
        n_atoms, n_graphs = self.positions.shape[0], self.n_graphs
        of_graphs = ("counts", "isolated", "energy", "has_energy", "has_forces")
        expected: dict[str, tuple[int, ...]] = dict.fromkeys(of_graphs, (n_graphs,))
        expected |= dict.fromkeys(("positions", "forces"), (n_atoms, 3))
        expected["graph_index"] = (n_atoms,)
        for name, shape in expected.items():
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, expected {shape}")
        for label in ("energy", "forces"):
            if (getattr(self, label) is None) != (getattr(self, f"has_{label}") is None):
                raise ValueError(f"{label} and has_{label} must be given together")

    def labelled(self, name: str) -> Tensor:
        """Graphs that have the label ``energy`` or ``forces``, shape [n_graphs], bool."""
        mask: Tensor | None = getattr(self, f"has_{name}")
        return self.positions.new_zeros(self.n_graphs).bool() if mask is None else mask

    def on_device(self, numbers: Tensor) -> Tensor:
        """Numbers from the CPU on the structures' device, which is not waited for."""
        return numbers.to(self.positions.device, non_blocking=True)

    def atoms_of(self, chosen: Tensor) -> Tensor:
        """Rows of some structures' atoms, shape [n_atoms], int64; see :meth:`select`."""
        return self.on_device(rows_of(chosen, self._counts())[0])

    def select(self, chosen: Tensor) -> Structures:
        """Structures ``chosen`` (shape [n_chosen], int64, ascending, on the CPU), renumbered."""
        counts = self._counts()
        rows, owner = rows_of(chosen, counts)
        graphs, atoms = self.on_device(chosen), self.on_device(rows)

        def part(values: Tensor | None, kept: Tensor) -> Tensor | None:
            return None if values is None else values.index_select(0, kept)

        return Structures(
            positions=self.positions.index_select(0, atoms),
            graph_index=self.on_device(owner),
            n_graphs=len(chosen),
            counts=counts[chosen],
            isolated=part(self.isolated, graphs),
            energy=part(self.energy, graphs),
            has_energy=part(self.has_energy, graphs),
            forces=part(self.forces, atoms),
            has_forces=part(self.has_forces, graphs),
            pairs=None if self.pairs is None else self._select_pairs(self.pairs, chosen, atoms),
        )

    def _counts(self) -> Tensor:
        counts = self.counts
        return count_atoms(self.graph_index, self.n_graphs).cpu() if counts is None else counts

    def _select_pairs(self, pairs: Pairs, chosen: Tensor, atoms: Tensor) -> Pairs:
        counts = pairs.counts
        if counts is None:
            counts = count_atoms(self.graph_index[pairs.index[0]], self.n_graphs).cpu()
        rows = self.on_device(rows_of(chosen, counts)[0])
        number = torch.zeros_like(self.graph_index)
        number[atoms] = torch.arange(len(atoms), device=atoms.device)
        return Pairs(
            index=number[pairs.index.index_select(1, rows)],
            shifts=pairs.shifts.index_select(0, rows),
            radii=pairs.radii.index_select(0, atoms),
            counts=counts[chosen],
        )
