"""NequIP's batch as the core takes it: labels, pairs, and displaced copies of it.

The neighbour lists of displaced geometries are made of one list with a skin; labels that are absent
or NaN are masked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from nequip.data import AtomicDataDict, get_field_type
from nequip.data.transforms import NeighborListPruneTransform, NeighborListTransform
from nequip.nn import with_edge_vectors_
from torch import Tensor
from torch.utils.data import Subset

from piwsl_plugins.hosts.nequip.extension import WEAK_FORCES_WEIGHTS
from piwsl_plugins.losses import Pairs, Structures, weak_force_penalties
from piwsl_plugins.losses.structures import count_atoms, rows_of, sum_per_graph
from piwsl_plugins.settings import WEAK_FORCES, PiwslSettings

Batch = dict[str, Tensor]
Counts = tuple[Tensor, Tensor]
"""Number of atoms and of pairs of each structure, each of shape [n_graphs], int64, on the CPU."""

POSITIONS, EDGES = AtomicDataDict.POSITIONS_KEY, AtomicDataDict.EDGE_INDEX_KEY


def counts_of(batch: Batch) -> Counts:
    """Numbers of atoms and pairs; without waiting for a device where the batch is on the CPU."""
    owner = batch[AtomicDataDict.BATCH_KEY][batch[EDGES][0]]
    pairs = count_atoms(owner, AtomicDataDict.num_frames(batch))
    return batch[AtomicDataDict.NUM_NODES_KEY].cpu(), pairs.cpu()


def trimmed(batch: Batch, positions: Tensor, cutoff: float) -> Batch:
    """The batch at other positions, with the pairs that are within the cutoff there (angstrom)."""
    data = {**batch, POSITIONS: positions.detach()}
    lengths = with_edge_vectors_(dict(data), with_lengths=True)[AtomicDataDict.EDGE_LENGTH_KEY]
    # the one place that waits for the device: how many pairs are near is known there alone
    near = (lengths.view(-1) <= cutoff).nonzero().view(-1)
    for key, values in batch.items():
        if get_field_type(key, error_on_unregistered=False) == "edge":
            data[key] = values.index_select(0, near)
    return data | {EDGES: batch[EDGES].index_select(1, near), POSITIONS: positions}


def selected(batch: Batch, chosen: Tensor, counts: Counts) -> Batch:
    """Some of a batch's structures as a batch; chosen: shape [n_chosen], int64, on the CPU."""
    n_atoms, n_pairs = counts
    atoms, owner = rows_of(chosen, n_atoms)
    pairs, pair_owner = rows_of(chosen, n_pairs)
    kept = n_atoms[chosen]
    shift = ((kept.cumsum(0) - kept) - (n_atoms.cumsum(0) - n_atoms)[chosen])[pair_owner]
    graphs, atoms, pairs, owner, shift = (
        numbers.to(batch[POSITIONS].device, non_blocking=True)
        for numbers in (chosen, atoms, pairs, owner, shift)
    )
    rows = {"graph": graphs, "node": atoms, "edge": pairs}
    part = {
        key: values.index_select(0, rows[kind])
        for key, values in batch.items()
        if (kind := get_field_type(key, error_on_unregistered=False)) in rows
    }
    edges = batch[EDGES].index_select(1, pairs) + shift
    return part | {EDGES: edges, AtomicDataDict.BATCH_KEY: owner}


def pairs_of(batch: Batch, radii: Tensor, counts: Counts) -> Pairs:
    """The pairs of a batch's neighbour list; radii: of each type, shape [n_types], angstrom."""
    index, positions = batch[EDGES], batch[POSITIONS].detach()
    data = with_edge_vectors_({**batch, POSITIONS: positions}, with_lengths=False)
    between = positions.index_select(0, index[1]) - positions.index_select(0, index[0])
    types = batch[AtomicDataDict.ATOM_TYPE_KEY].view(-1)
    return Pairs(
        index=index,
        shifts=data[AtomicDataDict.EDGE_VECTORS_KEY] - between,
        radii=radii.to(positions).index_select(0, types),
        counts=counts[1],
    )


@dataclasses.dataclass(frozen=True)
class DisplacedModel:
    """NequIP's model on displaced copies of a batch; see :class:`piwsl_plugins.losses.Evaluate`.

    The batch's neighbour list has the skin; ``cutoff`` is the model's longest, angstrom, and within
    ``energies_only`` the model leaves out the forces.
    """

    call: Callable[[Batch], Batch]
    batch: Batch
    counts: Counts
    cutoff: float
    energies_only: Callable[[], AbstractContextManager[None]]

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        """Energies and forces at positions of shape [n_copies, n_atoms, 3]."""
        copies = AtomicDataDict.batched_from_list([self.batch] * len(positions))
        data = trimmed(copies, positions.reshape(-1, 3), self.cutoff)
        with nullcontext() if forces else self.energies_only():
            output = self.call(data)
        energy = output[AtomicDataDict.TOTAL_ENERGY_KEY].view(len(positions), -1)
        return energy, output[AtomicDataDict.FORCE_KEY].view_as(positions) if forces else None

    def select(self, chosen: Tensor) -> DisplacedModel:
        """The model on some of the structures; chosen: shape [n_chosen], int64, on the CPU."""
        part, (atoms, pairs) = selected(self.batch, chosen, self.counts), self.counts
        return dataclasses.replace(self, batch=part, counts=(atoms[chosen], pairs[chosen]))


def give_skin(dataset: Any, cutoff: float, skin: float) -> None:
    """Let the transforms of a training dataset list all pairs of displaced geometries.

    That is up to the model's longest cutoff and the skin, by which two atoms can come closer.
    """
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    lists = NeighborListTransform | NeighborListPruneTransform
    if not any(isinstance(own, lists) for own in getattr(dataset, "transforms", ())):
        raise ValueError(
            "the training data have no neighbour list that displaced geometries could widen; add "
            "nequip.data.transforms.NeighborListTransform to their transforms"
        )
    dataset.transforms = [
        _widened(own, cutoff, skin) if isinstance(own, lists) else own for own in dataset.transforms
    ]


def _widened(own: Any, cutoff: float, skin: float) -> Any:
    if own.r_max < cutoff - 1e-9:
        raise ValueError(
            f"the training data's neighbour list reaches {own.r_max:g} angstrom, and the model's "
            f"cutoff is {cutoff:g}: raise r_max of the {type(own).__name__} to that"
        )
    options = ("type_names", "backend", "backend_kwargs")
    kept = {name: getattr(own, name) for name in options if hasattr(own, name)}
    kept["per_edge_type_cutoff"] = _longer(own.per_edge_type_cutoff, skin)
    return type(own)(r_max=own.r_max + skin, **kept)


def _longer(cutoffs: Any, skin: float) -> Any:
    if isinstance(cutoffs, Mapping):
        return {name: _longer(value, skin) for name, value in cutoffs.items()}
    return cutoffs and cutoffs + skin


def structures_of(batch: Batch, positions: Tensor, counts: Counts) -> Structures:
    """Translate NequIP's batch; positions: those that the forces are a function of."""
    energy, forces = (
        batch.get(key) for key in (AtomicDataDict.TOTAL_ENERGY_KEY, AtomicDataDict.FORCE_KEY)
    )
    return Structures(
        positions=positions,
        graph_index=batch[AtomicDataDict.BATCH_KEY],
        n_graphs=AtomicDataDict.num_frames(batch),
        counts=counts[0],
        isolated=~batch[AtomicDataDict.PBC_KEY].view(-1, 3).any(dim=-1),
        energy=None if energy is None else energy.view(-1).nan_to_num(),
        has_energy=None if energy is None else ~energy.view(-1).isnan(),
        forces=None if forces is None else forces.nan_to_num(),
        has_forces=None if forces is None else _known(forces, batch),
    )


def weak_penalties(settings: PiwslSettings, batch: Batch, forces: Tensor) -> Tensor:
    """Error of the model's forces, shape [n_atoms, 3], eV/angstrom, against the weak ones.

    Returns:
        Penalties, and 1 where a structure has weak forces and else 0, shape [2, n_graphs]; empty
        where the batch has no field of them.
    """
    weak, weights = batch.get(WEAK_FORCES), batch.get(WEAK_FORCES_WEIGHTS)
    if weak is None:
        return forces.new_zeros(2, 0)
    known = _known(weak, batch)
    penalties = weak_force_penalties(
        forces,
        weak.nan_to_num(),
        batch[AtomicDataDict.BATCH_KEY],
        AtomicDataDict.num_frames(batch),
        has_weak_forces=known,
        weights=None if weights is None else weights.view(-1),
    )
    return torch.stack([penalties, known.to(penalties)])


def _known(label: Tensor, batch: Batch) -> Tensor:
    """Structures all of whose atoms have a label, shape [n_graphs], bool."""
    lacking = label.isnan().any(dim=-1).long()
    owner, n_graphs = batch[AtomicDataDict.BATCH_KEY], AtomicDataDict.num_frames(batch)
    return sum_per_graph(lacking, owner, n_graphs) == 0
