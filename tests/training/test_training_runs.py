"""Runs of any host fail loudly, leave nothing behind, and never mix with an earlier one."""

from __future__ import annotations

import io
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from piwsl_plugins.training import display as run_display
from piwsl_plugins.training import runs as host_runs
from piwsl_plugins.training.mace_runs import MaceRun
from piwsl_plugins.training.nequip_runs import NequipRun
from piwsl_plugins.training.runs import Run, RunFailedError, last_lines, started

MODELS = {MaceRun: "out/fake/fake.model", NequipRun: "out/fake/best.ckpt"}


@pytest.fixture(params=[MaceRun, NequipRun], ids=["mace", "nequip"])
def kind(request: pytest.FixtureRequest) -> type[Run]:
    return request.param


def run_of(kind: type[Run], script: str, tmp_path: Path, name: str = "fake") -> Run:
    """A run whose command is a shell script, called in its folder's parent."""
    program = tmp_path / name / "bin" / kind.program
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return kind(
        label=name,
        arguments=["seed=1"],
        folder=Path("out") / name,
        root=tmp_path,
        epochs=3,
        programs=program.parent,
    )


def wait(run: Run) -> None:
    deadline = time.monotonic() + 30
    while not run.poll():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_that_ends_well_leaves_a_model(kind: type[Run], tmp_path: Path) -> None:
    run = run_of(kind, f"echo $OMP_NUM_THREADS; touch {MODELS[kind]}", tmp_path)
    with started([run]):
        wait(run)
    assert run.model.is_file()
    assert run.output.read_text() == "1\n"
    assert run.wall_clock > 0.0


@pytest.mark.parametrize("script", ["echo the reason; exit 3", "echo the reason"])
def test_a_failure_shows_command_log_and_last_lines(
    kind: type[Run], script: str, tmp_path: Path
) -> None:
    run = run_of(kind, script, tmp_path)  # the second ends well but without a model
    with started([run]), pytest.raises(RunFailedError) as failure:
        wait(run)
    for part in (f"{kind.program} ", "seed=1", str(run.output), "the reason"):
        assert part in str(failure.value)


def test_a_run_does_not_outlive_the_block(kind: type[Run], tmp_path: Path) -> None:
    run = run_of(kind, "exec sleep 600", tmp_path)
    with started([run]):
        assert not run.poll()
    with pytest.raises(RunFailedError):
        run.poll()


def test_an_earlier_run_is_never_mixed_with_a_new_one(kind: type[Run], tmp_path: Path) -> None:
    run = run_of(kind, "true", tmp_path)
    (tmp_path / "out" / "fake").mkdir(parents=True)
    with pytest.raises(FileExistsError):
        run.start()


def test_a_missing_host_says_what_to_install(kind: type[Run], tmp_path: Path) -> None:
    run = run_of(kind, "true", tmp_path)
    (run.programs / kind.program).unlink()
    with pytest.raises(FileNotFoundError, match=f"install {kind.host} there"):
        run.start()


def test_the_programs_are_those_beside_this_python_where_nothing_is_said(tmp_path: Path) -> None:
    run = MaceRun(label="a", arguments=[], folder=Path("a"), root=tmp_path, epochs=1)
    assert run.programs == Path(sys.executable).parent


def test_no_more_runs_than_allowed_go_at_once_and_all_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo x >> going; wc -l < going >> counts; sleep 1; sed -i 1d going; touch {}"
    runs = [
        run_of(NequipRun, script.format(f"out/{name}/best.ckpt"), tmp_path, name)
        for name in ("one", "two", "three")
    ]
    text = io.StringIO()
    monkeypatch.setattr(host_runs, "peak_memory", lambda pid: 7.0)
    ended: list[str] = []
    console = Console(file=text, width=80)
    run_display.train(runs, console, at_once=2, ended=lambda run: ended.append(run.label))
    assert sorted(ended) == ["one", "three", "two"]
    counts = [int(count) for count in (tmp_path / "counts").read_text().split()]
    assert len(counts) == 3
    assert max(counts) == 2
    assert all(run.wall_clock > 0.0 for run in runs)
    last = text.getvalue().splitlines()[-1]
    assert [f"{name}: done, starting" in last for name in ("one", "two", "three")] == [True] * 3


def test_bars_are_drawn_in_a_terminal(tmp_path: Path) -> None:
    text = io.StringIO()
    run = run_of(NequipRun, "touch out/fake/best.ckpt", tmp_path)
    run_display.train([run], Console(file=text, width=100, force_terminal=True))
    assert "epoch    3/3" in text.getvalue()


def test_one_failure_stops_the_others(tmp_path: Path) -> None:
    slow = run_of(MaceRun, "exec sleep 600", tmp_path, "slow")
    bad = run_of(NequipRun, "exit 1", tmp_path, "bad")
    with pytest.raises(RunFailedError, match="bad failed with exit status 1"):
        run_display.train([slow, bad], Console(file=io.StringIO()))
    with pytest.raises(RunFailedError):  # it was ended
        slow.poll()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells")
def test_peak_memory_of_a_process_that_goes_and_of_none() -> None:
    import os

    assert host_runs.peak_memory(os.getpid()) > 1.0  # type: ignore[operator]
    assert host_runs.peak_memory(-1) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux tells")
def test_cpu_time_is_that_of_the_process_and_not_of_its_waiting() -> None:
    import os

    before = host_runs.cpu_seconds(os.getpid())
    time.sleep(0.3)
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    after = host_runs.cpu_seconds(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(0.2, abs=0.06)
    assert host_runs.cpu_seconds(-1) is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux tells")
def test_cpu_time_and_memory_are_those_of_all_that_a_process_has_started() -> None:
    work = "import time\nwhile time.process_time() < {}: pass\n"
    waits = "print('there', flush=True)\ninput()"
    child = [sys.executable, "-c", f"{work.format(0.6)}memory = 300_000_000 * bytes([1])\n{waits}"]
    script = f"import subprocess\nsubprocess.run({child})\n{work.format(0.3)}{waits}"
    command, pipe = [sys.executable, "-c", script], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        found = []
        for _ in ("while the child goes", "when it has ended"):
            assert process.stdout.readline() == "there\n"
            found.append((host_runs.cpu_seconds(process.pid), host_runs.peak_memory(process.pid)))
            process.stdin.write("\n")
            process.stdin.flush()
    (before, large), (after, small) = found
    assert before is not None
    assert after is not None
    assert before >= 0.6
    assert after >= before + 0.2
    assert large is not None
    assert small is not None
    assert small + 200.0 < large


def test_last_lines_of_long_short_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert last_lines(path) == ""
    path.write_text("one\ntwo\nthree\n")
    assert last_lines(path, 2) == "  two\n  three"
    assert last_lines(path, 9) == "  one\n  two\n  three"
