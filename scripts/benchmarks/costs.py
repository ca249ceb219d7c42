"""What an epoch costs each method, by short runs beside plain ones; kept in costs.json."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

from host_runs import Run

STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 60, 6, 40
"""Optimiser steps of a short run, within these numbers of epochs."""


def known_costs(path: Path) -> dict[str, float | str]:
    """Seconds of an epoch, or why it could not be measured, by a name that says what of."""
    if not path.exists():
        return {}
    found: dict[str, float | str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def measure_costs(
    path: Path,
    plain: str,
    runs: Mapping[str, Callable[[], Run]],
    rounds: int,
    device: str,
    run_all: Callable[[list[Run]], None],
) -> None:
    """Measure what is not known yet, and keep it.

    The machine's speed drifts, so that only the ratio of runs close in time is taken from each
    measurement; the cost of plain training itself is measured once.

    Args:
        path: the file.
        plain: the name of plain training.
        runs: how a short run of each is made, by name, plain training's among them.
        rounds: how often each is measured.
        device: cpu, where seconds are those of the CPU, or cuda.
        run_all: runs them to their ends.

    Raises:
        ValueError: plain training failed, without which nothing can be measured.
    """
    known = known_costs(path)
    wanted = [name for name in runs if name not in known]
    names = list(dict.fromkeys([plain, *wanted]))
    made = [(name, runs[name]()) for _ in range(rounds) for name in names if wanted]
    run_all([run for _, run in made])
    found: dict[str, list[float]] = {name: [] for name in names}
    for name, run in made:
        try:
            found[name].append(seconds_an_epoch(run, device))
        except ValueError as error:
            if name == plain:
                raise
            known[name] = str(error)
    if wanted:
        known.setdefault(plain, statistics.mean(found[plain]))
    for name in (name for name in wanted if name not in known):
        ratios = [own / base for own, base in zip(found[name], found[plain], strict=True)]
        known[name] = float(known[plain]) * statistics.mean(ratios)
    write_json(path, known)


def short_epochs(steps: float) -> int:
    """Epochs of a short run, so many steps being one."""
    return min(max(round(STEPS / max(steps, 1.0)), FEWEST_EPOCHS), MOST_EPOCHS)


def seconds_an_epoch(run: Run, device: str) -> float:
    """Time of an epoch of a short run, without its first one and without outliers.

    On the CPU it is CPU time, of the one thread that a run has: the same as wall-clock on a machine
    with nothing else to do, and no longer beside other work.

    Raises:
        ValueError: it failed, or has written down too few epochs.
    """
    if run.failed:
        raise ValueError(run.failed)
    times = run.times(device)
    lengths = sorted(after - before for before, after in pairwise(times[1:]))
    if len(lengths) < 3:
        raise ValueError(f"{run.label}: expected times of at least 4 epochs, got {len(times) - 1}")
    cut = max(1, len(lengths) // 5)
    return statistics.mean(lengths[cut:-cut])


def write_json(path: Path, content: object) -> None:
    """Write a file in one go, so that an interruption leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
