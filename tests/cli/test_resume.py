"""Restarted runs go on in the stream of displacements, and stage two keeps the terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import Trained, check_terms, train

STEPS_AN_EPOCH = 3


@pytest.fixture(scope="module")
def frozen(
    texts: list[str], atoms_energies: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A training that changes nothing: one geometry, one frame a step, no learning rate.

    Every step then sees the same input and the same model, so that the Taylor term of a step is a
    function of its displacements alone, and these of the step's number alone.
    """
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "train.xyz").write_text(STEPS_AN_EPOCH * texts[0], encoding="utf-8")
    (folder / "valid.xyz").write_text(texts[1], encoding="utf-8")
    return {
        "train_file": folder / "train.xyz",
        "valid_file": folder / "valid.xyz",
        "E0s": atoms_energies,
        "batch_size": 1,
        "lr": 0.0,
        "scaling": "no_scaling",
        "mean": 0.0,
        "loss": "piwsl_taylor",
        "restart_latest": True,
        "save_all_checkpoints": True,
    }


def test_a_restarted_run_draws_the_displacements_of_the_steps_it_repeats_and_then_new_ones(
    frozen: dict[str, Any], tmp_path: Path
) -> None:
    first = train(tmp_path, {**frozen, "max_num_epochs": 2})
    before = [step["piwsl_taylor"] for step in first.steps]
    assert len(set(before)) == 2 * STEPS_AN_EPOCH
    train(tmp_path, {**frozen, "max_num_epochs": 3})
    after = [step["piwsl_taylor"] for step in first.steps][len(before) :]
    # MACE goes on with the epoch of the checkpoint
    assert len(after) == 2 * STEPS_AN_EPOCH
    assert after[:STEPS_AN_EPOCH] == before[STEPS_AN_EPOCH:]
    assert set(after[STEPS_AN_EPOCH:]).isdisjoint(before)


@pytest.fixture(scope="module")
def staged(data: dict[str, Any]) -> dict[str, Any]:
    return {
        **data,
        "loss": "piwsl",
        "swa": True,
        "start_swa": 1,
        "swa_energy_weight": 500,
        "swa_lr": 0.005,
        "ema": True,
        "ema_decay": 0.9,
        "piwsl_max_displacement": 0.3,
        "restart_latest": True,
    }


@pytest.fixture(scope="module")
def stages(staged: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run with stage two from epoch 1 and a moving average of the weights."""
    return train(tmp_path_factory.mktemp("stages"), {**staged, "max_num_epochs": 2})


def test_the_terms_stay_on_through_both_stages_at_the_weight_of_each(stages: Trained) -> None:
    assert {step["epoch"] for step in stages.steps} == {0, 1}
    for step in stages.steps:
        check_terms(step, "taylor", "conservative")
        expected = 0.05 * (1000 if step["epoch"] == 0 else 500)
        assert step["piwsl_taylor_weight"] == step["piwsl_conservative_weight"] == expected
    weights = {None: 1000, 0: 1000, 1: 500}  # and none of them in the validation
    for record in stages.validations:
        expected = weights[record["epoch"]] * record["rmse_e_per_atom"] ** 2 / 4
        assert record["loss"] == pytest.approx(expected, rel=1e-9)
    names = [f"run{stage}{kind}.model" for stage in ("", "_stagetwo") for kind in ("", "_compiled")]
    assert stages.models == sorted(names)


def test_a_run_restarted_in_stage_two_keeps_the_terms(
    stages: Trained, staged: dict[str, Any]
) -> None:
    before = stages.steps
    train(stages.folder, {**staged, "max_num_epochs": 3})
    after = stages.steps[len(before) :]
    assert [step["epoch"] for step in after][-STEPS_AN_EPOCH:] == STEPS_AN_EPOCH * [2]
    for step in after:
        check_terms(step, "taylor", "conservative")
        assert step["piwsl_taylor_weight"] == 25.0
