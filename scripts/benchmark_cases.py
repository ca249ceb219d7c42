"""One run of the accuracy benchmark, and the trainings that it consists of."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

from benchmark_methods import Method, read


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run of the benchmark.

    Attributes:
        host: ``mace`` or ``nequip``.
        method: What distinguishes it.
        size: Number of frames whose labels it uses.
        seed: Of the draw, the initial weights and the order of the data.
        budget: Seconds of training; None where the number of epochs is given.
        epochs: Number of epochs; None where the time is given.
    """

    host: str
    method: Method
    size: int
    seed: int
    budget: float | None
    epochs: int | None

    @property
    def place(self) -> str:
        """Where its costs stand."""
        return f"{self.host}/n{self.size}"

    @property
    def name(self) -> str:
        """What its folder and its record are called."""
        length = f"{self.epochs}epochs" if self.budget is None else f"{self.budget:g}s"
        return f"{self.host}-{self.method.name}-n{self.size}-{length}-seed{self.seed}"

    def parts(self) -> list[tuple[Case, float]]:
        """Trainings that it consists of, the last one the judged one's, and their length.

        Returns:
            Each with its share of the time or epochs: one, but for a student's whole way.
        """
        student = self.method.way
        if student is None:
            return [(self, 1.0)]
        training = dataclasses.replace(self.method, labels="cheap_forces")
        return [
            (dataclasses.replace(self, method=read(student.difference)), student.difference_budget),
            (dataclasses.replace(self, method=training), student.budget),
        ]


def unused_folder(parent: Path, name: str) -> Path:
    """A folder that does not exist yet: ``name``, or ``name-2``, ... beside interrupted runs.

    Args:
        parent: Where the runs are.
        name: What the folder should be called.
    """
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    candidates = (parent / free for free in names)
    return next(c for c in candidates if not c.exists() and not c.with_suffix(".yaml").exists())
