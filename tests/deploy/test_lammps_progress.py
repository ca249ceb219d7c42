"""Speed is told now and then, from the time steps alone."""

from __future__ import annotations

import io
import time

import pytest

from piwsl_plugins.deploy.progress import Progress


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", made)
    return made


def test_steps_count_and_what_lies_between_runs_does_not(clock: Clock) -> None:
    stream = io.StringIO()
    progress = Progress(stream, every=10.0)
    for number in range(41):  # the first is the set-up of the run
        progress.step(number, 0.001)
        clock.now += 0.5
    clock.now += 1000.0  # the user's input does other things
    progress.step(40, 0.001)  # the set-up of the second run
    assert progress.steps == 40
    assert progress.seconds == pytest.approx(20.0)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 20: 2 timesteps/s; in dynamics 0.173 ns/day"
    assert len(lines) == 2
    assert progress.summary(19.0) == (
        "40 steps in 20.0 s, 95% of it the model: 2 timesteps/s; in dynamics 0.173 ns/day"
    )


def test_no_steps_have_no_speed(clock: Clock) -> None:
    progress = Progress(io.StringIO())
    progress.step(0, 0.001)
    assert progress.summary(1.0) == "no time steps were made"
