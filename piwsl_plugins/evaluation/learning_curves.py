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
            ``epochs``), the length of training, of which the longest is drawn for each host and
            size, and ``title``, what the legend calls the method. Numbers may be text, as a CSV
            reader gives them.
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
    tests = list(dict.fromkeys(_test(row) for row in rows))
    lines = [
        (test, error)
        for test in tests
        for error in ERRORS
        if any(_number(row.get(error)) for row in rows if _test(row) == test)
    ]
    hosts = list(dict.fromkeys(str(row["host"]) for row in rows))
    titles = {str(row["method"]): str(row.get("title") or row["method"]) for row in rows}
    sizes = {int(row["train_size"]) for row in rows}
    height = max(2.2, 0.34 * len(titles) + 1.0) if len(sizes) == 1 else 3.6
    inches = (4.6 * len(hosts) + (1.2 if len(sizes) == 1 else 2.6), height * len(lines) + 0.6)
    figure = Figure(figsize=inches, layout="constrained")
    grid = figure.subplots(len(lines), len(hosts), squeeze=False, sharey="row")
    for line, (test, error) in enumerate(lines):
        shown = [row for row in rows if _test(row) == test]
        name = ERRORS[error] if len(tests) == 1 else f"{test}: {ERRORS[error]}"
        if len(sizes) > 1:
            span = _span(row.get(error) for row in shown)
            grid[line, 0].set(yscale="log", ylim=span, ylabel=name)
        for host, axes in zip(hosts, grid[line], strict=True):
            curves = _curves([row for row in shown if str(row["host"]) == host], error)
            _panel(axes, curves, titles, sizes, name)
    for host, axes in zip(hosts, grid[0], strict=True):
        axes.set_title(host, fontsize=11)
    if len(sizes) > 1:
        _legend(figure)
    figure.suptitle(title or "", fontsize=11)
    return figure


def _legend(figure: Figure) -> None:
    handles = {str(line.get_label()): line for axes in figure.axes for line in axes.get_lines()}
    figure.legend(
        handles.values(), handles.keys(), loc="outside right upper", frameon=False, fontsize=9
    )


def _test(row: Mapping[str, Any]) -> str:
    return str(row.get("test") or "")


def _span(values: Iterable[object]) -> tuple[float, float]:
    """Ends of a logarithmic axis with all values inside."""
    found = [number for number in map(_number, values) if number is not None]
    return min(found) / 1.15, max(found) * 1.15


def _number(value: object) -> float | None:
    """A positive number, or None."""
    number = float(str(value)) if value not in (None, "") else math.nan
    return number if math.isfinite(number) and number > 0.0 else None


def _longest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of the longest training of each host on each number of frames."""

    def length(row: Mapping[str, Any]) -> float:
        return _number(row.get("budget_s")) or _number(row.get("epochs")) or 0.0

    def place(row: Mapping[str, Any]) -> tuple[str, str]:
        return str(row["host"]), str(row["train_size"])

    longest: dict[tuple[str, str], float] = {}
    for row in rows:
        longest[place(row)] = max(longest.get(place(row), 0.0), length(row))
    return [row for row in rows if length(row) == longest[place(row)]]


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


def _panel(
    axes: Axes, curves: _Curves, titles: Mapping[str, str], sizes: set[int], name: str
) -> None:
    """One host and one kind of error, by the sizes, or by the methods where there is one size."""
    looks = {
        method: {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        for number, method in enumerate(titles)
    }
    if len(sizes) > 1:
        axes.set(xscale="log", xlabel="training frames")
        axes.set_xlim(_span(sizes))
        for method, curve in curves.items():
            _line(axes, curve, looks[method], titles[method])
        axes.set_xticks(sorted(sizes), [str(size) for size in sorted(sizes)])
        axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        axes.grid(color="0.9")
        _plain_numbers(axes.yaxis)
        return
    (size,) = sizes
    axes.set_xlabel(f"{name}, {size} training frames")
    places = {method: -number for number, method in enumerate(titles)}
    values = [value for curve in curves.values() for value in curve[size]]
    if values:
        axes.set_xlim(0.0, 1.08 * max(values))
    for method, curve in curves.items():
        _dots(axes, curve[size], places[method], looks[method])
    axes.set_yticks(list(places.values()), list(titles.values()))
    axes.set_ylim(-len(places) + 0.4, 0.6)
    axes.grid(axis="x", color="0.9")


def _line(
    axes: Axes, curve: Mapping[int, Sequence[float]], look: Mapping[str, Any], title: str
) -> None:
    sizes = sorted(curve)
    axes.plot(sizes, [_mean(curve[size]) for size in sizes], markersize=5, label=title, **look)
    low, high = ([end(curve[size]) for size in sizes] for end in (min, max))
    axes.fill_between(sizes, low, high, color=look["color"], alpha=0.12, linewidth=0)
    for size in sizes:
        values = curve[size]
        places = [size] * len(values)
        axes.scatter(places, values, s=7, color=look["color"], alpha=0.6, linewidths=0)


def _dots(axes: Axes, values: Sequence[float], place: float, look: Mapping[str, Any]) -> None:
    colour = look["color"]
    axes.plot([min(values), max(values)], [place, place], color=colour, alpha=0.25, linewidth=7)
    axes.scatter(values, [place] * len(values), s=9, color=colour, alpha=0.7, linewidths=0)
    axes.plot([_mean(values)], [place], markersize=6, **look)


def _plain_numbers(axis: Any) -> None:  # noqa: ANN401  matplotlib's axes of either direction
    """Label a logarithmic axis by numbers as people write them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0, 7.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
