"""Labels of a cheap method for each frame of a file: checked, computed once, written beside it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import ase
import numpy as np

from piwsl_plugins.data.checks import MAX_NAMED, listed
from piwsl_plugins.data.outputs import Outputs
from piwsl_plugins.data.progress import bar, each
from piwsl_plugins.weak.agreement import Agreement
from piwsl_plugins.weak.cache import Cache
from piwsl_plugins.weak.extxyz import exact_text
from piwsl_plugins.weak.frames import Frame, Frames
from piwsl_plugins.weak.methods import AseMethod, Method
from piwsl_plugins.weak.states import Keys, check_names, is_charged_or_open, task_of
from piwsl_plugins.weak.tasks import Floats, Labels, Outcome, Task
from piwsl_plugins.weak.workers import Workers

HOPELESS = 20
"""Frames that all fail before any is labelled; the rest is not tried then."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted.

    Attributes:
        frames: what is labelled.
        out: file that is written.
        outputs: what makes it appear whole, or not at all.
        keys: names of the labels.
        charge: of all frames, or None for that of each one's ``info``.
        spin: multiplicity of all frames, or None likewise.
        decimals: of the labels, or None for all there are.
        strict: whether nothing is written where a frame fails.
    """

    frames: Frames
    out: Path
    outputs: Outputs
    keys: Keys
    charge: int | None = None
    spin: int | None = None
    decimals: int | None = None
    strict: bool = False

    def tasks(self, method: Method) -> Iterator[tuple[Frame, Task]]:
        """The frames, with what a method is told of each."""
        for frame in self.frames:
            state = (method.takes_state, self.charge, self.spin)
            yield frame, task_of(frame.name, frame.atoms, *state)


@dataclasses.dataclass(slots=True)
class Report:
    """What was done.

    Attributes:
        frames: in the file.
        labelled: those with labels.
        computed: labelled now, not found in the cache.
        seconds: of one process for a frame, mean over those computed now.
        failures: name of each frame without labels, and why.
        untold: those whose charge or multiplicity the method was not told.
        agreement: with the reference.
        written: whether the file was.
    """

    frames: int = 0
    labelled: int = 0
    computed: int = 0
    seconds: float = 0.0
    failures: dict[str, str] = dataclasses.field(default_factory=dict)
    untold: int = 0
    agreement: Agreement = dataclasses.field(default_factory=Agreement)
    written: bool = False


def label(request: Request, method: Method | None, cache: Path, processes: int) -> Report:
    """Label the frames of a file.

    Args:
        request: what is wanted.
        method: the method, or None for labels that the file has.
        cache: folder of labels that are there.
        processes: how many work side by side.

    Returns:
        What was done.

    Raises:
        ValueError: something is wrong with the frames or the method.
    """
    if method is None:
        report = Report()
        _write(((frame, frame.low) for frame in request.frames), request, report)
        return report
    with Cache(cache) as kept:
        work = _Labelling(request, method, kept)
        missing, trials = work.check()
        if missing:
            work.compute(missing, trials, processes)
        if not (request.strict and work.report.failures):
            pairs = ((frame, kept.get(task.key(work.digest))) for frame, task in work.tasks())
            _write(pairs, request, work.report)
    return work.report


class _Labelling:
    """Frames, a method and what has been computed of it."""

    def __init__(self, request: Request, method: Method, cache: Cache) -> None:
        self.request, self.method, self.cache = request, method, cache
        self.digest = method.digest()
        self.report = Report()

    def tasks(self) -> Iterator[tuple[Frame, Task]]:
        """The frames, with what the method is told of each."""
        return self.request.tasks(self.method)

    def check(self) -> tuple[int, list[Task]]:
        """Go through all frames before anything is computed.

        Returns:
            How many frames have no labels yet, and the first of these with each set of elements.

        Raises:
            ValueError: frames that the method cannot treat; at most ten are named.
        """
        bad: list[str] = []
        first: dict[tuple[int, ...], Task] = {}
        missing = unfit = 0
        for frame, task in each(self.tasks(), "checking", len(self.request.frames)):
            check_names(frame, self.request.keys)
            if not self.method.takes_state and is_charged_or_open(frame):
                self.report.untold += 1
            why = self.method.unfit(task)
            if why:
                unfit += 1
                bad.extend([f"{task.name}: {why}"] if unfit <= MAX_NAMED else [])  # of millions
            elif task.key(self.digest) not in self.cache:
                missing += 1
                first.setdefault(task.elements, task)
        if bad:
            name = self.method.name
            raise ValueError(
                f"{name} cannot treat these frames (counted from 0):{listed(bad, unfit)}"
            )
        return missing, list(first.values())

    def compute(self, missing: int, trials: list[Task], processes: int) -> None:
        """Label the frames whose labels are not there, and keep the labels.

        Args:
            missing: how many have none.
            trials: frames that are labelled before all others, one of each set of elements.
            processes: how many work side by side.

        Raises:
            ValueError: an ASE calculator cannot treat one of the trials, or a method nothing.
        """
        with (
            Workers(self.method, min(processes, missing)) as workers,
            bar(self.method.name, missing) as shown,
        ):
            for outcome in workers.label(trials):
                self._take(outcome, shown, trial=isinstance(self.method, AseMethod))
            done = {task.name for task in trials}
            rest = (
                task
                for _, task in self.tasks()
                if task.name not in done and task.key(self.digest) not in self.cache
            )
            for outcome in workers.label(rest):
                self._take(outcome, shown)
        self.cache.commit()

    def _take(self, outcome: Outcome, shown: Any, trial: bool = False) -> None:  # noqa: ANN401  tqdm's type is generic
        report, task = self.report, outcome.task
        shown.update()
        if outcome.labels is not None:
            self.cache.add(task.key(self.digest), outcome.labels)
            report.computed += 1
            report.seconds += (outcome.labels.seconds - report.seconds) / report.computed
            return
        where = f"{task.name} ({task.atoms().get_chemical_formula()})"
        if trial and outcome.unsuited:
            raise ValueError(f"{where}: {self.method.name} cannot treat it: {outcome.error}")
        report.failures[task.name] = outcome.error
        shown.write(f"left out: {where}: {outcome.error}", file=sys.stderr)
        if not report.computed and len(report.failures) >= HOPELESS:
            raise ValueError(
                f"{self.method.name} failed for each of the first {HOPELESS} frames, the last "
                f"time with: {outcome.error}"
            )


def _write(pairs: Iterable[tuple[Frame, Labels | None]], request: Request, report: Report) -> None:
    """Write the frames that have labels.

    Raises:
        ValueError: no frame has labels.
    """
    try:
        with request.outputs as outputs:
            with outputs.temporary(request.out).open("w", encoding="utf-8") as stream:
                for frame, labels in each(pairs, "writing", len(request.frames)):
                    _write_frame(stream, frame, labels, request, report)
            if not report.labelled:
                why = next(iter(report.failures.values()), "there are no frames")
                raise ValueError(
                    f"no frame could be labelled ({why}); {request.out} is not written"
                )
            if request.strict and report.failures:
                raise _NotWrittenError
        report.written = True
    except _NotWrittenError:  # the report says so
        return


class _NotWrittenError(Exception):
    """The file must not appear."""


def _write_frame(
    stream: TextIO, frame: Frame, labels: Labels | None, request: Request, report: Report
) -> None:
    check_names(frame, request.keys)
    report.frames += 1
    if labels is None:
        report.failures.setdefault(frame.name, "the file has no such labels of it")
        return
    report.labelled += 1
    report.agreement.add(frame.atoms.numbers, frame.energy, frame.forces, labels)
    stream.write(exact_text(_with(frame, labels, request)))


def _with(frame: Frame, labels: Labels, request: Request) -> ase.Atoms:
    """A frame's atoms with the labels on them."""
    atoms, keys, decimals = frame.atoms, request.keys, request.decimals
    atoms.info[keys.energy] = labels.energy if decimals is None else round(labels.energy, decimals)
    if labels.forces is not None:
        atoms.arrays[keys.forces] = _rounded(labels.forces, decimals)
    if labels.stress is not None:
        atoms.info[keys.stress] = _rounded(labels.stress.ravel(), decimals)
    return atoms


def _rounded(values: Floats, decimals: int | None) -> Floats:
    # adding 0.0 turns -0.0 into 0.0
    return values if decimals is None else np.round(values, decimals) + 0.0
