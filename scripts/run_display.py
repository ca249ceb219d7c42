"""How far runs of ``mace_run_train`` are: bars in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from mace_runs import MaceRun, started
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

#: Seconds between two lines where the output is no terminal.
QUIET_INTERVAL = 30.0


def train(runs: Sequence[MaceRun], epochs: int, console: Console) -> None:
    """Run all, side by side, and show epoch and validation error of each.

    Args:
        runs: What to train; none of them started yet.
        epochs: Number of epochs of each.
        console: Where to show it.

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
        started(runs),
        Progress(*columns, console=console, disable=not console.is_terminal) as bars,
    ):
        tasks = {run.label: bars.add_task(run.label, total=epochs, state="") for run in runs}
        for running in _until_all_end(runs, console):
            for run in runs:
                done = max(run.epoch, 0) if run in running else epochs
                bars.update(tasks[run.label], completed=done, state=_state(run))
                if run not in running:
                    bars.stop_task(tasks[run.label])


def _until_all_end(runs: Sequence[MaceRun], console: Console) -> Iterator[list[MaceRun]]:
    told = time.monotonic()
    running = list(runs)
    while running:
        time.sleep(0.5)
        running = [run for run in running if not run.poll()]
        now = time.monotonic()
        if not console.is_terminal and (now - told > QUIET_INTERVAL or not running):
            told = now
            lines = (f"{run.label}: epoch {max(run.epoch, 0)}, {_state(run)}" for run in runs)
            console.print("; ".join(lines), soft_wrap=True, markup=False)
        yield running


def _state(run: MaceRun) -> str:
    if run.validation_rmse is None:
        return "starting"
    return f"validation error {1000.0 * run.validation_rmse:.1f} meV"
