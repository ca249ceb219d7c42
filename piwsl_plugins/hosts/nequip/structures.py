"""NequIP's batch as the core takes it; a label that is absent or NaN is masked."""

from __future__ import annotations

import torch
from nequip.data import AtomicDataDict
from torch import Tensor

from piwsl_plugins.losses import Structures, weak_force_penalties
from piwsl_plugins.settings import WEAK_FORCES, PiwslSettings

Batch = dict[str, Tensor]


def structures_of(batch: Batch, positions: Tensor) -> Structures:
    """Translate NequIP's batch.

    Args:
        batch: NequIP's batch.
        positions: shape [n_atoms, 3], angstrom; those that the forces are a function of.

    Returns:
        The structures.
    """
    energy, has_energy = _masked(batch.get(AtomicDataDict.TOTAL_ENERGY_KEY))
    forces, has_force = _masked(batch.get(AtomicDataDict.FORCE_KEY))
    pbc = batch.get(AtomicDataDict.PBC_KEY)
    return Structures(
        positions=positions,
        graph_index=batch[AtomicDataDict.BATCH_KEY],
        n_graphs=AtomicDataDict.num_frames(batch),
        isolated=None if pbc is None else ~pbc.view(-1, 3).any(dim=-1),
        energy=None if energy is None else energy.view(-1),
        has_energy=None if has_energy is None else has_energy.view(-1),
        forces=forces,
        has_forces=None if has_force is None else _of_graphs(has_force, batch),
    )


def weak_penalties(settings: PiwslSettings, batch: Batch, forces: Tensor) -> Tensor:
    """Error of the model's forces against the weak ones.

    Args:
        settings: of them, ``weak_forces_penalty``.
        batch: NequIP's batch.
        forces: the model's, shape [n_atoms, 3], eV/angstrom.

    Returns:
        One entry for each structure with weak forces, in the batch's order; the entries depend on
        the forces even where there is none.

    Raises:
        ValueError: the batch has no field of weak forces.
    """
    weak, has_weak = _masked(batch.get(WEAK_FORCES))
    if weak is None or has_weak is None:
        raise ValueError(
            f"the loss has the term {WEAK_FORCES}, and the training batches have no field of that "
            f"name; name the label in the data module, e.g. labels: {{{WEAK_FORCES}: KEY}}"
        )
    known = _of_graphs(has_weak, batch)
    return weak_force_penalties(
        forces,
        weak,
        batch[AtomicDataDict.BATCH_KEY],
        AtomicDataDict.num_frames(batch),
        has_weak_forces=known,
        penalty=settings.weak_forces_penalty,
    )[known]


def _masked(label: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if label is None:
        return None, None
    known = ~label.isnan()
    return torch.where(known, label, 0.0), known


def _of_graphs(known: Tensor, batch: Batch) -> Tensor:
    """Structures all of whose atoms have the label, shape [n_graphs], bool."""
    missing = torch.zeros(AtomicDataDict.num_frames(batch), dtype=torch.bool, device=known.device)
    missing[batch[AtomicDataDict.BATCH_KEY][~known.all(dim=-1)]] = True
    return ~missing
