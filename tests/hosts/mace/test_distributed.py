"""Two processes give the loss and the gradients of one process with the same global batch."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from processes import end_process_of_group
from small_mace import arguments, make_batch, make_model, molecules
from torch.nn.parallel import DistributedDataParallel

from piwsl_plugins.hosts.mace import run, seams
from piwsl_plugins.losses import step
from piwsl_plugins.settings import MaceSettings

PROCESSES = 2


def fixed_pair(settings: Any, structures: Any, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Displacements that depend on nothing but the positions."""
    positions = structures.positions.detach()
    return 0.05 * torch.sin(7.0 * positions), 0.05 * torch.cos(5.0 * positions)


def one_step(frames: list[Any], labels: list[dict[str, Any]], *, rank: int, parallel: bool) -> Any:
    """Loss and gradients of one training step of the adapter."""
    from mace.modules import WeightedEnergyForcesLoss

    args = arguments("--loss", "piwsl", "--piwsl_weak_forces_key", "weak")
    active = run.Run(args, MaceSettings(anchor="label_and_forces", batch_fraction=1.0))
    run._active = active
    batch = make_batch(frames, labels=labels)
    model = make_model()
    called = DistributedDataParallel(model) if parallel else model
    loss = active.wrap(WeightedEnergyForcesLoss(1000.0, 10.0))
    active.progress.bind(model, active.terms, step=0, rank=rank)
    value = loss(pred=called(batch.to_dict(), training=True), ref=batch)
    value.backward()
    run._active = None
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return value.detach(), gradients


def worker(rank: int, folder: str, labels: list[dict[str, Any]]) -> None:
    warnings.simplefilter("ignore")
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    seams.install()
    step.draw_pair = fixed_pair
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=PROCESSES
    )
    mine = slice(rank, None, PROCESSES)
    found = one_step(molecules()[mine], labels[mine], rank=rank, parallel=True)
    torch.save(found, f"{folder}/rank{rank}.pt")
    end_process_of_group()


@pytest.mark.slow
@pytest.mark.parametrize("forces_on_second_rank", [True, False])
def test_two_processes_train_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forces_on_second_rank: bool
) -> None:
    labels: list[dict[str, Any]] = [
        {"energy": -1000.0 * number, "forces": np.full((len(atoms), 3), 0.1)}
        for number, atoms in enumerate(molecules())
    ]
    labels[0]["weak_forces"] = np.full((len(molecules()[0]), 3), 0.2)
    if not forces_on_second_rank:
        labels[1] = {"energy": labels[1]["energy"]}
    torch.multiprocessing.spawn(worker, (str(tmp_path), labels), nprocs=PROCESSES)
    monkeypatch.setattr(step, "draw_pair", fixed_pair)
    value, gradients = one_step(molecules(), labels, rank=0, parallel=False)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(PROCESSES)]
    mean = torch.stack([found for found, _ in ranks]).mean()
    torch.testing.assert_close(mean, value, rtol=1e-10, atol=0)
    for _, found in ranks:
        assert found.keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-10)
