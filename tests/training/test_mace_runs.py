"""Runs of mace_run_train are followed while their results file grows."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from piwsl_plugins.training.mace_runs import MaceRun


@pytest.fixture
def run(tmp_path: Path) -> MaceRun:
    (tmp_path / "out" / "a").mkdir(parents=True)
    return MaceRun(
        label="a", arguments=["--seed", "1"], folder=Path("out/a"), root=tmp_path, epochs=2
    )


def test_the_command_is_what_a_user_types(run: MaceRun) -> None:
    assert " ".join(run.command) == "mace_run_train --seed 1 --name a --work_dir out/a"


def test_the_model_of_stage_two_goes_first(run: MaceRun) -> None:
    assert run.model.name == "a.model"
    (run.root / "out" / "a" / "a_stagetwo.model").touch()
    assert run.model.name == "a_stagetwo.model"


def test_progress_is_read_line_by_line_as_it_is_written(run: MaceRun) -> None:
    results = run.root / "out" / "a" / "results" / "a_run-1_train.txt"
    run.read_progress()
    assert run.epoch == -1
    assert run.validation == []
    assert math.isnan(run.milliseconds_a_step)
    results.parent.mkdir()
    results.write_text('{"mode": "eval", "epoch": null, "rmse_e": 0.5}\n{"mode": "opt", "epo')
    run.read_progress()
    assert run.epoch == -1
    assert run.validation == [0.5]
    with results.open("a") as file:
        file.write('ch": 0, "time": 0.01}\n{"mode": "opt", "epoch": 1, "time": 0.03}\n')
        file.write('{"mode": "eval", "epoch": 1, "rmse_e": 0.25}\n')
    run.read_progress()
    assert run.epoch == 1
    assert run.validation == [0.5, 0.25]
    assert run.milliseconds_a_step == pytest.approx(20.0)


def test_the_clock_is_that_of_maces_log_and_not_of_lines_beside_it(run: MaceRun) -> None:
    assert run.epoch_times == []
    run.output.write_text(
        "2026-01-31 23:59:58.500 INFO: Initial: head: Default, loss=0.5\n"
        "2026-01-31 23:59:59.000 INFO: Epoch 0: piwsl_taylor=0.1\n"
        "2026-02-01 00:00:00.250 INFO: Epoch 0: head: Default, loss=0.4\n"
        "2026-02-01 00:00:01.000 INFO: Epoch 1: head: Default, loss=0.3\n"
    )
    first, second, third = run.epoch_times
    assert (second - first, third - second) == pytest.approx((1.75, 0.75))
