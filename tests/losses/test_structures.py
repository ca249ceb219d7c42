"""A batch as tensors: shapes, labels and their masks."""

from __future__ import annotations

import pytest
import torch
from consistency_tools import structures_of
from potentials import clusters
from torch import Tensor

from piwsl_plugins.losses import Structures

WRONG_SHAPES = {
    "positions": torch.zeros(7, 2),
    "graph_index": torch.zeros(6, dtype=torch.int64),
    "isolated": torch.zeros(7, dtype=torch.bool),
    "energy": torch.zeros(2, 1),
    "has_energy": torch.zeros(1, dtype=torch.bool),
    "forces": torch.zeros(2, 3),
    "has_forces": torch.zeros(7, dtype=torch.bool),
}


@pytest.mark.parametrize("name", WRONG_SHAPES)
def test_a_tensor_of_the_wrong_shape_is_refused_with_both_shapes(name: str) -> None:
    batch = clusters()
    right = {
        "positions": batch.positions,
        "graph_index": batch.graph_index,
        "isolated": torch.ones(2, dtype=torch.bool),
        "energy": torch.zeros(2),
        "has_energy": torch.ones(2, dtype=torch.bool),
        "forces": torch.zeros(7, 3),
        "has_forces": torch.ones(2, dtype=torch.bool),
    }
    Structures(n_graphs=2, **right)
    with pytest.raises(ValueError, match=rf"^{name}: got shape \(.*\), expected \(") as error:
        Structures(n_graphs=2, **{**right, name: WRONG_SHAPES[name]})
    assert str(tuple(WRONG_SHAPES[name].shape)) in str(error.value)
    assert str(tuple(right[name].shape)) in str(error.value)


@pytest.mark.parametrize(
    ("given_one", "missing"),
    [
        ({"energy": torch.zeros(2)}, "has_energy"),
        ({"has_energy": torch.ones(2, dtype=torch.bool)}, "energy"),
        ({"forces": torch.zeros(7, 3)}, "has_forces"),
        ({"has_forces": torch.ones(2, dtype=torch.bool)}, "forces"),
    ],
)
def test_labels_and_their_mask_come_together_or_not_at_all(
    given_one: dict[str, Tensor], missing: str
) -> None:
    with pytest.raises(ValueError, match=rf"{missing}.* must be given together"):
        structures_of(clusters(), **given_one)


def test_structures_count_their_atoms_and_know_their_labels() -> None:
    batch = clusters()
    mask = torch.tensor([True, False])
    structures = structures_of(batch, energy=torch.zeros(2), has_energy=mask)
    assert structures.atom_counts().tolist() == [3.0, 4.0]
    assert structures.atom_counts().dtype == torch.float64
    assert torch.equal(structures.labelled("energy"), mask)
    assert structures.labelled("forces").tolist() == [False, False]
