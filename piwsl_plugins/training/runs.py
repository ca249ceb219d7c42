"""Runs of a host's own training command as a user would start them, followed meanwhile."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

#: One thread a run: two runs on two cores have equal means, and small models gain little by more.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class RunFailedError(RuntimeError):
    """A run ended with an error; the message has its command, its log and the log's last lines."""


@dataclass(kw_only=True)
class Run(ABC):
    """One training run; a subclass for each host says what is called and where progress stands.

    Attributes:
        label: What people call it.
        arguments: Arguments of the host's command, without those that name the folder.
        folder: Where the host writes, relative to ``root`` or absolute; made when the run starts,
            and must not exist before, unless ``resume``.
        root: Folder that the run is started in.
        epochs: Number of epochs that it shall make.
        programs: Folder of the host's programs, ``bin`` of its environment; left out, that of this
            Python.
        variables: Environment variables that it needs.
        resume: Whether ``folder`` may hold an earlier run that was killed, which the host goes on
            with.
        wall_clock: Seconds from start to end, import and final evaluation included; 0 until then.
        epoch: Last epoch that is known to have ended, counted from 0; -1 before.
        validation: Validation errors of total energies so far, eV.
        peak_memory_mb: Peak resident memory so far, MB; None where the system does not tell.
        cpu_samples: Readings of the clock and of the run's CPU time, seconds; none where the system
            does not tell.
    """

    host: ClassVar[str]
    program: ClassVar[str]

    label: str
    arguments: Sequence[str]
    folder: Path
    root: Path
    epochs: int
    programs: Path = field(default_factory=lambda: Path(sys.executable).parent)
    variables: Mapping[str, str] = field(default_factory=dict)
    resume: bool = False
    wall_clock: float = 0.0
    epoch: int = -1
    validation: list[float] = field(default_factory=list, repr=False)
    peak_memory_mb: float | None = None
    cpu_samples: list[tuple[float, float]] = field(default_factory=list, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _started: float = field(default=0.0, repr=False)

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """The command as a user types it."""

    @property
    @abstractmethod
    def model(self) -> Path:
        """The trained model."""

    @property
    @abstractmethod
    def milliseconds_a_step(self) -> float:
        """Mean time of an optimiser step, ms; NaN where it is not known yet."""

    @property
    @abstractmethod
    def epoch_times(self) -> list[float]:
        """Readings of the clock, seconds: before the first epoch, and after each that has ended."""

    @property
    def interrupted(self) -> bool:
        """Whether the host was told to end, and has ended as if all were well."""
        return False

    @abstractmethod
    def read_progress(self) -> None:
        """Take over what the host has written since the last call."""

    @property
    def output(self) -> Path:
        """File with everything that the run prints."""
        return self.root / self.folder / "output.txt"

    def check(self) -> Path:
        """Find the host's command.

        Returns:
            The program.

        Raises:
            FileNotFoundError: It is not there.
        """
        program = Path(os.path.abspath(self.programs)) / self.program
        if not program.exists():
            raise FileNotFoundError(
                f"{program} does not exist: install {self.host} there "
                f"(pip install 'piwsl-plugins[{self.host.lower()}]'), or name the environment "
                "that has it"
            )
        return program

    def start(self, environment: Mapping[str, str] = ONE_THREAD) -> None:
        """Start the run in the background.

        Args:
            environment: Variables that are set in addition to the present ones.

        Raises:
            FileExistsError: ``folder`` exists, and the run is not one to go on with; a run is never
                mixed with an earlier one.
            FileNotFoundError: The host's command is not there.
        """
        program = self.check()
        self.output.parent.mkdir(parents=True, exist_ok=self.resume)
        with self.output.open("ab" if self.resume else "wb") as output:
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                [str(program), *self.command[1:]],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.root,
                env={**os.environ, **environment, **self.variables},
            )

    def poll(self) -> bool:
        """Read what is new; True when the run has ended well.

        Raises:
            RunFailedError: It ended with an error.
        """
        if self._process is None:
            raise RuntimeError(f"the run '{self.label}' was not started")
        self.peak_memory_mb = peak_memory(self._process.pid) or self.peak_memory_mb
        used = cpu_seconds(self._process.pid)
        if used is not None:
            self.cpu_samples.append((time.time(), used))
        status = self._process.poll()
        self.read_progress()
        if status is None:
            return False
        if self.wall_clock == 0.0:
            self.wall_clock = time.monotonic() - self._started
        if status != 0 or self.interrupted or not self.model.exists():
            raise RunFailedError(failure(self.label, status, self.command, self.output))
        return True

    def terminate(self) -> None:
        """Ask the run to end if it still goes."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """End the run, after :meth:`terminate`, however long it hesitates."""
        if self._process is not None:
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def failure(label: str, status: int, command: Sequence[str], log: Path) -> str:
    """What people read when a command has failed.

    Args:
        label: What people call it.
        status: Its exit status.
        command: The command as a user types it.
        log: File with everything that it printed.
    """
    return (
        f"{label} failed with exit status {status}:\n  {shlex.join(command)}\n"
        f"The last lines of {log}:\n{last_lines(log)}"
    )


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


def peak_memory(pid: int) -> float | None:
    """Peak resident memory so far of a process or, if larger, one that it has started and goes.

    Args:
        pid: The process.

    Returns:
        MB, on Linux; None elsewhere or once it ended.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    if not sizes:
        return None
    return max([int(sizes[0]) / 1024, *(peak_memory(child) or 0.0 for child in _children(pid))])


def cpu_seconds(pid: int) -> float | None:
    """CPU time so far of a process, its threads and all processes that it has started.

    Args:
        pid: The process.

    Returns:
        Seconds, on Linux; None elsewhere or at its end.
    """
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    # what a child used is added to its parent's own count when the parent has waited for its end
    going = [pid, *_descendants(pid)]
    ticks = [sum(map(int, f[11:15])) for f in map(_stat, going) if f is not None]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _children(pid: int) -> list[int]:
    """Processes that a process has started and has not yet waited for the end of."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return found


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _descendants(child)


@contextmanager
def started(runs: Sequence[Run], at_once: int | None = None) -> Iterator[None]:
    """Start the first runs, and leave none behind, whatever happens inside.

    Args:
        runs: What to start, or to start inside.
        at_once: How many to start; None for all.
    """
    try:
        for run in runs[:at_once]:
            run.start()
        yield
    finally:
        for run in runs:
            run.terminate()
        for run in runs:
            run.stop()
