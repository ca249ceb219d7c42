"""Weak forces: the core's penalty in training steps, masked, fading, never MACE's own forces."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_mace import make_batch, make_model, molecules

from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.loss import PiwslLoss
from piwsl_plugins.losses import weak_force_penalties

Start = Callable[..., run.Run]
WEAK = ["--piwsl_weak_forces_key", "gfn2_forces"]


def labels_of(*, second: bool = False) -> list[dict[str, Any]]:
    """Energies of both molecules, weak forces of the first, or of both."""
    frames = molecules()
    known: list[dict[str, Any]] = [{"energy": -100.0, "weight": 2.0}, {"energy": -200.0}]
    known[0]["weak_forces"] = np.full((len(frames[0]), 3), 0.2)
    if second:
        known[1]["weak_forces"] = np.full((len(frames[1]), 3), -0.1)
    return known


def make_loss(active: run.Run, model: Any, steps: float = math.inf) -> PiwslLoss:
    from mace.modules import WeightedEnergyForcesLoss

    loss = active.wrap(WeightedEnergyForcesLoss(energy_weight=1000.0, forces_weight=10.0))
    active.progress.bind(model, active.terms, step=0, rank=0, steps=steps)
    return loss


def predict(model: Any, batch: Any) -> Any:
    return model(batch.to_dict(), training=True, compute_force=True)


@pytest.mark.parametrize("penalty", ["squared", "length"])
@pytest.mark.parametrize("loss_name", ["piwsl_supervised", "piwsl_taylor"])
def test_the_term_is_the_cores_mean_over_structures_with_their_weights(
    start: Start, loss_name: str, penalty: str
) -> None:
    words = [*WEAK, "--piwsl_weak_forces_penalty", penalty, "--piwsl_weak_forces_weight", "7"]
    active = start("--loss", loss_name, *words)
    batch, model = make_batch(molecules(), labels=labels_of(second=True)), make_model()
    pred = predict(model, batch)
    total = make_loss(active, model)(pred=pred, ref=batch)
    given = np.concatenate([label["weak_forces"] for label in labels_of(second=True)])
    expected = weak_force_penalties(
        pred["forces"], torch.tensor(given), batch.batch, 2, penalty=penalty
    )
    values = active.progress.values
    mean = (expected * torch.tensor([2.0, 1.0])).mean()
    torch.testing.assert_close(values["piwsl_weak_forces"], mean.detach())
    assert values["piwsl_weak_forces_weight"] == 7.0
    others = [name for name in values if name.startswith("piwsl_") and "weak" not in name]
    added = sum(
        float(values[name]) * float(values[f"{name}_weight"])
        for name in others
        if not name.endswith("_weight")
    )
    assert float(total) == pytest.approx(float(values["base_loss"]) + added + 7.0 * float(mean))


def test_a_structure_without_weak_forces_adds_nothing(start: Start) -> None:
    active = start("--loss", "piwsl_supervised", *WEAK, "--energy_weight", "1000")
    batch, model = make_batch(molecules(), labels=labels_of()), make_model()
    assert batch.piwsl_has_weak_forces.tolist() == [True, False]
    assert bool(batch.piwsl_weak_forces[batch.batch == 1].isnan().all())
    pred = predict(model, batch)
    total = make_loss(active, model)(pred=pred, ref=batch)
    base = active.progress.values["base_loss"]
    (gradient,) = torch.autograd.grad(total - base, pred["forces"], retain_graph=True)
    assert bool((gradient[batch.batch == 1] == 0).all())
    assert bool((gradient[batch.batch == 0] != 0).any())
    total.backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    assert active.progress.values["piwsl_weak_forces_weight"] == 100.0  # a tenth of 1000


def test_they_never_become_maces_own_forces(start: Start) -> None:
    start("--loss", "piwsl_supervised", *WEAK)
    batch = make_batch(molecules(), labels=labels_of(second=True))
    assert bool((batch.forces == 0).all())
    assert batch.forces_weight.tolist() == [0.0, 0.0]


def test_the_term_fades_and_then_is_gone(start: Start) -> None:
    active = start("--loss", "piwsl_supervised", *WEAK)
    batch, model = make_batch(molecules(), labels=labels_of()), make_model()
    loss = make_loss(active, model, steps=8)
    full = loss.weights["weak_forces"]
    found = []
    for _ in range(6):
        loss(pred=predict(model, batch), ref=batch)
        found.append(active.progress.values.get("piwsl_weak_forces_weight", 0.0))
    assert found == pytest.approx([full, 0.75 * full, 0.5 * full, 0.25 * full, 0.0, 0.0])


def test_the_validation_loss_is_the_base_loss_alone(start: Start) -> None:
    from mace.tools import evaluate

    active = start("--loss", "piwsl_supervised", *WEAK)
    model = make_model()
    batch = make_batch(molecules(), labels=labels_of())
    loss = make_loss(active, model)
    output_args = {"energy": True, "forces": True, "virials": False, "stress": False}
    device = torch.device("cpu")
    found, _ = evaluate(model, loss, [batch], output_args, device)
    plain, _ = evaluate(model, loss.base, [batch], output_args, device)
    assert found == plain


def test_stage_two_keeps_them_at_its_own_energy_weight(start: Start) -> None:
    from mace.tools.scripts_utils import get_swa

    words = ["--swa", "--swa_energy_weight", "500", "--max_num_epochs", "8"]
    active = start("--loss", "piwsl_supervised", *WEAK, *words)
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    swa, _ = get_swa(active.args, model, optimizer, [False])
    assert swa.loss_fn.weights == {"weak_forces": 50.0}


def test_a_batch_made_in_another_process_is_refused(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    active = start("--loss", "piwsl_supervised", *WEAK)
    monkeypatch.setattr(run, "_active", None)
    batch = make_batch(molecules(), labels=[{"energy": -1.0}, {"energy": -2.0}])
    model = make_model()
    with pytest.raises(RuntimeError, match=r"has no weak forces.* --num_workers 0"):
        make_loss(active, model)(pred=predict(model, batch), ref=batch)


def test_without_displacements_there_is_no_second_neighbour_list(start: Start) -> None:
    start("--loss", "piwsl_supervised")
    batch = make_batch(molecules())
    assert not [name for name in batch.to_dict() if name.startswith("piwsl_") and "edge" in name]
