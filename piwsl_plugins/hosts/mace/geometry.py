"""Neighbour lists of displaced geometries.

Every training structure carries, beside MACE's own neighbour list, a second one with a skin of
twice the longest displacement. MACE's forward pass, its average number of neighbours and its
scaling keep using the first; a displaced geometry takes from the second exactly the pairs that
its own neighbour list would have.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from piwsl_plugins.hosts.mace import run
from piwsl_plugins.losses import Pairs

Data = dict[str, Tensor]


def wrap_from_config(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Attach the neighbour list with the skin to MACE's ``AtomicData``."""
    data = wrapped(*args, **kwargs)
    active = run.active()
    if active is None:
        return data
    from mace.data.neighborhood import get_neighborhood

    config = kwargs["config"] if "config" in kwargs else args[0]
    cutoff = kwargs["cutoff"] if "cutoff" in kwargs else args[2]
    edge_index, shifts, unit_shifts, _ = get_neighborhood(
        positions=config.positions,
        cutoff=cutoff + active.settings.skin,
        pbc=deepcopy(config.pbc),
        cell=deepcopy(config.cell),
    )
    dtype = torch.get_default_dtype()
    # a name with "index" in it makes MACE's collate function offset it per graph
    data.piwsl_edge_index = torch.tensor(edge_index, dtype=torch.long)
    data.piwsl_shifts = torch.tensor(shifts, dtype=dtype)
    data.piwsl_unit_shifts = torch.tensor(unit_shifts, dtype=dtype)
    return data


def tensors_of(batch: Any) -> Data:
    """What a batch holds.

    Args:
        batch: MACE's batch, made while a PIWSL run was active.

    Raises:
        RuntimeError: the batch carries no neighbour list with a skin.
    """
    data: Data = dict(batch.to_dict())
    if "piwsl_edge_index" not in data:
        raise RuntimeError(
            "this batch has no neighbour list with a skin: it was made outside the PIWSL run, "
            "e.g. in a spawned data-loader process; train with --num_workers 0"
        )
    return data


def selected(data: Data, slices: dict[str, list[int]], chosen: Tensor) -> Data:
    """Some of a batch's structures as a batch.

    Args:
        data: the batch's tensors.
        slices: for each of them the rows at which each structure begins, and the last one's end.
        chosen: those structures, shape [n_graphs], bool.
    """
    atoms = chosen[data["batch"]]
    number = torch.cumsum(atoms, 0) - 1
    part: Data = {}
    for name, rows in slices.items():
        values = data.get(name)
        if not isinstance(values, Tensor):
            continue
        sizes = torch.tensor(rows, device=chosen.device).diff()
        kept = chosen.repeat_interleave(sizes)
        if "index" in name:
            part[name] = number[values[:, kept]]
        else:
            part[name] = values[kept]
    part["batch"] = (torch.cumsum(chosen, 0) - 1)[data["batch"][atoms]]
    sizes = data["ptr"].diff()[chosen]
    part["ptr"] = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    return part


def pairs_of(data: Data, radii: Tensor) -> Pairs:
    """The pairs of a batch's neighbour list with the skin.

    Args:
        data: the batch's tensors.
        radii: covalent radius of each of the model's elements, shape [n_elements], angstrom.
    """
    return Pairs(
        index=data["piwsl_edge_index"],
        shifts=data["piwsl_shifts"],
        radii=data["node_attrs"] @ radii.to(data["node_attrs"]),
    )


def displaced_batch(batch: Data, positions: Tensor, cutoff: float) -> Data:
    """The batch at displaced positions, with the complete neighbour list of that geometry.

    Args:
        batch: the batch's tensors.
        positions: displaced positions, shape [n_atoms, 3], angstrom.
        cutoff: the model's cutoff, angstrom.

    Returns:
        What MACE's models take.
    """
    data = dict(batch)
    sender, receiver = data["piwsl_edge_index"]
    vectors = positions.detach()[receiver] - positions.detach()[sender] + data["piwsl_shifts"]
    near = torch.linalg.vector_norm(vectors, dim=-1) < cutoff
    data["edge_index"] = data["piwsl_edge_index"][:, near]
    data["shifts"] = data["piwsl_shifts"][near]
    data["unit_shifts"] = data["piwsl_unit_shifts"][near]
    data["positions"] = positions
    return data


def stacked_batch(batch: Data, positions: Tensor, cutoff: float) -> Data:
    """Several displaced copies of a batch as one batch.

    Args:
        batch: the batch's tensors.
        positions: displaced positions of each copy, shape [k, n_atoms, 3], angstrom.
        cutoff: the model's cutoff, angstrom.

    Returns:
        What MACE's models take, with k times the graphs.
    """
    copies = [displaced_batch(batch, copy, cutoff) for copy in positions]
    n_atoms, n_graphs = positions.shape[1], len(batch["ptr"]) - 1
    offset = {"edge_index": n_atoms, "batch": n_graphs, "ptr": n_atoms}
    data: Data = {}
    for name, first in copies[0].items():
        if name.startswith("piwsl_"):
            continue
        if not isinstance(first, Tensor) or first.dim() == 0:
            data[name] = first
            continue
        parts = [copy[name] for copy in copies]
        if name in offset:
            parts = [part + k * offset[name] for k, part in enumerate(parts)]
        if name == "ptr":
            parts[1:] = [part[1:] for part in parts[1:]]
        data[name] = torch.cat(parts, dim=1 if name == "edge_index" else 0)
    data["positions"] = positions.reshape(-1, 3)
    return data
