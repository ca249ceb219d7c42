"""Two processes give the loss and the gradients of one process with the same global batch."""

from __future__ import annotations

import datetime
import itertools
import os
import socket
import warnings
from pathlib import Path
from typing import Any

import ase.io
import pytest
import torch
import torch.multiprocessing
from processes import end_process_of_group
from small_nequip import data_of, fit, geometries, loss_config, module_config, with_forces

from piwsl_plugins.hosts.nequip import PiwslLightningModule
from piwsl_plugins.losses import step

PROCESSES = 2
FRAMES = 4
# Lightning deals frames 0 and 2 to the first process, 1 and 3 to the second
FORCES: dict[str, tuple[int, ...]] = {"both": (0, 1, 2, 3), "one_frame": (1,)}
FORCES["no_energy_on_second"] = FORCES["weak_forces_on_first"] = ()
STRATEGIES = ("DDPStrategy", "SimpleDDPStrategy")
CASES = tuple(itertools.product(STRATEGIES, FORCES))
TIMEOUT = datetime.timedelta(seconds=60)
Found = tuple[dict[str, float], dict[str, torch.Tensor]]


def fixed_pair(settings: Any, structures: Any, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Displacements that depend on nothing but the positions."""
    positions = structures.positions.detach()
    return 0.05 * torch.sin(7.0 * positions), 0.05 * torch.cos(5.0 * positions)


class Kept(PiwslLightningModule):
    """Keeps the gradients with which the weights are changed."""

    gradients: dict[str, torch.Tensor]

    def on_before_optimizer_step(self, *_: Any) -> None:
        named = self.model.named_parameters()
        self.gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}


def one_step(file: Path, labels: str, **trainer: Any) -> Found:
    """What is logged in one training step, and its gradients."""
    anchor = "label_and_forces" if FORCES[labels] else "label"
    settings = {"anchor": anchor, "batch_fraction": 1.0}
    # without one there is no column of forces, and no error of theirs
    coeffs = {"forces": 0.5} if FORCES[labels] else {}
    weak = ["weak_forces"] if labels == "weak_forces_on_first" else []
    batch_size = FRAMES // trainer.get("devices", 1)
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": batch_size}
    loss = loss_config("taylor", "conservative", *weak, **coeffs)
    training = Kept(**module_config(settings, loss=loss))
    data = data_of(file, train_dataloader=loader)
    history = fit(training, data, limit_val_batches=0, **trainer)
    return history.steps[0], training.gradients


def worker(rank: int, folder: str, port: int) -> None:
    from lightning.pytorch.strategies import DDPStrategy
    from nequip.train import SimpleDDPStrategy
    from nequip.utils.global_state import set_global_state

    warnings.simplefilter("ignore")
    place = {"LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    torch.set_num_threads(1)
    set_global_state()
    step.draw_pair = fixed_pair
    for name, labels in CASES:
        kind = {"DDPStrategy": DDPStrategy, "SimpleDDPStrategy": SimpleDDPStrategy}[name]
        strategy = kind(process_group_backend="gloo", timeout=TIMEOUT)
        file = Path(folder, f"{labels}.xyz")
        found = one_step(file, labels, strategy=strategy, devices=PROCESSES)
        torch.save(found, f"{folder}/{name}_{labels}_{rank}.pt")
    end_process_of_group()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what every process found in every case."""
    folder = tmp_path_factory.mktemp("ranks")
    for labels, which in FORCES.items():
        frames = [atoms for _ in range(FRAMES // 2) for atoms in geometries("molecules")]
        for number, atoms in enumerate(frames):
            atoms.rattle(0.02, seed=10 + number)
            if labels != "no_energy_on_second" or number in (0, 2):
                atoms.info["REF_energy"] = -10.0 * len(atoms) + 0.1 * number
            if labels == "weak_forces_on_first" and number == 2:
                atoms.arrays["GFN2_forces"] = (
                    0.3 * torch.cos(5.0 * torch.tensor(atoms.positions)).numpy()
                )
        ase.io.write(folder / f"{labels}.xyz", with_forces(frames, which))
    torch.multiprocessing.spawn(worker, (str(folder), free_port()), nprocs=PROCESSES)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("labels", FORCES)
def test_two_processes_train_as_one(
    ranks: Path, monkeypatch: pytest.MonkeyPatch, labels: str, strategy: str
) -> None:
    monkeypatch.setattr(step, "draw_pair", fixed_pair)
    logged, gradients = one_step(ranks / f"{labels}.xyz", labels)
    assert all(logged[f"piwsl_{term}"] > 0 for term in ("taylor", "conservative"))
    assert any(gradient.abs().max() > 0 for gradient in gradients.values())
    assert (logged.get("piwsl_weak_forces", 0.0) > 0) == (labels == "weak_forces_on_first")
    for rank in range(PROCESSES):
        found: Found = torch.load(ranks / f"{strategy}_{labels}_{rank}.pt")
        assert found[0] == pytest.approx(logged, rel=1e-10, abs=1e-16)
        assert found[1].keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(found[1][name], gradient, rtol=1e-9, atol=1e-12)
