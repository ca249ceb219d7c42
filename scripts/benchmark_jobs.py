"""One run of the accuracy benchmark: train, evaluate, write down what came out."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from piwsl_plugins.training.runs import ONE_THREAD, Run, RunFailedError, failure

EVALUATE = Path(__file__).with_name("evaluate_model.py")


@dataclass(kw_only=True)
class Job:
    """One training and what follows it, in the background.

    Attributes:
        run: The training, not yet started.
        expected: Guess of how long all takes, seconds.
        evaluation: Command that judges the trained model; none for a training alone.
        finish: Called once at the end, ``failed`` set or not.
        failed: Why it failed, for people; empty otherwise.
        begun: Clock at the start, seconds; 0 before.
    """

    run: Run
    expected: float
    evaluation: Sequence[str] = ()
    finish: Callable[[Job], None] = lambda job: None
    failed: str = ""
    begun: float = 0.0
    trained: bool = False
    _judge: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the training."""
        self.begun = time.monotonic()
        self.run.start()

    def poll(self) -> bool:
        """Go on; True when all has ended, well or not."""
        try:
            if not self.trained:
                if not self.run.poll():
                    return False
                self.trained = True
                if self.evaluation:
                    self._start_evaluation()
                    return False
            elif self._judge is not None:
                status = self._judge.poll()
                if status is None:
                    return False
                if status != 0:
                    what = f"the evaluation of {self.run.label}"
                    raise RunFailedError(failure(what, status, self.evaluation, self._log))
            self.finish(self)
        except RunFailedError as error:
            self.failed = str(error)
            self.finish(self)
        return True

    @property
    def _log(self) -> Path:
        return self.run.output.with_name("evaluation.txt")

    def _start_evaluation(self) -> None:
        with self._log.open("wb") as output:
            self._judge = subprocess.Popen(
                list(self.evaluation),
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ONE_THREAD},
            )

    def stop(self) -> None:
        """End whatever still goes."""
        self.run.terminate()
        if self._judge is not None and self._judge.poll() is None:
            self._judge.terminate()
            self._judge.wait()
        self.run.stop()


def evaluation(run: Run, frames: Path, device: str) -> tuple[list[str], Path]:
    """How a trained model is judged, in its host's environment.

    Args:
        run: The training.
        frames: The test frames.
        device: cpu or cuda.

    Returns:
        The command, and the file with energies and forces that it writes.
    """
    predictions = run.output.with_name("test.npz")
    command = [str(Path(os.path.abspath(run.programs)) / "python"), str(EVALUATE)]
    command += ["--device", device, run.host, str(run.model), str(frames), str(predictions)]
    return command, predictions


def training_record(run: Run, steps_an_epoch: int) -> dict[str, Any]:
    """What is written down about a training that has ended.

    Args:
        run: The training.
        steps_an_epoch: Optimiser steps of an epoch.
    """
    times, cpu = run.epoch_times, cpu_times(run)
    epochs = max(len(times) - 1, 0)
    validation = [error for error in run.validation if error == error]
    return {
        "epochs": epochs,
        "steps": epochs * steps_an_epoch,
        "ms_per_step": run.milliseconds_a_step,
        "training_s": times[-1] - times[0] if epochs else None,
        "training_cpu_s": None if cpu is None else cpu[-1] - cpu[0],
        "wall_clock_s": run.wall_clock,
        # imports, and with a student all that comes before it, included
        "cpu_s": run.cpu_samples[-1][1] if run.cpu_samples else None,
        "peak_memory_mb": run.peak_memory_mb,
        "validation_energy_rmse_mev": 1e3 * min(validation) if validation else None,
        "command": shlex.join(run.command),
    }


def cpu_times(run: Run) -> list[float] | None:
    """The run's CPU time before its first epoch and after each, s; None where it is not known."""
    times = run.epoch_times
    if len(times) < 2 or len(run.cpu_samples) < 2:
        return None
    clock, used = zip(*run.cpu_samples, strict=True)
    return [float(value) for value in np.interp(times, clock, used)]


def seconds_an_epoch(run: Run, device: str) -> float:
    """Time of an epoch of a short run, without its first one and without outliers.

    On the CPU it is CPU time, of the one thread that a run has: the same as wall-clock on a machine
    with nothing else to do, and no longer beside other work.

    Args:
        run: The run, which has ended.
        device: cpu or cuda.

    Raises:
        RunFailedError: It has written down too few epochs.
    """
    times = (cpu_times(run) if device == "cpu" else None) or run.epoch_times
    lengths = sorted(b - a for a, b in pairwise(times[1:]))
    if len(lengths) < 3:
        raise RunFailedError(
            f"{run.label}: expected at least 4 epochs with their times in {run.output.parent}, "
            f"found {max(len(times) - 1, 0)}"
        )
    cut = max(1, len(lengths) // 5)
    return statistics.mean(lengths[cut:-cut])


def write_json(path: Path, content: object) -> None:
    """Write a file in one go, so that an interruption leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
