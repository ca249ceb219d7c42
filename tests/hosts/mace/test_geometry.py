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
from piwsl_plugins.hosts.mace.geometry import DisplacedModel

Start = Callable[..., run.Run]
RADIAL = [{}, {"distance_transform": "Agnesi", "pair_repulsion": True}, {"apply_cutoff": False}]


def positions_of(frames: list[ase.Atoms]) -> torch.Tensor:
    return torch.tensor(np.concatenate([atoms.positions for atoms in frames]))


def fresh(model: Any, frames: list[ase.Atoms]) -> tuple[torch.Tensor, torch.Tensor]:
    """Interaction energies and forces with neighbour lists of their own."""
    output = model(make_batch(frames).to_dict(), training=False, compute_force=True)
    return output["interaction_energy"].detach(), output["forces"].detach()


@pytest.mark.parametrize("make_frames", [molecules, crystals])
@pytest.mark.parametrize("options", RADIAL)
def test_copies_of_some_structures_have_the_energies_and_forces_of_fresh_evaluations(
    start: Start, make_frames: Callable[[], list[ase.Atoms]], options: dict[str, Any], device: str
) -> None:
    length = 0.3
    start("--loss", "piwsl_taylor", "--piwsl_max_displacement", str(length))
    frames = [*make_frames(), *make_frames()[:1]]
    model = make_model(**options)
    whole = DisplacedModel.of(make_model(**options).to(device), 4.0, make_batch(frames).to(device))
    for chosen in ([0, 1, 2], [0, 2]):
        some = [frames[number] for number in chosen]
        copies = [displaced(some, length, seed) for seed in range(2)]
        part = whole if len(chosen) == 3 else whole.select(torch.tensor(chosen))
        assert part.counts.tolist() == [len(atoms) for atoms in some]
        positions = torch.stack([positions_of(copy) for copy in copies]).to(device).requires_grad_()
        energies, forces = part(positions, forces=True)
        assert forces is not None
        for copy, energy, force in zip(copies, energies, forces, strict=True):
            expected = fresh(model, copy)
            torch.testing.assert_close(energy.detach().cpu(), expected[0], rtol=0, atol=1e-6)
            torch.testing.assert_close(force.detach().cpu(), expected[1], rtol=0, atol=1e-6)


def test_maces_own_neighbour_list_is_left_as_it_was(start: Start) -> None:
    frames = [*molecules(), *crystals()]
    plain = make_batch(frames)
    assert "piwsl_edge_index" not in plain.keys
    start("--loss", "piwsl")
    with_skin = make_batch(frames)
    for name in ("edge_index", "shifts", "unit_shifts", "positions", "cell"):
        assert torch.equal(plain[name], with_skin[name]), name
    start("--loss", "piwsl_supervised")
    assert not [name for name in make_batch(frames).keys if name.startswith("piwsl_")]


def test_a_batch_made_where_no_run_was_active_is_refused() -> None:
    with pytest.raises(RuntimeError, match="num_workers 0"):
        DisplacedModel.of(make_model(), 4.0, make_batch(molecules()))


def test_a_step_reads_no_value_from_the_tensors_of_a_batch_but_the_pairs(start: Start) -> None:
    # on a GPU each such reading waits for all that was asked of it
    start("--loss", "piwsl", "--piwsl_max_displacement", "0.1")
    model, batch = make_model(), make_batch(molecules())
    copies = batch.positions.detach().expand(2, -1, 3).clone().requires_grad_()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        part = DisplacedModel.of(model, 4.0, batch).select(torch.tensor([1]))
        part.batch_at(copies[:, 6:])
    called = {event.key: event.count for event in profile.key_averages()}
    assert called.get("aten::nonzero") == 1
    assert "aten::masked_select" not in called
