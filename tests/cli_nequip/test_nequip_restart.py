"""An interrupted run that is restarted ends where the uninterrupted one ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nequip_commands import STEP, Trained, train

EPOCHS, INTERRUPTED = 4, 2
TERMS = ("piwsl_taylor", "piwsl_conservative")


@pytest.fixture(scope="module")
def options(data: dict[str, Any]) -> dict[str, Any]:
    return {
        **data,
        "training_module.loss.terms": "[taylor,conservative]",
        # warm-up that lasts beyond the interruption, and a seed of its own
        "+training_module.piwsl.warmup": 8,
        "+training_module.piwsl.seed": 3,
        "+training_module.piwsl.every": 1,
        # the checkpoint holds this as the loss's coefficient too, and is not told of it twice
        "+training_module.piwsl.taylor_weight": 0.2,
        "~training_module.loss.coeffs.piwsl_taylor": "",
        # a learning rate that does not ask how many epochs there will be
        "training_module.lr_scheduler.scheduler.T_max": 10,
    }


@pytest.fixture(scope="module")
def whole(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("whole"), {**options, "trainer.max_epochs": EPOCHS})


@pytest.fixture(scope="module")
def restarted(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder: Path = tmp_path_factory.mktemp("restarted")
    first = train(folder, {**options, "trainer.max_epochs": INTERRUPTED})
    again = {"++ckpt_path": first.output / "last.ckpt", "trainer.max_epochs": EPOCHS}
    return train(folder, {**options, **again})


def test_the_weights_and_their_running_means_are_the_same(
    whole: Trained, restarted: Trained
) -> None:
    expected, found = whole.weights, restarted.weights
    assert found.keys() == expected.keys()
    assert any(name.startswith("model.") for name in expected)
    assert any(name.startswith("ema.") for name in expected)
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, rtol=0.0, atol=1e-12)


def test_the_steps_are_those_of_the_uninterrupted_run(whole: Trained, restarted: Trained) -> None:
    expected = whole.steps()
    found = [*restarted.steps(0), *restarted.steps(1)]
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        for term in TERMS:
            assert row[STEP + term] > 0.0
            assert row[STEP + term] == pytest.approx(other[STEP + term], rel=1e-9, abs=0.0)


def test_the_displacements_go_on_and_do_not_begin_again(whole: Trained) -> None:
    # the twelve frames come in three steps an epoch; equal draws would show as equal ratios
    steps = [row[STEP + "piwsl_taylor"] for row in whole.steps()]
    assert len(set(steps)) == EPOCHS * 3


def test_the_weights_of_the_terms_are_those_of_the_settings(
    whole: Trained, restarted: Trained
) -> None:
    for row in [*whole.steps(), *restarted.steps(1)]:
        error, taylor, conservative = (
            row[STEP + name] for name in ("per_atom_energy_mse", *sorted(TERMS, reverse=True))
        )
        expected = (error + 0.2 * taylor + 0.05 * conservative) / 1.25
        assert row[f"{STEP}weighted_sum"] == pytest.approx(expected, rel=1e-9)
