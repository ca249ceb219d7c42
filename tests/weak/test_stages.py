"""A stage is done once, goes on after a kill, and is moved aside where its input has changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from piwsl_plugins.weak.stages import Runner, Stage


class Work:
    """A stage that doubles the number in a file, and counts how often it does."""

    def __init__(self, root: Path, factor: int = 2) -> None:
        self.root, self.factor, self.done = root, factor, 0
        self.fails = False
        (root / "input.txt").write_text("21")

    @property
    def stage(self) -> Stage:
        folder = self.root / "out" / "double"
        return Stage(
            name="double",
            title="Double it",
            folder=folder,
            settings={"factor": self.factor},
            inputs=[self.root / "input.txt"],
            outputs=[folder / "result.txt"],
            commands=[["double", "--of", "a file"]],
            work=self.work,
        )

    def work(self) -> None:
        folder = self.root / "out" / "double"
        (folder / "half-done.txt").write_text("on the way")
        if self.fails:
            raise KeyboardInterrupt
        self.done += 1
        number = self.factor * int((self.root / "input.txt").read_text())
        (folder / "result.txt").write_text(str(number))


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def runner(said: list[str]) -> Runner:
    return Runner(said.append)


def test_it_is_done_once_and_its_command_is_shown(
    work: Work, runner: Runner, said: list[str]
) -> None:
    assert runner.run(work.stage)
    assert not runner.run(work.stage)
    assert work.done == 1
    assert (work.root / "out" / "double" / "result.txt").read_text() == "42"
    assert said[:2] == ["1. Double it", "   double --of 'a file'"]
    assert "there already" in said[2]


@pytest.mark.parametrize("what", ["file", "setting"])
def test_a_changed_input_moves_the_earlier_results_aside(
    work: Work, runner: Runner, said: list[str], what: str
) -> None:
    runner.run(work.stage)
    if what == "file":
        (work.root / "input.txt").write_text("5")
    else:
        work.factor = 3
    assert runner.run(work.stage)
    assert work.done == 2
    earlier = work.root / "out" / "double.old-1"
    assert (earlier / "result.txt").read_text() == "42"
    told = next(line for line in said if "double.old-1" in line)
    assert ("input.txt changed" if what == "file" else "factor changed") in told


def test_after_a_kill_it_goes_on_with_what_is_there(
    work: Work, runner: Runner, said: list[str]
) -> None:
    work.fails = True
    with pytest.raises(KeyboardInterrupt):
        runner.run(work.stage)
    work.fails = False
    assert runner.run(work.stage)
    assert any("goes on with what is in" in line for line in said)
    assert not (work.root / "out" / "double.old-1").exists()


def test_a_folder_that_others_made_is_kept(work: Work, runner: Runner, said: list[str]) -> None:
    folder = work.root / "out" / "double"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("precious")
    assert runner.run(work.stage)
    assert (work.root / "out" / "double.old-1" / "mine.txt").read_text() == "precious"
    assert any("not made by this command" in line for line in said)


def test_results_that_somebody_changed_are_made_anew(work: Work, runner: Runner) -> None:
    runner.run(work.stage)
    (work.root / "out" / "double" / "result.txt").write_text("43")
    assert runner.run(work.stage)
    assert (work.root / "out" / "double" / "result.txt").read_text() == "42"


def test_the_whole_folder_may_be_moved(work: Work, runner: Runner) -> None:
    runner.run(work.stage)
    (work.root / "out").rename(work.root / "elsewhere")
    stage = work.stage
    moved = work.root / "elsewhere" / "double"
    stage = dataclasses.replace(stage, folder=moved, outputs=[moved / "result.txt"])
    assert not runner.run(stage)


def test_a_stage_that_leaves_nothing_is_an_error(work: Work, runner: Runner) -> None:
    stage = dataclasses.replace(work.stage, work=lambda: None)
    with pytest.raises(ValueError, match=r"Double it: it has ended without .*result\.txt"):
        runner.run(stage)
