"""The displaced geometry inside the loss is the geometry that a fresh evaluation sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ase
import numpy as np
import pytest
import torch
from geometries import displaced
from small_mace import crystals, make_batch, make_model, molecules

from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.geometry import displaced_batch, tensors_of

RADIAL = [
    {},
    {"radial_type": "gaussian"},
    {"distance_transform": "Agnesi", "pair_repulsion": True},
    {"apply_cutoff": False},
]


def energies(model: Any, data: dict[str, torch.Tensor]) -> torch.Tensor:
    return model(data, training=False, compute_force=False)["energy"].detach()


@pytest.mark.parametrize("make_frames", [molecules, crystals])
@pytest.mark.parametrize("options", RADIAL)
def test_energy_of_the_displaced_geometry_equals_a_fresh_evaluation(
    start: Callable[..., run.Run],
    make_frames: Callable[[], list[ase.Atoms]],
    options: dict[str, Any],
) -> None:
    length = 0.3
    start("--loss", "piwsl_taylor", "--piwsl_max_displacement", str(length))
    frames = make_frames()
    model = make_model(**options)
    for seed in range(5):
        moved = displaced(frames, length, seed)
        batch = make_batch(frames)
        positions = torch.tensor(np.concatenate([atoms.positions for atoms in moved]))
        inside = energies(model, displaced_batch(tensors_of(batch), positions, 4.0))
        fresh = energies(model, make_batch(moved).to_dict())
        torch.testing.assert_close(inside, fresh, rtol=0, atol=1e-6)


def test_the_skin_matters(start: Callable[..., run.Run]) -> None:
    # without the skin's pairs the same check fails, so that the test above can
    start("--loss", "piwsl_taylor", "--piwsl_max_displacement", "0.5")
    frames, model = crystals(), make_model()
    moved = displaced(frames, 0.5)
    batch = make_batch(frames)
    positions = torch.tensor(np.concatenate([atoms.positions for atoms in moved]))
    stale = {**batch.to_dict(), "positions": positions}
    difference = energies(model, stale) - energies(model, make_batch(moved).to_dict())
    assert difference.abs().max() > 1e-4


def test_maces_own_neighbour_list_is_left_as_it_was(start: Callable[..., run.Run]) -> None:
    frames = [*molecules(), *crystals()]
    plain = make_batch(frames)
    assert "piwsl_edge_index" not in plain.keys
    start("--loss", "piwsl")
    with_skin = make_batch(frames)
    for name in plain.keys:
        value = plain[name]
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, with_skin[name]), name


def test_a_batch_without_the_skin_is_refused() -> None:
    batch = make_batch(molecules())
    with pytest.raises(RuntimeError, match="num_workers 0"):
        displaced_batch(tensors_of(batch), batch.positions, 4.0)
