"""Trainings by the hosts' own commands: started, followed and ended; no host is imported."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PROGRAMS = {"mace": "mace_run_train", "nequip": "nequip-train"}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Runs side by side have equal means, and small models gain little by more threads."""
REPORT_EVERY = 30.0
"""Seconds between two lines of progress."""
MACE_EPOCH = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) INFO: (?:Initial|Epoch \d+): head: ", re.MULTILINE
)
"""Lines of MACE's log before the first epoch and after each."""
CLOCK = "epoch_clock.EpochClock"
CLOCK_FILE = "epoch_times.txt"
"""A callback of NequIP's runs, in the folder of this module, and what it writes."""


@dataclass(kw_only=True)
class Run:
    """One command that trains a model.

    Attributes:
        label: what people call it.
        command: as a user types it in ``root``; the program is in ``programs``.
        folder: where it writes, absolute; must not exist before.
        model: the trained model, absolute.
        epochs: number of epochs, for the progress.
        failed: why it failed, for people; empty otherwise.
        seconds: wall-clock time from start to end, imports included; 0 until then.
        samples: readings of the clock and of the CPU time so far, s; none where the system does
            not tell.
    """

    label: str
    command: Sequence[str]
    folder: Path
    model: Path
    root: Path
    programs: Path
    epochs: int
    failed: str = ""
    seconds: float = 0.0
    samples: list[tuple[float, float]] = field(default_factory=list, repr=False)
    output: Path = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _started: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        self.output = self.folder / "output.txt"  # everything that it prints

    def start(self) -> None:
        """Start it in the background.

        Raises:
            FileNotFoundError: the command is not there.
            FileExistsError: the folder is; a run is never mixed with an earlier one.
        """
        program = self.programs.absolute() / self.command[0]
        if not program.exists():
            raise FileNotFoundError(
                f"{program} does not exist: name the environment that has it "
                "(make test makes .venv/mace and .venv/nequip)"
            )
        self.folder.mkdir(parents=True)
        path = {"PYTHONPATH": str(Path(__file__).parent)}  # for the clock
        self._started = time.monotonic()
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [str(program), *self.command[1:]],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.root,
                env=os.environ | ONE_THREAD | path,
            )

    def poll(self) -> bool:
        """Whether it has ended; ``failed`` says whether well."""
        assert self._process is not None
        if (used := _cpu_seconds(self._process.pid)) is not None:
            self.samples.append((time.time(), used))
        status = self._process.poll()
        if status is None:
            return False
        self.seconds = time.monotonic() - self._started
        if status != 0 or not self.model.exists():
            text = self.output.read_text(encoding="utf-8", errors="replace")
            last = "\n  ".join(text.rstrip().splitlines()[-15:])
            self.failed = (
                f"{self.label} failed with exit status {status}:\n  {shlex.join(self.command)}\n"
                f"The last lines of {self.output}:\n  {last}"
            )
        return True

    def stop(self) -> None:
        """End it, if it is still running."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def validation(self) -> list[float]:
        """Validation errors of energies so far, one an epoch, eV."""
        logs = [*self.folder.rglob("*_train.txt"), *self.folder.rglob("metrics.csv")]
        try:
            if logs[0].suffix == ".csv":
                return list(pd.read_csv(logs[0])["val0_epoch/total_energy_rmse"].dropna())
            rows = pd.read_json(logs[0], lines=True).dropna(subset="epoch")
            return list(rows["rmse_e"].dropna())
        except (IndexError, KeyError, ValueError):  # the host is writing it, or has not begun to
            return []

    def times(self, device: str) -> list[float]:
        """Time before the first epoch and after each, s: CPU time on the CPU, where it is known."""
        if (path := self.folder / CLOCK_FILE).exists():
            clock = [float(line) for line in path.read_text(encoding="utf-8").split()]
        else:
            text = self.output.read_text(encoding="utf-8", errors="replace")
            clock = [datetime.fromisoformat(one).timestamp() for one in MACE_EPOCH.findall(text)]
        if device == "cpu" and len(self.samples) > 1 and clock:
            when, used = np.array(self.samples).T
            return [float(value) for value in np.interp(clock, when, used)]
        return clock

    def state(self) -> str:
        """How far it is, in a line."""
        errors = self.validation()
        how_far = "done" if self.seconds else f"epoch {len(errors)}/{self.epochs}"
        last = f", validation error {1e3 * errors[-1]:.1f} meV" if errors else ""
        return f"{self.label}: {how_far}{last}"


def _cpu_seconds(pid: int) -> float | None:
    """CPU time so far of a process and of its children that have ended; None once it ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def run_all(
    runs: Sequence[Run],
    at_once: int,
    tell: Callable[[str], object],
    finish: Callable[[Run], object] = lambda run: None,
) -> None:
    """Run commands, some at a time; whatever happens, none is left behind.

    Args:
        runs: what to run, in this order.
        at_once: how many may run at the same time.
        tell: told how far they are, now and then.
        finish: called with each that has ended, well or not.
    """
    waiting, running, ended, told = list(runs), list[Run](), 0, time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(waiting.pop(0))
                running[-1].start()
            time.sleep(0.2)
            for run in [run for run in running if run.poll()]:
                running.remove(run)
                ended += 1
                tell(
                    f"{ended}/{len(runs)} " + (run.failed or f"{run.state()}, {run.seconds:.0f} s")
                )
                finish(run)
            if time.monotonic() - told > REPORT_EVERY:
                told = time.monotonic()
                tell("; ".join(run.state() for run in running))
    finally:
        for run in running:
            run.stop()


def host_run(
    host: str,
    label: str,
    arguments: Sequence[str],
    folder: Path,
    **others: Any,  # noqa: ANN401
) -> Run:
    """A run of ``mace_run_train`` or ``nequip-train``.

    Args:
        host: mace or nequip.
        label: what people call it.
        arguments: those of the command, but for where it writes; NequIP's config keeps the best
            model as best.ckpt.
        folder: where it writes, absolute; its name is that of MACE's model.
        others: ``root``, ``programs`` and ``epochs`` of the run.
    """
    root = others["root"]
    place = str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)
    model = folder / (f"{folder.name}.model" if host == "mace" else "best.ckpt")
    own = ["--name", folder.name, "--work_dir", place]
    own = own if host == "mace" else [f"hydra.run.dir={place}"]
    command = [PROGRAMS[host], *arguments, *own]
    return Run(label=label, command=command, folder=folder, model=model, **others)
