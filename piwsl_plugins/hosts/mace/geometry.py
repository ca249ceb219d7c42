"""What a structure of MACE's carries besides, and MACE's model on displaced structures.

Where terms with displacements are on, every training structure carries, beside MACE's own
neighbour list, a second one with a skin of twice the longest displacement. MACE's forward pass,
its average number of neighbours and its scaling keep using the first; a displaced geometry takes
from the second exactly the pairs that its own neighbour list would have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from inspect import BoundArguments
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from piwsl_plugins.losses import Pairs
from piwsl_plugins.losses.structures import rows_of

if TYPE_CHECKING:
    from piwsl_plugins.hosts.mace.run import Run

WEAK, WEAK_WEIGHTS, HAS_WEAK = "piwsl_weak_forces", "piwsl_weak_weights", "piwsl_has_weak_forces"
"""Names of the weak forces in MACE's ``Configuration`` and ``AtomicData``, of the trust in each
atom's, from 0 to 1, and of whether a structure has them."""
SKIN = "piwsl_edge_index"
LABELS = ("energy", "forces", "stress", "virials", "dipole", "polarizability")
_READ = ("node_attrs", "cell", "head")
"""What MACE's models read of a structure beside positions, pairs and the graph of each atom."""
_PLAIN_MODELS = ("MACE", "ScaleShiftMACE")
_PAIRS = (SKIN, "piwsl_shifts", "piwsl_unit_shifts")


def wrap_from_config(active: Run, wrapped: Callable[..., Any], call: BoundArguments) -> Any:
    """Mask the labels that are not there, and attach what the run's loss needs."""
    config = call.arguments["config"]
    for label in LABELS:  # MACE would train on zeros in their place
        if np.isnan(np.asarray(config.properties.get(label), dtype=float)).all():
            config.properties[label], config.property_weights[label] = None, 0.0
    data = wrapped(*call.args, **call.kwargs)
    if getattr(config, "piwsl_training", True):
        if active.has_weak_forces:
            _attach_weak_forces(data, config)
        if active.terms:
            _attach_pairs(data, config, call.arguments["cutoff"] + active.settings.skin)
    return data


def _attach_weak_forces(data: Any, config: Any) -> None:
    forces, weights = config.properties.get(WEAK), config.properties.get(WEAK_WEIGHTS)
    data[HAS_WEAK] = torch.tensor(forces is not None, device="cpu")
    if forces is None:  # NaN, so that a mask that is forgotten shows
        forces = np.full_like(config.positions, np.nan)
    own: dict[str, Any] = {"dtype": torch.get_default_dtype(), "device": "cpu"}
    data[WEAK] = torch.tensor(forces, **own)
    weights = np.ones(len(forces)) if weights is None else weights
    data[WEAK_WEIGHTS] = torch.tensor(weights, **own)


def _attach_pairs(data: Any, config: Any, cutoff: float) -> None:
    from mace.data.neighborhood import get_neighborhood

    edge_index, shifts, unit_shifts, _ = get_neighborhood(
        positions=config.positions,
        cutoff=cutoff,
        pbc=deepcopy(config.pbc),
        cell=deepcopy(config.cell),
    )
    own: dict[str, Any] = {"dtype": torch.get_default_dtype(), "device": "cpu"}
    # a name with "index" in it makes MACE's collate function offset it per graph
    data[SKIN] = torch.tensor(edge_index, dtype=torch.long, device="cpu")
    data.piwsl_shifts = torch.tensor(shifts, **own)
    data.piwsl_unit_shifts = torch.tensor(unit_shifts, **own)


def carried(batch: Any, name: str) -> Tensor:
    """What a batch's training structures carry besides: :data:`WEAK`, :data:`SKIN`, ...

    Raises:
        RuntimeError: the batch was made where no PIWSL run was active.
    """
    found: Tensor | None = getattr(batch, name, None)
    if found is None:
        raise RuntimeError(
            f"this batch has no {name}: it was made outside the PIWSL run, e.g. in a spawned "
            "data-loader process; train with --num_workers 0"
        )
    return found


@dataclass(frozen=True)
class DisplacedModel:
    """MACE's model on displaced copies of one batch, as the core wants to call it.

    Attributes:
        model: the bare model, also under DistributedDataParallel, whose gradient hooks sit on the
            parameters and whose reducer a second pass through the wrapper would reset.
        cutoff: its cutoff, angstrom.
        data: tensors that the model reads, the pairs with the skin, and the graph of each atom.
        sizes: number of rows of each structure in each of them, shape [n_graphs], on the CPU.
    """

    model: torch.nn.Module
    cutoff: float
    data: Mapping[str, Tensor]
    sizes: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: torch.nn.Module, cutoff: float, batch: Any) -> DisplacedModel:
        """The model on MACE's batch, made while a run with displacements was active."""
        rows: dict[str, list[int]] = batch.__slices__
        data = {name: carried(batch, name) for name in _PAIRS}
        data |= {name: batch[name] for name in _names_read(model, rows)}
        sizes = {name: torch.tensor(rows[name], device="cpu").diff() for name in data}
        sizes["batch"] = torch.tensor(rows["positions"], device="cpu").diff()
        return cls(model, cutoff, data | {"batch": batch.batch}, sizes)

    @property
    def counts(self) -> Tensor:
        """Number of atoms of each structure, shape [n_graphs], int64, on the CPU."""
        return self.sizes["batch"]

    def pairs(self, radii: Tensor) -> Pairs:
        """The pairs within the cutoff and the skin; radii: shape [n_elements], angstrom."""
        elements = self.data["node_attrs"]
        return Pairs(
            index=self.data[SKIN],
            shifts=self.data["piwsl_shifts"],
            radii=elements @ radii.to(elements),
            counts=self.sizes[SKIN],
        )

    def select(self, chosen: Tensor) -> DisplacedModel:
        """The model on some of the structures; chosen: shape [n_chosen], int64, on the CPU."""
        device = self.data["batch"].device
        part: dict[str, Tensor] = {}
        for name, values in self.data.items():
            rows, owner = rows_of(chosen, self.sizes[name])
            if name == "batch":
                part[name] = owner.to(device, non_blocking=True)
                continue
            on_device = rows.to(device, non_blocking=True)
            part[name] = values.index_select(1 if name == SKIN else 0, on_device)
            if name == SKIN:
                kept = self.counts[chosen]
                moved = kept.cumsum(0) - kept - (self.counts.cumsum(0) - self.counts)[chosen]
                part[name] = part[name] + moved[owner].to(device, non_blocking=True)
        sizes = {name: counts[chosen] for name, counts in self.sizes.items()}
        return DisplacedModel(self.model, self.cutoff, part, sizes)

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        """Energies without the atoms' and forces of all copies, in one pass.

        The positions have shape [n_copies, n_atoms, 3], angstrom, here and in :meth:`batch_at`.
        """
        output = self.model(
            self.batch_at(positions),
            training=True,
            compute_force=forces,
            compute_virials=False,
            compute_stress=False,
        )
        energy = interaction_energy(output).view(len(positions), -1)
        return energy, output["forces"].view_as(positions) if forces else None

    def batch_at(self, positions: Tensor) -> dict[str, Tensor]:
        """What MACE's models take: the copies side by side, each with its complete pairs."""
        index, shifts, unit_shifts = (self.data[name] for name in _PAIRS)
        n_copies, n_atoms, _ = positions.shape
        n_graphs = len(self.counts)
        fixed = positions.detach()
        vectors = fixed[:, index[1]] - fixed[:, index[0]] + shifts
        # others cannot stay: with two of MACE's interactions they would act, by eV
        near = torch.linalg.vector_norm(vectors, dim=-1) < self.cutoff
        copy, pair = near.nonzero(as_tuple=True)
        number = torch.arange(n_copies, device=index.device).unsqueeze(-1)
        ends = self.counts.cumsum(0).to(index.device, non_blocking=True)
        data = {
            name: values.repeat(n_copies, *[1] * (values.dim() - 1))
            for name, values in self.data.items()
            if name not in (*_PAIRS, "batch")
        }
        return data | {
            "positions": positions.reshape(-1, 3),
            "edge_index": index.index_select(1, pair) + n_atoms * copy,
            "shifts": shifts.index_select(0, pair),
            "unit_shifts": unit_shifts.index_select(0, pair),
            "batch": (self.data["batch"] + n_graphs * number).view(-1),
            "ptr": torch.cat([ends.new_zeros(1), (ends + n_atoms * number).view(-1)]),
        }


def _names_read(model: torch.nn.Module, rows: Mapping[str, Any]) -> Sequence[str]:
    """Tensors of MACE's batch that a model reads, the geometry's left out."""
    if type(model).__name__ in _PLAIN_MODELS:
        return (*_READ, *(getattr(model, "embedding_specs", None) or {}))
    geometry = ("positions", "edge_index", "shifts", "unit_shifts", "num_nodes", "charges_weight")
    unread = {*geometry, *LABELS, "weight", *(f"{label}_weight" for label in LABELS)}
    return [name for name in rows if name not in unread and not name.startswith("piwsl_")]


def interaction_energy(output: Mapping[str, Tensor]) -> Tensor:
    """Energy without the atoms' reference energies, shape [n_graphs], eV.

    Total energies of thousands of eV leave float32 too few digits for a residual of meV.
    """
    if output.get("interaction_energy") is not None:
        return output["interaction_energy"]
    return output["contributions"][..., 1:].sum(dim=-1)
