"""What an epoch costs each method, by short runs beside plain ones; kept in costs.json."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmark_jobs import Job, seconds_an_epoch, write_json

from piwsl_plugins.training.runs import Run, RunFailedError

REFERENCE = "plain"
#: Optimiser steps of a short run, within these numbers of epochs.
STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 60, 6, 40


@dataclass(kw_only=True)
class Costs:
    """Costs of an epoch by host and training-set size, and ratios to plain by method.

    The machine's speed drifts, so that only the ratio of runs close in time is taken from each
    measurement; the absolute cost is measured once, with the first plain runs.

    Attributes:
        path: The file.
        device: cpu or cuda.
        known: ``{"nequip/n50": {"plain_s": 0.1, "methods": {"taylor": {...}}}}``; of a method,
            ``settings`` (a digest), ``ratio``, or ``failed`` with the reason.
    """

    path: Path
    device: str
    known: dict[str, Any] = field(default_factory=dict)
    _found: dict[str, dict[str, list[float]]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.path.exists():
            self.known = json.loads(self.path.read_text(encoding="utf-8"))

    def lacks(self, place: str, method: str, settings: str) -> bool:
        """Whether a method is still to be measured.

        Args:
            place: Host and size.
            method: Its name.
            settings: Digest of what it was measured with.

        Raises:
            ValueError: It was measured with other settings.
        """
        entry = self.known.get(place, {}).get("methods", {}).get(method)
        if entry is not None and entry["settings"] != settings:
            raise ValueError(
                f"{self.path}: {method}, {place} was measured with other settings; choose another "
                "--output"
            )
        return entry is None

    def epochs(self, place: str, method: str, budget: float) -> int:
        """How many epochs a method can make in a time.

        Args:
            place: Host and size.
            method: Its name.
            budget: Seconds.

        Raises:
            RunFailedError: Its short run failed.
        """
        entry = self.known[place]["methods"][method]
        if "failed" in entry:
            raise RunFailedError(entry["failed"])
        seconds = float(self.known[place]["plain_s"] * entry["ratio"])
        return max(1, round(budget / seconds))

    def jobs(
        self,
        place: str,
        runs: Mapping[str, Callable[[], Run]],
        settings: Mapping[str, str],
        rounds: int,
    ) -> list[Job]:
        """Short trainings of a host at one size: plain and the others in turn, in several rounds.

        Args:
            place: Host and size.
            runs: How each run is made; the reference is among them.
            settings: Digest of each.
            rounds: How often each is measured.
        """
        self._found[place] = {method: [] for method in runs}
        made = []
        for _ in range(rounds):
            for method, make in runs.items():
                finish = partial(self._take, place, method, settings[method])
                made.append(Job(run=make(), expected=25.0, finish=finish))
        return made

    def _take(self, place: str, method: str, settings: str, job: Job) -> None:
        found = self._found[place]
        if not job.failed:
            found[method].append(seconds_an_epoch(job.run, self.device))
            return
        if method == REFERENCE:
            raise RunFailedError(job.failed)
        self._entry(place)[method] = {"settings": settings, "failed": job.failed}

    def _entry(self, place: str) -> dict[str, Any]:
        methods: dict[str, Any] = self.known.setdefault(place, {}).setdefault("methods", {})
        return methods

    def keep(self, place: str, settings: Mapping[str, str]) -> None:
        """Write down what all short trainings of a place have told."""
        found, entries = self._found.pop(place), self._entry(place)
        reference = found[REFERENCE]
        self.known[place].setdefault("plain_s", statistics.mean(reference))
        for method, seconds in found.items():
            if method in entries and "failed" in entries[method]:
                continue
            ratios = [own / plain for own, plain in zip(seconds, reference, strict=True)]
            entries[method] = {
                "settings": settings[method],
                "ratio": statistics.mean(ratios),
                "rounds": ratios,
            }
        write_json(self.path, self.known)
