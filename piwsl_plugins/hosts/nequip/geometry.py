"""Neighbour lists of displaced geometries, made of one list with a skin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from nequip.data import AtomicDataDict, compute_neighborlist_
from nequip.data.transforms import NeighborListPruneTransform, NeighborListTransform
from nequip.nn.utils import with_edge_vectors_
from torch import Tensor

from piwsl_plugins.hosts.nequip import seams
from piwsl_plugins.losses import Pairs

Batch = dict[str, Tensor]

GEOMETRY = (
    AtomicDataDict.POSITIONS_KEY,
    AtomicDataDict.CELL_KEY,
    AtomicDataDict.PBC_KEY,
    AtomicDataDict.BATCH_KEY,
    AtomicDataDict.NUM_NODES_KEY,
    AtomicDataDict.ATOM_TYPE_KEY,
)
"""Keys of a batch that a neighbour list is made of, and the atoms' types."""


def trimmed(batch: Batch, positions: Tensor, cutoff: float) -> Batch:
    """The batch at other positions, with the pairs that are within the cutoff there.

    Args:
        batch: NequIP's batch, whose neighbour list holds all pairs within the cutoff and a skin.
        positions: shape [n_atoms, 3], angstrom.
        cutoff: the model's longest cutoff, angstrom.

    Returns:
        What NequIP's models take.
    """
    data = dict(batch)
    # a permutation between the two directions of each pair; it would no longer fit
    data.pop(AtomicDataDict.EDGE_TRANSPOSE_PERM_KEY, None)
    data[AtomicDataDict.POSITIONS_KEY] = positions.detach()
    lengths = with_edge_vectors_(dict(data), with_lengths=True)[AtomicDataDict.EDGE_LENGTH_KEY]
    near = lengths.view(-1) <= cutoff
    for key in data:
        if key == AtomicDataDict.EDGE_INDEX_KEY:
            data[key] = data[key][:, near]
        elif seams.field_type(key) == "edge":
            data[key] = data[key][near]
    data[AtomicDataDict.POSITIONS_KEY] = positions
    return data


def selected(batch: Batch, chosen: Tensor) -> Batch:
    """Some of a batch's structures as a batch.

    Args:
        batch: NequIP's batch.
        chosen: those structures, shape [n_graphs], bool.

    Returns:
        Their fields; what is neither an atom's, a pair's nor a structure's is left out.
    """
    atoms = chosen[batch[AtomicDataDict.BATCH_KEY]]
    pairs = atoms[batch[AtomicDataDict.EDGE_INDEX_KEY][0]]
    kept = {"graph": chosen, "node": atoms, "edge": pairs}
    part = {}
    for key, values in batch.items():
        kind = seams.field_type(key)
        if key == AtomicDataDict.EDGE_INDEX_KEY:
            part[key] = (torch.cumsum(atoms, 0) - 1)[values[:, pairs]]
        elif key == AtomicDataDict.BATCH_KEY:
            part[key] = (torch.cumsum(chosen, 0) - 1)[values[atoms]]
        elif kind in kept and key != AtomicDataDict.EDGE_TRANSPOSE_PERM_KEY:
            part[key] = values[kept[kind]]
    return part


def pairs_of(batch: Batch, radii: Tensor) -> Pairs:
    """The pairs of a batch's neighbour list.

    Args:
        batch: NequIP's batch.
        radii: covalent radius of each atom type, shape [n_types], angstrom.
    """
    index = batch[AtomicDataDict.EDGE_INDEX_KEY]
    positions = batch[AtomicDataDict.POSITIONS_KEY].detach()
    vectors = with_edge_vectors_(
        {**batch, AtomicDataDict.POSITIONS_KEY: positions}, with_lengths=False
    )[AtomicDataDict.EDGE_VECTORS_KEY]
    types = batch[AtomicDataDict.ATOM_TYPE_KEY].view(-1)
    return Pairs(
        index=index,
        shifts=vectors - (positions[index[1]] - positions[index[0]]),
        radii=radii.to(positions)[types],
    )


class DisplacedModel:
    """NequIP's model on displaced copies of one batch, as the core wants to call it.

    Args:
        call: from a batch to the model's output.
        batch: NequIP's batch, its neighbour list with the skin.
        cutoff: the model's longest cutoff, angstrom.
        energies_only: within it, the model leaves out the forces.
    """

    def __init__(
        self,
        call: Callable[[Batch], Batch],
        batch: Batch,
        cutoff: float,
        energies_only: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.call = call
        self.batch = batch
        self.cutoff = cutoff
        self.energies_only = energies_only

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        """Energies and forces at positions of shape [n_atoms, 3]."""
        return self._run(trimmed(self.batch, positions, self.cutoff), forces)

    def stacked(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        """The same for positions of shape [k, n_atoms, 3], in one call."""
        copies = [trimmed(self.batch, copy, self.cutoff) for copy in positions]
        data = AtomicDataDict.batched_from_list(copies)
        energy, gradient = self._run(data, forces)
        return (
            energy.view(len(positions), -1),
            None if gradient is None else gradient.view_as(positions),
        )

    def select(self, chosen: Tensor) -> DisplacedModel:
        """The model on some of the structures; chosen: shape [n_graphs], bool."""
        part = selected(self.batch, chosen)
        return DisplacedModel(self.call, part, self.cutoff, self.energies_only)

    def _run(self, data: Batch, forces: bool) -> tuple[Tensor, Tensor | None]:
        if forces:
            output = self.call(data)
            return total_energy(output), output[AtomicDataDict.FORCE_KEY]
        with self.energies_only():
            return total_energy(self.call(data)), None


def total_energy(output: Batch) -> Tensor:
    """Energies, shape [n_graphs], eV; NequIP's own have a second dimension of one."""
    return output[AtomicDataDict.TOTAL_ENERGY_KEY].view(-1)


def check_skin(datasets: list[Any], model: Any, skin: float) -> bool:
    """Check that training data carry all pairs within the model's cutoffs and the skin.

    Args:
        datasets: NequIP's training datasets.
        model: NequIP's model.
        skin: angstrom.

    Returns:
        Whether the datasets' transforms say so; False where they make no neighbour list, and
        :func:`check_first_batch` must look at the pairs themselves.

    Raises:
        ValueError: names the cutoff that is too small and the one that is needed.
    """
    needed = seams.model_cutoffs(model) + skin
    names = list(model.type_names)
    found = False
    for transform in (t for dataset in datasets for t in _transforms(dataset)):
        if not isinstance(transform, NeighborListTransform | NeighborListPruneTransform):
            continue
        found = True
        missing = seams.pair_cutoffs(transform, names) < needed - 1e-9
        if missing.any():
            i, j = (int(index) for index in missing.nonzero()[0])
            given = float(seams.pair_cutoffs(transform, names)[i, j])
            raise ValueError(
                f"the training data's neighbour list reaches {given:g} angstrom for pairs "
                f"{names[i]}-{names[j]}, and displaced geometries need the model's cutoff and the "
                f"skin, {float(needed[i, j]) - skin:g} + {skin:g} = {float(needed[i, j]):g} "
                "angstrom; use data._target_: piwsl_plugins.hosts.nequip.PiwslASEDataModule (or "
                "PiwslDataModule) with piwsl: ${training_module.piwsl}, which widens the list of "
                f"the training data by itself, or raise r_max of the {type(transform).__name__}"
            )
    return found


def check_first_batch(batch: Batch, model: Any, skin: float) -> None:
    """The same, by the pairs of a batch.

    Raises:
        ValueError: a pair within the model's cutoff and the skin is not in the batch's list.
    """
    cutoffs = seams.model_cutoffs(model) + skin
    geometry = {key: value.cpu() for key, value in batch.items() if key in GEOMETRY}
    complete = compute_neighborlist_(geometry, float(cutoffs.max()))

    def near(data: Batch) -> int:
        lengths = with_edge_vectors_(dict(data), with_lengths=True)[AtomicDataDict.EDGE_LENGTH_KEY]
        types = data[AtomicDataDict.ATOM_TYPE_KEY].view(-1)[data[AtomicDataDict.EDGE_INDEX_KEY]]
        reach = cutoffs.to(lengths)[types[0], types[1]]
        return int((lengths.view(-1) < reach - 1e-6).sum())

    if near(batch) < near(complete):
        raise ValueError(
            f"the training data's neighbour list lacks {near(complete) - near(batch)} pairs of the "
            f"first batch within {float(cutoffs.max()):g} angstrom, the model's cutoff and the "
            f"skin of {skin:g} angstrom that displaced geometries need; make it with "
            f"NeighborListTransform(r_max={float(cutoffs.max()):g})"
        )


def _transforms(dataset: Any) -> Iterator[Any]:
    """Transforms of a dataset and of those that it wraps (subsets, concatenations)."""
    yield from getattr(dataset, "transforms", ())
    inner = [dataset.dataset] if hasattr(dataset, "dataset") else getattr(dataset, "datasets", ())
    for part in inner:
        yield from _transforms(part)
