"""The displaced geometry inside the loss is the geometry that a fresh evaluation sees."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import ase
import numpy as np
import pytest
import torch
from geometries import displaced
from nequip.data.transforms import NeighborListTransform
from small_nequip import KINDS, R_MAX, TYPES, UNEQUAL, Batch, geometries, make_batch, shared_model

from piwsl_plugins.hosts.nequip import FrameDataset, geometry, seams

LENGTH = 0.3
SKIN = 2.0 * LENGTH
CLOSE = {"rtol": 0.0, "atol": 1e-10}


def evaluate(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    output = model(dict(batch))
    return output["total_energy"].detach().view(-1), output["forces"].detach()


def wide(cutoffs: Any) -> Any:
    """Cutoffs of pairs with the skin."""
    if isinstance(cutoffs, dict):
        return {name: wide(value) for name, value in cutoffs.items()}
    return cutoffs + SKIN


def displaced_model(model: Any, batch: Batch) -> geometry.DisplacedModel:
    counts, energies_only = geometry.counts_of(batch), partial(seams.energies_only, model)
    return geometry.DisplacedModel(model, batch, counts, R_MAX, energies_only)


def stacked(*copies: list[ase.Atoms]) -> torch.Tensor:
    """Positions of copies of some structures, as the core hands them over."""
    positions = [np.concatenate([atoms.positions for atoms in frames]) for frames in copies]
    return torch.tensor(np.array(positions)).requires_grad_()


@pytest.mark.parametrize("unequal", [False, True], ids=["one_cutoff", "cutoffs_of_pairs"])
@pytest.mark.parametrize("frames", KINDS)
@pytest.mark.parametrize("kind", ["nequip", "allegro"])
def test_the_longest_displacement_sees_what_a_fresh_evaluation_sees(
    kind: str, frames: str, unequal: bool, device: str
) -> None:
    model, structures = shared_model(kind, unequal), geometries(frames)
    batch = make_batch(structures, R_MAX + SKIN, wide(UNEQUAL) if unequal else None)
    batch = {key: values.to(device) for key, values in batch.items()}
    before = {key: value.clone() for key, value in batch.items()}
    inside = displaced_model(copy.deepcopy(model).to(device), batch)
    moved = [displaced(structures, LENGTH, seed) for seed in range(2)]
    fresh = [evaluate(model, make_batch(m, R_MAX, UNEQUAL if unequal else None)) for m in moved]
    (alone,), nothing = inside(stacked(moved[0]).to(device), forces=False)
    torch.testing.assert_close(alone.cpu(), fresh[0][0], **CLOSE)
    assert nothing is None
    energies, gradients = inside(stacked(*moved).to(device), forces=True)
    assert gradients is not None
    torch.testing.assert_close(energies.cpu(), torch.stack([e for e, _ in fresh]), **CLOSE)
    torch.testing.assert_close(gradients.cpu(), torch.stack([f for _, f in fresh]), **CLOSE)
    for key, value in before.items():
        assert torch.equal(batch[key], value), key
    if frames == "crystals" and not unequal:  # without the skin the same check fails
        stale = displaced_model(model, make_batch(structures))
        energy, _ = stale(stacked(moved[0]), forces=False)
        assert (energy[0] - fresh[0][0]).abs().max() > 1e-5


def test_the_skin_is_added_to_every_cutoff_of_a_list_that_is_long_enough() -> None:
    pruned = NeighborListTransform(R_MAX, per_edge_type_cutoff=UNEQUAL, type_names=list(TYPES))
    dataset = FrameDataset([], [NeighborListTransform(R_MAX, backend="ase"), pruned])
    geometry.give_skin(torch.utils.data.Subset(dataset, []), R_MAX, SKIN)
    plain, unequal = dataset.transforms
    assert plain.r_max == unequal.r_max == pytest.approx(R_MAX + SKIN)
    assert plain.backend == "ase"
    assert plain.per_edge_type_cutoff is None
    assert unequal.per_edge_type_cutoff == wide(UNEQUAL)
    assert pruned.per_edge_type_cutoff == UNEQUAL
    short = FrameDataset([], [NeighborListTransform(2.0)])
    with pytest.raises(ValueError, match=r"reaches 2 angstrom, and the model's cutoff is 2\.5: ra"):
        geometry.give_skin(short, R_MAX, SKIN)
    with pytest.raises(ValueError, match=r"no neighbour list .* add .*NeighborListTransform"):
        geometry.give_skin(FrameDataset([]), R_MAX, SKIN)
