"""How far the accuracy benchmark is: each run that goes, and the time that is left for all."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmark_jobs import Job
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from piwsl_plugins.training.display import QUIET_INTERVAL, line, state_of


def campaign(jobs: Sequence[Job], console: Console, at_once: int, title: str) -> None:
    """Run many jobs, some at a time; show those that go, and the time that is left for all.

    A job that fails is told and does not stop the others; an interruption stops all that go.

    Args:
        jobs: What to do, in this order.
        console: Where to show it.
        at_once: How many may go at the same time.
        title: What they are together.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[state]}"),
    )
    waiting, going, ended = list(jobs), list[Job](), list[Job]()
    told = begun = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        total = bars.add_task(title, total=len(jobs), state="")
        tasks: dict[int, TaskID] = {}
        try:
            while waiting or going:
                while waiting and len(going) < at_once:
                    going.append(waiting.pop(0))
                    run = going[-1].run
                    tasks[id(run)] = bars.add_task(run.label, total=run.epochs, state="")
                    going[-1].start()
                time.sleep(0.2)
                for job in [job for job in going if job.poll()]:
                    going.remove(job)
                    ended.append(job)
                    bars.remove_task(tasks.pop(id(job.run)))
                    console.print(_outcome(job), soft_wrap=True, markup=False)
                left = f"{len(ended)}/{len(jobs)}, {_left(waiting, going, ended, at_once, begun)}"
                bars.update(total, completed=len(ended), state=left)
                for job in going:
                    bars.update(tasks[id(job.run)], completed=job.run.epoch + 1, state=_state(job))
                if not console.is_terminal and time.monotonic() - told > QUIET_INTERVAL:
                    told = time.monotonic()
                    states = (f"{job.run.label}: {_state(job)}" for job in going)
                    console.print("; ".join((f"{title} {left}", *states)), soft_wrap=True)
        finally:
            for job in going:
                job.stop()


def _state(job: Job) -> str:
    return "evaluating" if job.trained else line(job.run)


def _outcome(job: Job) -> str:
    run = job.run
    if job.failed:
        return f"{run.label}: FAILED\n{job.failed}"
    return f"{run.label}: {run.epochs} epochs in {run.wall_clock:.0f} s, {state_of(run)}"


def _left(
    waiting: Sequence[Job], going: Sequence[Job], ended: Sequence[Job], at_once: int, begun: float
) -> str:
    """The time that is left, by the guesses and by how far they were right so far."""
    now = time.monotonic()
    rest = [max(job.expected - (now - job.begun), 1.0) for job in going]
    rest += [job.expected for job in waiting]
    factor = 1.0
    if ended:
        guessed = sum(job.expected for job in ended) + sum(now - job.begun for job in going)
        factor = (now - begun) * at_once / guessed
    minutes = max(sum(rest) * factor / at_once, max(rest, default=0.0)) / 60.0
    return f"about {minutes / 60:.1f} h left" if minutes > 90 else f"about {minutes:.0f} min left"
