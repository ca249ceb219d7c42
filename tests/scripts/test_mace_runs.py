"""Runs are followed while their results file grows, fail loudly, and leave nothing behind."""

from __future__ import annotations

import math
import stat
import sys
import time
from pathlib import Path

import pytest
from mace_runs import MaceRun, RunFailedError, last_lines, started


def run_of(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MaceRun:
    """A run whose mace_run_train is a shell script, called in its folder's parent."""
    program = tmp_path / "bin" / "mace_run_train"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    return MaceRun(label="test", arguments=["--seed", "1"], folder=Path("out/fake"), root=tmp_path)


def wait(run: MaceRun) -> None:
    deadline = time.monotonic() + 30
    while not run.poll():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_command_is_what_a_user_types(tmp_path: Path) -> None:
    run = MaceRun(label="a", arguments=["--seed", "1"], folder=Path("out/a"), root=tmp_path)
    assert " ".join(run.command) == "mace_run_train --seed 1 --name a --work_dir out/a"


def test_a_run_that_ends_well_leaves_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of("echo $OMP_NUM_THREADS; touch out/fake/fake.model", tmp_path, monkeypatch)
    with started([run]):
        wait(run)
    assert run.model.is_file()
    assert run.output.read_text() == "1\n"
    assert run.wall_clock > 0.0


def test_the_model_of_stage_two_goes_first(tmp_path: Path) -> None:
    run = MaceRun(label="a", arguments=[], folder=Path("a"), root=tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "a_stagetwo.model").touch()
    assert run.model.name == "a_stagetwo.model"


@pytest.mark.parametrize("script", ["echo the reason; exit 3", "echo the reason"])
def test_a_failure_shows_command_and_last_lines(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(script, tmp_path, monkeypatch)  # the second ends well but without a model
    with (
        started([run]),
        pytest.raises(RunFailedError, match=r"(?s)mace_run_train --seed 1.*the reason"),
    ):
        wait(run)


def test_a_run_does_not_outlive_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of("exec sleep 600", tmp_path, monkeypatch)
    with started([run]):
        assert not run.poll()
    with pytest.raises(RunFailedError):
        run.poll()


def test_an_earlier_run_is_never_mixed_with_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of("true", tmp_path, monkeypatch)
    (tmp_path / "out" / "fake").mkdir(parents=True)
    with pytest.raises(FileExistsError):
        run.start()


def test_a_missing_mace_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    run = MaceRun(label="a", arguments=[], folder=Path("a"), root=tmp_path)
    with pytest.raises(FileNotFoundError, match="install MACE"):
        run.start()


def test_progress_is_read_line_by_line_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of("exec sleep 600", tmp_path, monkeypatch)
    results = tmp_path / "out" / "fake" / "results" / "fake_run-1_train.txt"
    with started([run]):
        run.poll()
        assert run.epoch == -1
        assert run.validation_rmse is None
        assert math.isnan(run.milliseconds_a_step)
        results.parent.mkdir()
        results.write_text('{"mode": "eval", "epoch": null, "rmse_e": 0.5}\n{"mode": "opt", "epo')
        run.poll()
        assert run.epoch == -1
        assert run.validation_rmse == 0.5
        with results.open("a") as file:
            file.write('ch": 0, "time": 0.01}\n{"mode": "opt", "epoch": 1, "time": 0.03}\n')
            file.write('{"mode": "eval", "epoch": 1, "rmse_e": 0.25}\n')
        run.poll()
        assert run.epoch == 1
        assert run.validation_rmse == 0.25
        assert run.milliseconds_a_step == pytest.approx(20.0)


def test_last_lines_of_long_short_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert last_lines(path) == ""
    path.write_text("one\ntwo\nthree\n")
    assert last_lines(path, 2) == "  two\n  three"
    assert last_lines(path, 9) == "  one\n  two\n  three"
