"""One training step of the adapter in one process, and in two with the same global batch.

A program: it writes what each process found into its folder, a file a process. Its words are the
folders of the tests' modules.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = sys.argv[1:]

import numpy as np
import torch
import torch.multiprocessing
from processes import end_process_of_group
from small_mace import arguments, make_batch, make_model, molecules
from torch.nn.parallel import DistributedDataParallel

from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.loss import PiwslLoss
from piwsl_plugins.losses import step

PROCESSES = 2


def fixed_pair(settings: Any, structures: Any, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Displacements that depend on nothing but the positions."""
    positions = structures.positions.detach()
    return 0.05 * torch.sin(7.0 * positions), 0.05 * torch.cos(5.0 * positions)


def one_step(mine: slice, rank: int, *, parallel: bool) -> Any:
    """Loss and gradients of one step on some of the molecules."""
    from mace.modules import WeightedEnergyForcesLoss

    frames = molecules()
    shape = (len(frames[0]), 3)
    labels: list[dict[str, Any]] = [
        {"energy": 0.0, "forces": np.full(shape, 0.1), "weak_forces": np.full(shape, 0.2)},
        {"energy": -1000.0},  # so that the other process has no forces at all
    ]
    words = ("--piwsl_anchor", "label_and_forces", "--piwsl_batch_fraction", "1")
    arguments("--loss", "piwsl", "--piwsl_weak_forces_key", "weak", *words)
    active = run.active()
    assert active is not None
    batch, model = make_batch(frames[mine], labels=labels[mine]), make_model()
    called = DistributedDataParallel(model) if parallel else model
    active.model, active.cutoff, active.rank = model, 4.0, rank
    loss = PiwslLoss(WeightedEnergyForcesLoss(1000.0, 10.0), active)
    value = loss(pred=called(batch.to_dict(), training=True), ref=batch)
    value.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return value.detach(), gradients


def worker(rank: int) -> None:
    """The last one is the one process that sees the whole batch."""
    parallel = rank < PROCESSES
    mine = slice(rank, None, PROCESSES) if parallel else slice(None)
    if parallel:
        meeting = f"file://{os.getcwd()}/meeting"
        torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=PROCESSES)
    torch.save(one_step(mine, rank % PROCESSES, parallel=parallel), f"rank{rank}.pt")
    if parallel:
        end_process_of_group()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    step.draw_pair = fixed_pair
    make_model()  # once for all processes
    torch.multiprocessing.start_processes(worker, nprocs=PROCESSES + 1, start_method="fork")
