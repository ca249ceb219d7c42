"""What a structure of MACE's carries besides: weak forces, and neighbours of displaced geometries.

Where terms with displacements are on, every training structure carries, beside MACE's own
neighbour list, a second one with a skin of twice the longest displacement. MACE's forward pass,
its average number of neighbours and its scaling keep using the first; a displaced geometry takes
from the second exactly the pairs that its own neighbour list would have.
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
WEAK = "piwsl_weak_forces"
"""Name of the weak forces in MACE's ``Configuration`` and ``AtomicData``."""
_ELSEWHERE = (
    "this batch has no {}: it was made outside the PIWSL run, e.g. in a spawned data-loader "
    "process; train with --num_workers 0"
)


def wrap_from_config(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Attach to MACE's ``AtomicData`` what the run's loss needs.

    ``piwsl_skin=False`` among the arguments leaves the neighbour list with the skin out.
    """
    data = wrapped(*args, **kwargs)
    active = run.active()
    if active is None:
        return data
    config = kwargs["config"] if "config" in kwargs else args[0]
    if active.has_weak_forces:
        _attach_weak_forces(data, config)
    if active.terms and kwargs.get("piwsl_skin", True):
        cutoff = kwargs["cutoff"] if "cutoff" in kwargs else args[2]
        _attach_pairs(data, config, cutoff + active.settings.skin)
    return data


def _attach_weak_forces(data: Any, config: Any) -> None:
    known = config.properties.get(WEAK)
    shape = (len(config.atomic_numbers), 3)
    dtype = torch.get_default_dtype()
    # NaN, so that a mask that is forgotten shows
    missing = torch.full(shape, torch.nan, dtype=dtype)
    data.piwsl_weak_forces = missing if known is None else torch.tensor(known, dtype=dtype)
    data.piwsl_has_weak_forces = torch.tensor(known is not None)


def _attach_pairs(data: Any, config: Any, cutoff: float) -> None:
    from mace.data.neighborhood import get_neighborhood

    edge_index, shifts, unit_shifts, _ = get_neighborhood(
        positions=config.positions,
        cutoff=cutoff,
        pbc=deepcopy(config.pbc),
        cell=deepcopy(config.cell),
    )
    dtype = torch.get_default_dtype()
    # a name with "index" in it makes MACE's collate function offset it per graph
    data.piwsl_edge_index = torch.tensor(edge_index, dtype=torch.long)
    data.piwsl_shifts = torch.tensor(shifts, dtype=dtype)
    data.piwsl_unit_shifts = torch.tensor(unit_shifts, dtype=dtype)


def weak_forces_of(batch: Any) -> tuple[Tensor, Tensor]:
    """A batch's weak forces.

    Args:
        batch: MACE's batch, made while a run with weak forces was active.

    Returns:
        The forces, shape [n_atoms, 3], eV/angstrom, NaN where a structure has none, and which
        structures have them, shape [n_graphs], bool.

    Raises:
        RuntimeError: the batch was made elsewhere.
    """
    data = batch.to_dict()
    if WEAK not in data:
        raise RuntimeError(_ELSEWHERE.format("weak forces"))
    return data[WEAK], data["piwsl_has_weak_forces"]


def tensors_of(batch: Any) -> Data:
    """What a batch holds.

    Args:
        batch: MACE's batch, made while a PIWSL run was active.

    Raises:
        RuntimeError: the batch carries no neighbour list with a skin.
    """
    data: Data = dict(batch.to_dict())
    if "piwsl_edge_index" not in data:
        raise RuntimeError(_ELSEWHERE.format("neighbour list with a skin"))
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
