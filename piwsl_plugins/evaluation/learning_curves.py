"""Learning curves: errors against the number of training frames, one line a method, with spread."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ERRORS = {
    "force_rmse_mev_per_angstrom": "force RMSE (meV/Å)",
    "energy_rmse_mev": "energy RMSE (meV)",
}
"""Columns that are drawn, where any row has them, and what their axes are called."""
COLOURS = (
    "#222222", "#3b6ea8", "#d1661c", "#3a9163", "#a04a7d", "#7a6a2f", "#5aa9c7", "#c03b3b",
    "#8c8c8c", "#6b5bb0",
)  # fmt: skip
MARKERS = "osD^vPX<>*"
_Curves = dict[str, dict[int, list[float]]]


def learning_curves(rows: Iterable[Mapping[str, Any]], *, title: str | None = None) -> Figure:
    """Draw errors against training-set size: a column of panels for each host, rows of errors.

    A line goes through the geometric means over seeds, dots are the single seeds, and a band
    reaches from the lowest to the highest. Where all rows have one size, the methods stand below
    each other instead.

    Args:
        rows: One a trained model and test set: ``host``, ``method``, ``train_size``, ``seed`` and
            the errors ``force_rmse_mev_per_angstrom`` and ``energy_rmse_mev`` (None or empty where
            unknown); perhaps ``test``, each of which has panels of its own, ``budget_s`` (or else
            ``epochs``), the length of training, of which the longest is drawn for each host, and
            ``title``, what the legend calls the method. Numbers may be text, as a CSV reader gives
            them.
        title: Line above the panels.

    Returns:
        The figure, not yet saved.

    Raises:
        ValueError: There is nothing to draw, or one model stands in two rows.
    """
    # late: reading errors needs no matplotlib
    from matplotlib.figure import Figure

    rows = _longest([row for row in rows if any(_number(row.get(name)) for name in ERRORS)])
    if not rows:
        raise ValueError(f"no learning curve to draw: no row has {' or '.join(ERRORS)}")
    _refuse_twins(rows)
    tests = list(dict.fromkeys(str(row.get("test") or "") for row in rows))
    lines = [
        (test, error)
        for test in tests
        for error in ERRORS
        if any(_number(r.get(error)) for r in rows if str(r.get("test") or "") == test)
    ]
    hosts = list(dict.fromkeys(str(row["host"]) for row in rows))
    titles = {str(row["method"]): str(row.get("title") or row["method"]) for row in rows}
    looks = {
        method: (COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)])
        for number, method in enumerate(titles)
    }
    one_size = len({int(row["train_size"]) for row in rows}) == 1
    height = max(2.2, 0.34 * len(titles) + 1.0) if one_size else 3.6
    size = (4.6 * len(hosts) + (1.2 if one_size else 2.6), height * len(lines) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(lines), len(hosts), squeeze=False, sharey="row")
    for column, host in enumerate(hosts):
        for line, (test, error) in enumerate(lines):
            own = [
                row
                for row in rows
                if str(row["host"]) == host and str(row.get("test") or "") == test
            ]
            axes = grid[line, column]
            (_dots if one_size else _lines)(axes, _curves(own, error), looks, titles)
            name = ERRORS[error] if len(tests) == 1 else f"{test}: {ERRORS[error]}"
            _name_axes(axes, name, one_size, first=column == 0)
        grid[0, column].set_title(host, fontsize=11)
    if one_size:
        title = "  ".join(filter(None, (title, f"{rows[0]['train_size']} training frames")))
    else:
        handles = {
            h.get_label(): h for axes in grid.flat for h in axes.get_lines() if h.get_label()
        }
        shown = {name: h for name, h in handles.items() if not name.startswith("_")}
        figure.legend(
            shown.values(), shown.keys(), loc="outside right upper", frameon=False, fontsize=9
        )
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _number(value: object) -> float | None:
    """A positive number, or None."""
    number = float(str(value)) if value not in (None, "") else math.nan
    return number if math.isfinite(number) and number > 0.0 else None


def _longest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of the longest training of each host."""

    def length(row: Mapping[str, Any]) -> float:
        return _number(row.get("budget_s")) or _number(row.get("epochs")) or 0.0

    longest: dict[str, float] = {}
    for row in rows:
        host = str(row["host"])
        longest[host] = max(longest.get(host, 0.0), length(row))
    return [row for row in rows if length(row) == longest[str(row["host"])]]


def _refuse_twins(rows: Sequence[Mapping[str, Any]]) -> None:
    seen = set()
    for row in rows:
        names = ("host", "test", "method", "train_size", "seed")
        key = tuple(str(row.get(name) or "") for name in names)
        if key in seen:
            what = ", ".join(f"{name} {value}" for name, value in zip(names, key, strict=True))
            raise ValueError(
                f"two rows of {what}; draw one data set and one length of training at a time"
            )
        seen.add(key)


def _curves(rows: Sequence[Mapping[str, Any]], error: str) -> _Curves:
    """Errors by method and size, in the rows' order of methods."""
    curves: _Curves = {}
    for row in rows:
        value = _number(row.get(error))
        if value is not None:
            sizes = curves.setdefault(str(row["method"]), {})
            sizes.setdefault(int(row["train_size"]), []).append(value)
    return curves


def _mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _lines(
    axes: Axes,
    curves: _Curves,
    looks: Mapping[str, tuple[str, str]],
    titles: Mapping[str, str],
) -> None:
    axes.set(xscale="log", yscale="log")
    sizes = sorted({size for curve in curves.values() for size in curve})
    for method, curve in curves.items():
        colour, marker = looks[method]
        own = sorted(curve)
        means = [_mean(curve[size]) for size in own]
        axes.plot(own, means, color=colour, marker=marker, markersize=5, label=titles[method])
        low, high = ([end(curve[size]) for size in own] for end in (min, max))
        axes.fill_between(own, low, high, color=colour, alpha=0.12, linewidth=0)
        for size in own:
            values = curve[size]
            axes.scatter([size] * len(values), values, s=7, color=colour, alpha=0.6, linewidths=0)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    _plain_numbers(axes.yaxis)


def _dots(
    axes: Axes,
    curves: _Curves,
    looks: Mapping[str, tuple[str, str]],
    titles: Mapping[str, str],
) -> None:
    axes.set(xscale="log")
    places = {method: -number for number, method in enumerate(titles)}
    for method, curve in curves.items():
        colour, marker = looks[method]
        (values,) = curve.values()
        place = places[method]
        axes.plot([min(values), max(values)], [place, place], color=colour, alpha=0.25, linewidth=7)
        axes.scatter(values, [place] * len(values), s=9, color=colour, alpha=0.7, linewidths=0)
        axes.plot([_mean(values)], [place], color=colour, marker=marker, markersize=6)
    axes.set_yticks(list(places.values()), list(titles.values()))
    axes.grid(axis="x", color="0.9")
    _plain_numbers(axes.xaxis)


def _plain_numbers(axis: Any) -> None:  # noqa: ANN401  matplotlib's axes of either direction
    """Label a logarithmic axis by numbers as people write them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _name_axes(axes: Axes, error: str, one_size: bool, *, first: bool) -> None:
    if one_size:
        axes.set_xlabel(error)
        return
    axes.set_xlabel("training frames")
    axes.grid(color="0.9", which="major")
    if first:
        axes.set_ylabel(error)
