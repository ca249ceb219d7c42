"""Learning curves: errors against the number of training frames, one line a method, with spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from summary import ENERGIES, FORCES

from piwsl_plugins.evaluation.figures import looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ERRORS = {FORCES: "force RMSE (meV/Å)", ENERGIES: "energy RMSE (meV)"}


def learning_curves(table: pd.DataFrame, title: str) -> Figure:
    """Draw errors against training-set size: a column of panels for each host, rows of errors.

    A line goes through the geometric means over seeds, dots are the single seeds, and a band
    reaches from the lowest to the highest.

    Args:
        table: a row a trained model and test set: ``host``, ``test``, ``title`` of the method,
            ``train_size``, ``seed``, ``test_frames`` and the errors, NaN where unknown.
        title: line above the panels.
    """
    from matplotlib.figure import Figure

    style = looks(list(dict.fromkeys(table["title"])))
    hosts, sizes = list(table["host"].unique()), sorted(table["train_size"].unique())
    lines = [
        (test, error)
        for test, own in table.groupby("test", sort=False)
        for error in ERRORS
        if own[error].notna().any()
    ]
    size = (4.6 * len(hosts) + 2.6, 3.6 * len(lines) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(lines), len(hosts), squeeze=False, sharex=True, sharey="row")
    for row, (test, error) in zip(grid, lines, strict=True):
        for host, axes in zip(hosts, row, strict=True):
            own = table[(table["test"] == test) & (table["host"] == host)].dropna(subset=[error])
            _panel(axes, own, error, style)
        row[0].set_ylabel(f"{test}: {ERRORS[error]}")
    for host, top, bottom in zip(hosts, grid[0], grid[-1], strict=True):
        top.set_title(host, fontsize=11)
        bottom.set_xlabel("training frames")
        bottom.set_xticks(sizes, [str(size) for size in sizes])
    drawn = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    handles = [drawn[name] for name in style if name in drawn]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    seeds = table.groupby(["host", "title", "train_size"])["seed"].nunique()
    counts = {"training frames": table["train_size"], "test frames": table["test_frames"]}
    text = ", ".join(_range(found, what) for what, found in {**counts, "seeds": seeds}.items())
    text += "; bands reach from the lowest to the highest seed"
    figure.supxlabel(text, fontsize=9, color="0.35")
    return figure


def _panel(
    axes: Axes, table: pd.DataFrame, error: str, style: Mapping[str, Mapping[str, Any]]
) -> None:
    """One host and one kind of error."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for name, own in table.groupby("title", sort=False):
        look, at_size = style[name], np.log(own[error]).groupby(own["train_size"])
        means, low, high = (np.exp(at_size.agg(end)) for end in ("mean", "min", "max"))
        axes.plot(means.index, means, markersize=5, label=name, **look)
        axes.fill_between(means.index, low, high, color=look["color"], alpha=0.12, linewidth=0)
        axes.scatter(own["train_size"], own[error], s=7, color=look["color"], alpha=0.6)
    axes.set(xscale="log", yscale="log")
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes.grid(color="0.9")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _range(numbers: pd.Series, what: str) -> str:
    ends = sorted({int(numbers.min()), int(numbers.max())})
    return f"{' to '.join(map(str, ends))} {what}"
