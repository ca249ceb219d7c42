"""A missing label has no error in any of MACE's losses, where the bare host counts a zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_mace import make_batch, make_model, molecules

from piwsl_plugins.hosts.mace.masks import IGNORES_FRAME_WEIGHTS, without_missing_labels

MIXED: list[dict[str, Any]] = [
    {"energy": -1000.0, "forces": np.full((6, 3), 0.1)},
    {"energy": -2000.0},
]
BASES = [
    "WeightedEnergyForcesLoss",
    "UniversalLoss",
    "WeightedHuberEnergyForcesStressLoss",
    "WeightedEnergyForcesL1L2Loss",
]


def make_base(name: str) -> Any:
    from mace import modules

    return getattr(modules, name)(energy_weight=1000.0, forces_weight=10.0)


def output_of(batch: Any) -> Any:
    found = make_model()(batch.to_dict(), training=True, compute_force=True)
    found["stress"] = torch.ones(batch.num_graphs, 3, 3)
    return found


def value_and_gradient(base: Any, ref: Any, pred: Any) -> tuple[torch.Tensor, torch.Tensor]:
    loss = base(ref=without_missing_labels(base, ref, pred), pred=pred)
    (gradient,) = torch.autograd.grad(loss, pred["forces"], retain_graph=True)
    return loss, gradient


@pytest.mark.parametrize("name", BASES)
def test_forces_of_a_frame_without_them_have_no_error_and_no_gradient(name: str) -> None:
    batch = make_batch(molecules(), labels=MIXED)
    pred = output_of(batch)
    base = make_base(name)
    value, gradient = value_and_gradient(base, batch, pred)
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient[batch.batch == 0] != 0).any())
    assert bool((gradient[batch.batch == 1] == 0).all())
    # whatever stands in the place of the missing label
    batch.forces[batch.batch == 1] = 7.0
    batch.stress[:] = 3.0
    again, _ = value_and_gradient(base, batch, pred)
    torch.testing.assert_close(again, value, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(IGNORES_FRAME_WEIGHTS)[1:])
def test_the_bare_host_counts_the_zeros_that_stand_for_missing_forces(name: str) -> None:
    batch = make_batch(molecules(), labels=MIXED)
    pred = output_of(batch)
    base = make_base(name)
    (gradient,) = torch.autograd.grad(base(ref=batch, pred=pred), pred["forces"])
    assert bool((gradient[batch.batch == 1] != 0).any())


@pytest.mark.parametrize("name", BASES)
def test_where_all_labels_are_there_the_base_loss_is_maces(name: str) -> None:
    labels = [
        {"energy": -1.0, "forces": np.ones((len(m), 3)), "stress": np.zeros((3, 3))}
        for m in molecules()
    ]
    batch = make_batch(molecules(), labels=labels)
    base = make_base(name)
    assert without_missing_labels(base, batch, output_of(batch)) is batch


def test_a_missing_energy_has_no_error_in_the_huber_loss() -> None:
    batch = make_batch(molecules(), labels=[{"energy": -1000.0}, {}])
    pred = output_of(batch)
    base = make_base("WeightedHuberEnergyForcesStressLoss")
    loss = base(ref=without_missing_labels(base, batch, pred), pred=pred)
    (gradient,) = torch.autograd.grad(loss, pred["energy"], retain_graph=True)
    assert gradient[0] != 0
    assert gradient[1] == 0


def test_a_missing_dipole_has_no_error() -> None:
    from mace import modules

    batch = make_batch(molecules(), labels=[{"energy": -1000.0}, {}])
    batch.dipole_weight[1] = 0.0
    pred = {**output_of(batch), "dipole": torch.ones(2, 3, requires_grad=True)}
    base = modules.WeightedEnergyForcesDipoleLoss(1.0, 1.0, 1.0)
    loss = base(ref=without_missing_labels(base, batch, pred), pred=pred)
    (gradient,) = torch.autograd.grad(loss, pred["dipole"])
    assert bool((gradient[0] != 0).all())
    assert bool((gradient[1] == 0).all())
