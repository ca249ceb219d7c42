"""Runs of ``mace_run_train`` as a user would start them, side by side and followed meanwhile."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: One thread a run: two runs on two cores have equal means, and small models gain little by more.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class RunFailedError(RuntimeError):
    """A training run ended with an error; the message holds the last lines of its output."""


@dataclass(kw_only=True)
class MaceRun:
    """One training run.

    Attributes:
        label: What people call it.
        arguments: Arguments of ``mace_run_train``, without ``--name`` and ``--work_dir``.
        folder: Where MACE writes, relative to ``root`` or absolute; made when the run starts, and
            must not exist before. Its last part is MACE's experiment name.
        root: Folder that the run is started in.
        wall_clock: Seconds from start to end, import and final evaluation included; 0 until then.
        epoch: Last epoch that the results file tells of, -1 before.
        validation_rmse: Validation error of total energies, eV, None before the first.
        step_seconds: Sum and number of the optimiser steps so far, seconds.
    """

    label: str
    arguments: Sequence[str]
    folder: Path
    root: Path
    wall_clock: float = 0.0
    epoch: int = -1
    validation_rmse: float | None = None
    step_seconds: tuple[float, int] = (0.0, 0)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _started: float = field(default=0.0, repr=False)
    _read: int = field(default=0, repr=False)

    @property
    def command(self) -> list[str]:
        """The command as a user types it."""
        own = ["--name", self.folder.name, "--work_dir", str(self.folder)]
        return ["mace_run_train", *self.arguments, *own]

    @property
    def output(self) -> Path:
        """File with everything that the run prints."""
        return self.root / self.folder / "output.txt"

    @property
    def model(self) -> Path:
        """The trained model: that of stage two where there was one."""
        folder, name = self.root / self.folder, self.folder.name
        stage_two = folder / f"{name}_stagetwo.model"
        return stage_two if stage_two.exists() else folder / f"{name}.model"

    @property
    def milliseconds_a_step(self) -> float:
        """Mean time of an optimiser step, ms; NaN before the first."""
        seconds, steps = self.step_seconds
        return 1000.0 * seconds / steps if steps else float("nan")

    def start(self, environment: Mapping[str, str] = ONE_THREAD) -> None:
        """Start the run in the background.

        Args:
            environment: Variables that are set in addition to the present ones.

        Raises:
            FileExistsError: ``folder`` exists; a run is never mixed with an earlier one.
            FileNotFoundError: There is no ``mace_run_train`` beside this Python.
        """
        program = Path(sys.executable).with_name("mace_run_train")
        if not program.exists():
            raise FileNotFoundError(
                f"{program} does not exist: install MACE here (pip install 'piwsl-plugins[mace]') "
                "or use the Python of an environment that has it"
            )
        self.output.parent.mkdir(parents=True)
        with self.output.open("wb") as output:
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                [str(program), *self.command[1:]],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.root,
                env={**os.environ, **environment},
            )

    def poll(self) -> bool:
        """Read what is new; True when the run has ended well.

        Raises:
            RunFailedError: It ended with an error.
        """
        if self._process is None:
            raise RuntimeError(f"the run '{self.label}' was not started")
        status = self._process.poll()
        for record in self._new_records():
            self._take(record)
        if status is None:
            return False
        if self.wall_clock == 0.0:
            self.wall_clock = time.monotonic() - self._started
        if status != 0 or not self.model.exists():
            raise RunFailedError(
                f"{self.label} failed with exit status {status}:\n  {shlex.join(self.command)}\n"
                f"The last lines of {self.output}:\n{last_lines(self.output)}"
            )
        return True

    def stop(self) -> None:
        """End the run if it still goes."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _new_records(self) -> Iterator[dict[str, Any]]:
        files = sorted((self.root / self.folder).glob("results/*_train.txt"))
        if not files:
            return
        with files[0].open("rb") as results:
            results.seek(self._read)
            for line in results:
                if not line.endswith(b"\n"):
                    return  # MACE is still writing it
                self._read += len(line)
                yield json.loads(line)

    def _take(self, record: Mapping[str, Any]) -> None:
        if isinstance(record.get("epoch"), int):
            self.epoch = max(self.epoch, record["epoch"])
        if record.get("mode") == "eval" and isinstance(record.get("rmse_e"), float):
            self.validation_rmse = record["rmse_e"]
        if record.get("mode") == "opt" and isinstance(record.get("time"), float):
            seconds, steps = self.step_seconds
            self.step_seconds = (seconds + record["time"], steps + 1)


def last_lines(path: Path, count: int = 15) -> str:
    """The last lines of a text file, indented.

    Args:
        path: The file; a missing one gives an empty text.
        count: Number of lines.
    """
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    return "\n".join(f"  {line}" for line in lines[-count:])


@contextmanager
def started(runs: Sequence[MaceRun]) -> Iterator[Sequence[MaceRun]]:
    """Start all runs, and leave none behind, whatever happens inside.

    Args:
        runs: What to start.
    """
    try:
        for run in runs:
            run.start()
        yield runs
    finally:
        for run in runs:
            run.stop()
