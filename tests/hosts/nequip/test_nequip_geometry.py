"""The displaced geometry inside the loss is the geometry that a fresh evaluation sees."""

from __future__ import annotations

from functools import partial
from typing import Any

import ase
import numpy as np
import pytest
import torch
from geometries import displaced
from hypothesis import given, settings
from hypothesis import strategies as st
from nequip.data import AtomicDataDict
from nequip.data.transforms import SortedNeighborListTransform
from small_nequip import (
    FRAMES,
    POSITIONS,
    R_MAX,
    TYPES,
    UNEQUAL,
    Batch,
    crystals,
    make_batch,
    molecules,
    shared_model,
)

from piwsl_plugins.hosts.nequip import geometry, seams

LENGTH = 0.3
SKIN = 2.0 * LENGTH
KINDS = ("nequip", "allegro")
CLOSE = {"rtol": 0.0, "atol": 1e-10}


def positions_of(frames: list[ase.Atoms]) -> torch.Tensor:
    return torch.tensor(np.concatenate([atoms.positions for atoms in frames]))


def evaluate(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    output = model(dict(batch))
    return output["total_energy"].detach().view(-1), output["forces"].detach()


def wide(cutoffs: Any) -> Any:
    """Cutoffs of pairs with the skin."""
    if isinstance(cutoffs, dict):
        return {name: wide(value) for name, value in cutoffs.items()}
    return cutoffs + SKIN


def batch_with_skin(frames: list[ase.Atoms], unequal: bool = False) -> Batch:
    return make_batch(frames, R_MAX + SKIN, wide(UNEQUAL) if unequal else None)


def displaced_model(model: Any, batch: Batch) -> geometry.DisplacedModel:
    return geometry.DisplacedModel(model, batch, R_MAX, partial(seams.energies_only, model))


@pytest.mark.parametrize("unequal", [False, True], ids=["one_cutoff", "cutoffs_of_pairs"])
@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_displacement_sees_what_a_fresh_evaluation_sees(
    kind: str, frames: str, unequal: bool
) -> None:
    model, structures = shared_model(kind, unequal), FRAMES[frames]()
    inside = displaced_model(model, batch_with_skin(structures, unequal))
    moved = [displaced(structures, LENGTH, seed) for seed in range(3)]
    fresh = [evaluate(model, make_batch(m, R_MAX, UNEQUAL if unequal else None)) for m in moved]
    for copy, (energy, forces) in zip(moved, fresh, strict=True):
        found = inside(positions_of(copy).requires_grad_(), forces=True)
        torch.testing.assert_close(found[0], energy, **CLOSE)
        torch.testing.assert_close(found[1], forces, **CLOSE)
        alone, nothing = inside(positions_of(copy).requires_grad_(), forces=False)
        torch.testing.assert_close(alone, energy, **CLOSE)
        assert nothing is None
    stack = torch.stack([positions_of(copy) for copy in moved]).requires_grad_()
    energies, gradients = inside.stacked(stack, forces=True)
    torch.testing.assert_close(energies, torch.stack([e for e, _ in fresh]), **CLOSE)
    torch.testing.assert_close(gradients, torch.stack([f for _, f in fresh]), **CLOSE)


@settings(max_examples=15)
@given(
    name=st.sampled_from(sorted(FRAMES)),
    number=st.integers(0, 1),
    length=st.floats(0.0, LENGTH),
    seed=st.integers(0, 10_000),
)
def test_any_displacement_of_one_structure_sees_what_a_fresh_evaluation_sees(
    name: str, number: int, length: float, seed: int
) -> None:
    model, structure = shared_model("nequip"), FRAMES[name]()[number : number + 1]
    (moved,) = displaced(structure, length, seed)
    inside = displaced_model(model, batch_with_skin(structure))
    energy, forces = inside(positions_of([moved]).requires_grad_(), forces=True)
    expected = evaluate(model, make_batch([moved]))
    torch.testing.assert_close(energy, expected[0], **CLOSE)
    torch.testing.assert_close(forces, expected[1], **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_skin_the_same_check_fails(kind: str) -> None:
    model, frames = shared_model(kind), crystals()
    moved = displaced(frames, LENGTH, 0)
    stale = displaced_model(model, make_batch(frames))
    energy, _ = stale(positions_of(moved).requires_grad_(), forces=False)
    assert (energy - evaluate(model, make_batch(moved))[0]).abs().max() > 1e-5


@pytest.mark.parametrize("unequal", [False, True], ids=["one_cutoff", "cutoffs_of_pairs"])
@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_beyond_the_cutoff_contribute_exactly_zero(
    kind: str, frames: str, unequal: bool
) -> None:
    model, structures = shared_model(kind, unequal), FRAMES[frames]()
    far = make_batch(structures, R_MAX + 2.0)
    near = make_batch(structures, R_MAX, UNEQUAL if unequal else None)
    assert far["edge_index"].shape[1] > near["edge_index"].shape[1]
    # sums over more zeros are sums in another order
    for one, other in zip(evaluate(model, far), evaluate(model, near), strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("frames", FRAMES)
def test_trimming_leaves_the_very_list_of_the_cutoff(frames: str) -> None:
    structures = FRAMES[frames]()
    batch = batch_with_skin(structures)
    trimmed = geometry.trimmed(batch, batch[POSITIONS], R_MAX)
    expected = make_batch(structures)

    def pairs(data: Batch) -> set[tuple[float, ...]]:
        shifts = data.get("edge_cell_shift", torch.zeros(data["edge_index"].shape[1], 3))
        return {tuple(row) for row in torch.cat([data["edge_index"].T, shifts], dim=1).tolist()}

    assert trimmed["edge_index"].shape == expected["edge_index"].shape
    assert pairs(trimmed) == pairs(expected)


def test_forces_are_a_function_of_the_positions_that_were_given() -> None:
    model, frames = shared_model("nequip"), molecules()
    positions = positions_of(frames).requires_grad_()
    _, forces = displaced_model(model, batch_with_skin(frames))(positions, forces=True)
    (curvature,) = torch.autograd.grad(forces[0].sum(), positions)
    assert curvature.abs().max() > 1e-3


def test_a_sorted_list_loses_its_permutation_and_nothing_else() -> None:
    data = make_batch(molecules()[:1])
    data = SortedNeighborListTransform(R_MAX + SKIN)(data)
    data = dict(AtomicDataDict.batched_from_list([data]))
    assert AtomicDataDict.EDGE_TRANSPOSE_PERM_KEY in data
    trimmed = geometry.trimmed(data, data[POSITIONS], R_MAX)
    assert data.keys() - trimmed.keys() == {AtomicDataDict.EDGE_TRANSPOSE_PERM_KEY}
    model = shared_model("nequip")
    expected = evaluate(model, make_batch(molecules()[:1]))
    torch.testing.assert_close(evaluate(model, trimmed)[0], expected[0], **CLOSE)


def test_the_batch_and_the_model_are_as_they_were_afterwards() -> None:
    model, frames = shared_model("nequip"), molecules()
    batch = batch_with_skin(frames)
    before = {key: value.clone() for key, value in batch.items()}
    inside = displaced_model(model, batch)
    inside(positions_of(frames).requires_grad_(), forces=False)
    inside.stacked(positions_of(frames).repeat(2, 1, 1).requires_grad_(), forces=True)
    assert batch.keys() == before.keys()
    for key, value in before.items():
        assert torch.equal(batch[key], value), key
    assert all(output.do_derivatives for output in seams.force_outputs(model))


@pytest.mark.parametrize("unequal", [False, True], ids=["one_cutoff", "cutoffs_of_pairs"])
@pytest.mark.parametrize("frames", FRAMES)
def test_the_pairs_of_a_batch_show_whether_it_has_the_skin(frames: str, unequal: bool) -> None:
    model, structures = shared_model("nequip", unequal), FRAMES[frames]()
    geometry.check_first_batch(batch_with_skin(structures, unequal), model, SKIN)
    geometry.check_first_batch(make_batch(structures, R_MAX + 2.0), model, SKIN)
    with pytest.raises(ValueError, match=r"lacks \d+ pairs of the first batch within 3\.1"):
        geometry.check_first_batch(
            make_batch(structures, R_MAX, UNEQUAL if unequal else None), model, SKIN
        )


def test_the_models_cutoffs_are_read_pair_by_pair() -> None:
    cutoffs = seams.model_cutoffs(shared_model("nequip", unequal=True))
    table = {
        (one, other): float(cutoffs[i, j])
        for i, one in enumerate(TYPES)
        for j, other in enumerate(TYPES)
    }
    assert table["H", "C"] == 1.5
    assert table["C", "H"] == 1.75
    assert table["Na", "Cl"] == 2.25
    assert table["Cl", "Na"] == R_MAX
    assert (seams.model_cutoffs(shared_model("nequip")) == R_MAX).all()
