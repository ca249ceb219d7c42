"""New geometries without labels: sampled side by side, each series once, and then selected."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from piwsl_plugins.data.progress import bar
from piwsl_plugins.weak.files import read_frames, write_frames, write_json
from piwsl_plugins.weak.plausibility import Plausibility
from piwsl_plugins.weak.potential import Potential
from piwsl_plugins.weak.processes import begin_process, one_thread_each
from piwsl_plugins.weak.sample_tasks import (
    RATTLE,
    SampleSettings,
    SampleTask,
    carry_out,
    digest_of_task,
    plan,
)

POLL = 0.5  # seconds between two looks at the counter
_here: Any = None  # what a process that samples knows


@dataclass(frozen=True, slots=True)
class Series:
    """A task and where its geometries are, or shall be."""

    task: SampleTask
    file: Path

    @property
    def refusals(self) -> Path:
        """Why some were not taken."""
        return self.file.with_suffix(".json")

    @property
    def is_done(self) -> bool:
        """Whether it need not be sampled again."""
        return self.file.is_file() and self.refusals.is_file()


class Sampler:
    """Samples what is planned and not there yet.

    Args:
        parents: Known geometries.
        potential: What moves the atoms.
        settings: What is sampled, and how.
        folder: Where the series are kept, one file each.
        processes: How many series are sampled side by side.
    """

    def __init__(
        self,
        parents: Sequence[Atoms],
        potential: Potential,
        settings: SampleSettings,
        folder: Path,
        processes: int = 1,
    ) -> None:
        self.parents, self.potential, self.settings = parents, potential, settings
        self.folder, self.processes = folder, processes
        self.plausibility = Plausibility.of(parents)
        digest = potential.digest()
        self.series = [
            Series(
                task,
                folder
                / f"{task.name}-{digest_of_task(task, settings, parents[task.parent], digest)}.xyz",
            )
            for task in plan(settings, len(parents))
        ]

    def run(self) -> tuple[list[Atoms], list[str]]:
        """Sample what is not there yet, and read all series.

        Returns:
            Geometries with their provenance, and why others were not taken.

        Raises:
            ValueError: The potential cannot be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = [series for series in self.series if not series.is_done]
        if missing:
            self._sample(missing)
        frames: list[Atoms] = []
        refused: list[str] = []
        for series in self.series:
            frames += read_frames(series.file)
            refused += json.loads(series.refusals.read_text(encoding="utf-8"))
        return frames, refused

    def _sample(self, missing: list[Series]) -> None:
        known = _Known(self.settings, self.parents, self.potential, self.plausibility)
        total = sum(series.task.count for series in missing)
        if len(missing) < len(self.series):
            earlier = len(self.series) - len(missing)
            print(f"{earlier} series of geometries were there already", file=sys.stderr)
        with bar("sampling", total, " steps") as shown:
            if self.processes == 1:
                worker = _Worker(known, shown.update)
                for series in missing:
                    worker.sample(series)
                return
            self._side_by_side(missing, known, shown)

    def _side_by_side(self, missing: list[Series], known: _Known, shown: Any) -> None:  # noqa: ANN401
        spawn = multiprocessing.get_context("spawn")
        counter = spawn.Value("q", 0)
        with (
            ProcessPoolExecutor(
                min(self.processes, len(missing)),
                mp_context=spawn,
                initializer=_begin,
                initargs=(known, counter),
            ) as pool,
            one_thread_each(),  # inside, so that processes are ended before the pool waits for them
        ):
            waiting: set[Future[None]] = {pool.submit(_sample, series) for series in missing}
            while waiting:
                done, waiting = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
                shown.update(int(counter.value) - shown.n)
                for future in done:
                    future.result()


@dataclass(frozen=True, slots=True)
class _Known:
    """What a process that samples must know."""

    settings: SampleSettings
    parents: Sequence[Atoms]
    potential: Potential
    plausibility: Plausibility


class _Worker:
    """Samples one series after the other with one calculator."""

    def __init__(self, known: _Known, progress: Callable[[int], object]) -> None:
        self.known, self.progress = known, progress
        self._calculator: BaseCalculator | None = None

    def sample(self, series: Series) -> None:
        """Sample a series, and keep it."""
        task = series.task
        if self._calculator is None and task.method != RATTLE:
            self._calculator = self.known.potential.calculator()
        scratch = series.file.with_suffix(".modes")
        found = carry_out(
            task,
            self.known.settings,
            self.known.parents[task.parent],
            self._calculator,
            self.known.potential.name,
            self.known.plausibility,
            scratch,
            self.progress,
        )
        write_frames(series.file, found.frames)
        write_json(series.refusals, found.refused)
        shutil.rmtree(scratch, ignore_errors=True)


def _begin(known: _Known, counter: Any) -> None:  # noqa: ANN401
    """What a process does before its first series."""
    global _here
    begin_process()

    def progress(done: int) -> None:
        with counter.get_lock():
            counter.value += done

    _here = _Worker(known, progress)


def _sample(series: Series) -> None:
    _here.sample(series)
