"""How fast LAMMPS gets on."""

from __future__ import annotations

import time
from typing import TextIO

#: Seconds between two lines of progress.
REPORT_EVERY = 10.0


class Progress:
    """Speed of a run, written now and then.

    Attributes:
        steps: Time steps so far; the set-ups of runs, and what lies between runs, are left out.
        seconds: What they took, s.
        timestep: Length of the latest step, ps.
    """

    def __init__(self, stream: TextIO, every: float = REPORT_EVERY) -> None:
        """Args: stream: where the lines go; every: seconds between two of them."""
        self.steps, self.seconds, self.timestep = 0, 0.0, 0.0
        self._stream, self._every = stream, every
        self._last: tuple[int, float] | None = None
        self._reported = (0, 0.0, time.perf_counter())

    def step(self, number: int, timestep: float) -> None:
        """Note that a time step's forces are there.

        Args:
            number: LAMMPS's time step.
            timestep: Its length, ps.
        """
        now = time.perf_counter()
        self.timestep = timestep
        if self._last is not None and number == self._last[0] + 1:
            self.steps += 1
            self.seconds += now - self._last[1]
        self._last = (number, now)
        steps, seconds, since = self._reported
        if now - since >= self._every and self.seconds > seconds:
            rate = (self.steps - steps) / (self.seconds - seconds)
            print(f"step {number}: {self._speed(rate)}", file=self._stream, flush=True)
            self._reported = (self.steps, self.seconds, now)

    def summary(self, model_seconds: float) -> str:
        """The whole run in a line.

        Args:
            model_seconds: Time spent in the model, s.
        """
        if not self.steps:
            return "no time steps were made"
        speed = self._speed(self.steps / self.seconds)
        share = min(1.0, model_seconds / self.seconds)
        return f"{self.steps} steps in {self.seconds:.1f} s, {share:.0%} of it the model: {speed}"

    def _speed(self, rate: float) -> str:
        per_day = rate * self.timestep * 86400.0 / 1000.0
        return f"{rate:.4g} timesteps/s; in dynamics {per_day:.3g} ns/day"
