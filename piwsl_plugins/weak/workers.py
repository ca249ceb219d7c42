"""Processes that label frames, each on one thread; they end with the process that began them."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType

import numpy as np
from ase.calculators.calculator import Calculator, CalculatorError, CalculatorSetupError

from piwsl_plugins.weak.methods import Method
from piwsl_plugins.weak.processes import begin_process, one_thread_each
from piwsl_plugins.weak.tasks import Labels, Outcome, Task

CHUNK_SECONDS, LONGEST_CHUNK = 0.5, 64
"""A process gets so many frames at once as it labels in this time, and no more than that."""
AHEAD = 2  # chunks that wait for each process
_calculators: Callable[[Task], Calculator] | None = None  # of a process that labels


class Workers:
    """A pool of processes that label frames by one method.

    Args:
        method: the method.
        processes: how many.
    """

    def __init__(self, method: Method, processes: int) -> None:
        self.method = method
        self.processes = processes
        self._threads = one_thread_each()
        self._pool: ProcessPoolExecutor | None = None
        self._mean = math.inf  # seconds a frame, so far

    def __enter__(self) -> Workers:
        self._threads.__enter__()  # processes begin when they are needed, and inherit this then
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            self._threads.__exit__(kind, error, at)
        finally:
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)

    def label(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Label frames, in no particular order; only few of them are held at a time.

        A process that dies (of a fault in a library, or for want of memory) costs the frame that
        it died of, which is found by giving it those frames again one by one.

        Args:
            tasks: the frames.

        Yields:
            What has become of each.
        """
        waiting: dict[Future[list[Outcome]], list[Task]] = {}
        for chunk in self._chunks(tasks):
            while len(waiting) >= AHEAD * self.processes:
                yield from self._done(waiting)
            self._submit(chunk, waiting)
        while waiting:
            yield from self._done(waiting)

    def _chunks(self, tasks: Iterable[Task]) -> Iterator[list[Task]]:
        chunk: list[Task] = []
        for task in tasks:
            chunk.append(task)
            if len(chunk) >= min(LONGEST_CHUNK, CHUNK_SECONDS / max(self._mean, 1e-9)):
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _submit(self, chunk: list[Task], waiting: dict[Future[list[Outcome]], list[Task]]) -> None:
        if self._pool is None:
            self._pool = self._new_pool(self.processes)
        try:
            waiting[self._pool.submit(_label_all, chunk)] = chunk
        except BrokenProcessPool as error:
            failed: Future[list[Outcome]] = Future()
            failed.set_exception(error)
            waiting[failed] = chunk

    def _done(self, waiting: dict[Future[list[Outcome]], list[Task]]) -> Iterator[Outcome]:
        """Hand on what is there, once something is."""
        done = wait(waiting, return_when=FIRST_COMPLETED).done
        for future in done:
            chunk = waiting.pop(future)
            try:
                outcomes = future.result()
            except BrokenProcessPool:
                self._pool = None
                for task in chunk:
                    yield self._alone(task)
                continue
            for outcome in outcomes:
                if outcome.labels is not None:
                    first = math.isinf(self._mean)
                    rate = 1.0 if first else 0.1
                    old = 0.0 if first else self._mean
                    self._mean = (1.0 - rate) * old + rate * outcome.labels.seconds
                yield outcome

    def _alone(self, task: Task) -> Outcome:
        """Label a frame by a process of its own, which it may bring down."""
        with self._new_pool(1) as pool:
            try:
                (outcome,) = pool.submit(_label_all, [task]).result()
            except BrokenProcessPool:
                return Outcome(task, None, "the process that labelled it died")
        return outcome

    def _new_pool(self, processes: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(self.method,),
        )


def _begin(method: Method) -> None:
    """What a process does before its first frame."""
    global _calculators
    begin_process()
    _calculators = method.calculators()


def _label_all(tasks: list[Task]) -> list[Outcome]:
    return [_label(task) for task in tasks]


def _label(task: Task) -> Outcome:
    assert _calculators is not None
    begun = time.perf_counter()
    try:
        calculator = _calculators(task)
        atoms = task.atoms()
        atoms.calc = calculator
        energy = float(atoms.get_potential_energy())
        forces = np.array(atoms.get_forces(), dtype=np.float64)
        stress = None
        if (
            atoms.cell.rank == 3
            and task.pbc.any()
            and "stress" in getattr(calculator, "implemented_properties", ())
        ):
            stress = np.array(atoms.get_stress(voigt=False), dtype=np.float64)
    except Exception as error:  # whatever a calculator raises about a frame
        failed = isinstance(error, (CalculatorError, ArithmeticError, np.linalg.LinAlgError))
        unsuited = isinstance(error, CalculatorSetupError) or not failed
        return Outcome(task, None, _reason(error), unsuited)
    for name, values in (("energy", energy), ("forces", forces), ("stress", stress)):
        if values is not None and not np.isfinite(values).all():
            return Outcome(task, None, f"the {name} is not a finite number")
    seconds = time.perf_counter() - begun
    return Outcome(task, Labels(energy=energy, forces=forces, stress=stress, seconds=seconds))


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, CalculatorError) else f"{type(error).__name__}: {words}"
