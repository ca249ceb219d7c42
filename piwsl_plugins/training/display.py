"""How far training runs are: bars in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from piwsl_plugins.training.runs import Run, started

#: Seconds between two lines where the output is no terminal.
QUIET_INTERVAL = 30.0


def train(
    runs: Sequence[Run],
    console: Console,
    at_once: int = 2,
    ended: Callable[[Run], object] = lambda run: None,
) -> None:
    """Run all, some at a time, and show epoch and validation error of each.

    Args:
        runs: What to train, in this order; none of them started yet.
        console: Where to show it.
        at_once: How many may run at the same time.
        ended: Told of each run that has ended well, at once.

    Raises:
        RunFailedError: A run failed; the others were stopped.
    """
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=20),
        TextColumn("epoch {task.completed:>4.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with (
        started(runs, at_once),
        Progress(*columns, console=console, disable=not console.is_terminal) as bars,
    ):
        tasks = {
            run.label: bars.add_task(run.label, total=run.epochs, state="waiting", start=False)
            for run in runs
        }
        for running in _until_all_end(runs, console, at_once, ended):
            for run in runs:
                if run in running or run.wall_clock:
                    bars.start_task(tasks[run.label])
                    done = run.epochs if run.wall_clock else run.epoch + 1
                    bars.update(tasks[run.label], completed=done, state=state_of(run))
                if run.wall_clock:
                    bars.stop_task(tasks[run.label])


def _until_all_end(
    runs: Sequence[Run], console: Console, at_once: int, ended: Callable[[Run], object]
) -> Iterator[list[Run]]:
    told = time.monotonic()
    running, waiting = list(runs[:at_once]), list(runs[at_once:])
    while running:
        time.sleep(0.5)
        still = []
        for run in running:
            if run.poll():
                ended(run)
            else:
                still.append(run)
        for run in waiting[: at_once - len(still)]:
            run.start()
            waiting.remove(run)
            still.append(run)
        some_ended = any(run not in still for run in running)
        running = still
        now = time.monotonic()
        if not console.is_terminal and (now - told > QUIET_INTERVAL or some_ended):
            told = now
            lines = (f"{run.label}: {line(run)}" for run in runs if run not in waiting)
            console.print("; ".join(lines), soft_wrap=True, markup=False)
        yield running


def line(run: Run) -> str:
    """How far a run is: its epoch and its last validation error."""
    how_far = "done" if run.wall_clock else f"epoch {run.epoch + 1}/{run.epochs}"
    return f"{how_far}, {state_of(run)}"


def state_of(run: Run) -> str:
    """The last validation error of a run."""
    if not run.validation:
        return "starting"
    return f"validation error {1000.0 * run.validation[-1]:.1f} meV"
