"""A batch as tensors: shapes, labels and their masks, and some of its structures."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from potentials import clusters
from tools import all_pairs, labelled, many, reference, structures_of
from torch import Tensor

from piwsl_plugins.losses import rows_of

WRONG = {"positions": (7, 2), "graph_index": (6,), "forces": (2, 3), "energy": (2, 1)}
WRONG |= {"counts": (7,), "isolated": (7,), "has_energy": (1,), "has_forces": (7,)}


@pytest.mark.parametrize("name", WRONG)
def test_a_tensor_of_the_wrong_shape_is_refused_with_both_shapes(name: str) -> None:
    right = labelled(clusters(), *reference(clusters()), [True, True], [True, True])
    with pytest.raises(ValueError, match=rf"^{name}: got shape \(.*\), expected \(\d"):
        dataclasses.replace(right, **{name: torch.zeros(WRONG[name])})


@pytest.mark.parametrize(
    "given_one",
    [{"energy": torch.zeros(2)}, {"has_forces": torch.ones(2, dtype=torch.bool)}],
)
def test_labels_and_their_mask_come_together_or_not_at_all(given_one: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="must be given together"):
        structures_of(clusters(), **given_one)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_the_rows_of_some_structures_are_those_that_a_mask_would_keep(
    sizes: list[int], data: st.DataObject
) -> None:
    mask = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    )
    counts = torch.tensor(sizes)
    graph_index = torch.arange(len(sizes)).repeat_interleave(counts)
    rows, owner = rows_of(mask.nonzero().flatten(), counts)
    assert torch.equal(rows, mask[graph_index].nonzero().flatten())
    assert torch.equal(owner, (mask.cumsum(0) - 1)[graph_index[rows]])


@pytest.mark.parametrize("counted", [True, False])
def test_a_selection_keeps_labels_and_pairs_with_their_structures(counted: bool) -> None:
    batch = many(2)
    e_ref, f_ref = torch.arange(4.0), torch.arange(42.0).view(14, 3)
    whole = labelled(batch, e_ref, f_ref, [True, False, True, True], [False, True, True, False])
    pairs = all_pairs(batch)
    if counted:
        counts = torch.tensor([3, 4, 3, 4])
        pairs = dataclasses.replace(pairs, counts=counts * (counts - 1))
        whole = dataclasses.replace(whole, counts=counts)
    part = dataclasses.replace(whole, pairs=pairs).select(torch.tensor([1, 2]))
    rows = torch.arange(3, 10)
    assert part.n_graphs == 2
    assert part.counts is not None
    assert part.counts.tolist() == [4, 3]
    assert torch.equal(part.positions, batch.positions[rows])
    assert part.graph_index.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert part.labelled("energy").tolist() == [False, True]
    assert part.labelled("forces").tolist() == [True, True]
    torch.testing.assert_close(part.forces, f_ref[rows], check_dtype=False)
    assert part.pairs is not None
    expected = all_pairs(
        dataclasses.replace(
            batch, positions=part.positions, graph_index=part.graph_index, n_graphs=2
        )
    )
    assert torch.equal(part.pairs.index, expected.index)
    assert torch.equal(part.pairs.radii, pairs.radii[rows])
    # and some of these again
    again = part.select(torch.tensor([1]))
    assert torch.equal(again.positions, batch.positions[7:10])
    assert again.pairs is not None
    assert again.pairs.index.max() == 2
