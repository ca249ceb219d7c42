"""How many trajectories last how long, one line a model or the models of one name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#3b6ea8", "#d1661c", "#3f8f4f", "#8a4fa3", "#b03a48", "#5f6b73")
Floats = NDArray[np.float64]


def survival(records: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats]:
    """Share of trajectories that still run, against time.

    Args:
        records: With ``time``, ps, and ``reason``, None for those that did not explode.

    Returns:
        Times, ps, from 0 to the longest, and the share after each, from 1.
    """
    ended = sorted(float(record["time"]) for record in records if record["reason"] is not None)
    longest = max(float(record["time"]) for record in records)
    left = 1.0 - np.arange(len(ended) + 1) / len(records)
    return np.array([0.0, *ended, longest]), np.array([*left, left[-1]])


def name_of(record: Mapping[str, Any]) -> str:
    """Name of the model, without the number of its training, as in ``plain#1``."""
    return str(record["model"]).partition("#")[0]


def table(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Rows of a table in Markdown: how many trajectories end, and the median time, ps.

    Args:
        records: As of ``trajectories.jsonl``.
    """
    yield "| model | ensemble | temperature (K) | ran to the end | median time (ps) |"
    yield "| --- | --- | --- | --- | --- |"
    rows: dict[tuple[str, float, str], list[Mapping[str, Any]]] = {}
    for record in records:
        place = (record["ensemble"], record["temperature"], name_of(record))
        rows.setdefault(place, []).append(record)
    for (ensemble, temperature, name), own in sorted(rows.items(), key=lambda row: row[0][:2]):
        ended = sum(record["reason"] is None for record in own)
        time = median(record["time"] for record in own)
        yield (
            f"| {name} | {ensemble.upper()} | {temperature:.0f} "
            f"| {ended} of {len(own)} | {time:.2f} |"
        )


def draw(records: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw a panel for each ensemble and temperature.

    Args:
        records: As of ``trajectories.jsonl``.
    """
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(name_of(record) for record in records))
    ensembles = sorted({record["ensemble"] for record in records})
    temperatures = sorted({record["temperature"] for record in records})
    size = (3.0 * len(temperatures) + 0.8, 2.4 * len(ensembles) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(
        len(ensembles), len(temperatures), squeeze=False, sharex=True, sharey=True
    )
    for row, ensemble in zip(grid, ensembles, strict=True):
        for axes, temperature in zip(row, temperatures, strict=True):
            chosen = [
                record
                for record in records
                if (record["ensemble"], record["temperature"]) == (ensemble, temperature)
            ]
            _panel(axes, chosen, models)
            axes.set_title(f"{ensemble.upper()}, {temperature:.0f} K", fontsize=10)
        row[0].set_ylabel("still running")
    grid[0][0].set_xlim(0.0, 1.02 * max(record["time"] for record in records))
    for axes in grid[-1]:
        axes.set_xlabel("time (ps)")
    lines, labels = grid[0][0].get_legend_handles_labels()
    rows = -(-len(models) // (2 * len(temperatures) + 1))
    columns = -(-len(models) // rows)  # of even length
    figure.legend(lines, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _panel(axes: Axes, records: Sequence[Mapping[str, Any]], models: Sequence[str]) -> None:
    for number, model in enumerate(models):
        own = [record for record in records if name_of(record) == model]
        if own:
            times, share = survival(own)
            # lines that lie on each other must all be seen
            axes.step(
                times,
                share - 0.012 * number,
                where="post",
                color=COLOURS[number % len(COLOURS)],
                linestyle=("-", (0, (4, 2)))[number // len(COLOURS) % 2],
                label=model,
            )
    axes.set_ylim(-0.06, 1.04)
    axes.grid(alpha=0.2)
