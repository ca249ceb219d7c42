"""Figures of models side by side; one model has one colour, marker and dash in all panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from piwsl_plugins.data.frames import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Told apart by people with the usual kinds of colour blindness (Okabe and Ito)."""
MARKERS, DASHES = "osD^vPX<>*", ("-", "--", ":", "-.")


def looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and dashes of each model or method, to be used in every panel."""
    dashes = [dash for dash in DASHES for _ in COLOURS]
    every = zip(names, cycle(COLOURS), cycle(MARKERS), cycle(dashes), strict=False)
    return {n: {"color": c, "marker": m, "linestyle": d} for n, c, m, d in every}


def _panels(
    count: int, height: float, most: int = 4, *, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with as many panels as wanted; what finds no room in a row follows in threes."""
    from matplotlib.figure import Figure  # which needs neither a display nor global state

    columns = count if count <= most else min(most, 3)
    rows, width = -(-count // columns), 10.0 * columns / max(columns, min(most, 3))
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    grid: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey).flat)
    for axes in grid:
        axes.tick_params(labelsize=8)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
    for unused in grid[count:]:
        unused.remove()
    return figure, grid[:count]


def parity(
    clouds: Mapping[str, Floats], what: str, names: Sequence[str], slopes: Mapping[str, float]
) -> Figure:
    """Predictions against references (by model, shape [2, n]), one panel a model, on one scale.

    Axes are called ``what``; the names of all models decide on the looks; slopes through the origin
    are drawn of the models that have one.
    """
    every = np.concatenate([cloud.ravel() for cloud in clouds.values()])
    margin = 0.05 * np.ptp(every) or 1.0
    span, style = np.array([every.min() - margin, every.max() + margin]), looks(names)
    figure, grid = _panels(len(clouds), 3.0 if len(clouds) == 4 else 3.6)
    for axes, (name, (reference, predicted)) in zip(grid, clouds.items(), strict=True):
        many, look = reference.size > 500, style[name]  # many are drawn as pixels
        axes.plot(span, span, color="0.6", linewidth=1.0, zorder=1)
        axes.scatter(
            reference, predicted, s=6 if many else 14, color=look["color"], marker=look["marker"],
            alpha=float(np.clip(400.0 / reference.size, 0.1, 0.7)), linewidths=0, rasterized=many,
        )  # fmt: skip
        if name in slopes:
            axes.plot(span, slopes[name] * span, color="0.15", dashes=(5, 3), linewidth=1.2)
        axes.set(xlim=span, ylim=span, box_aspect=1.0)
        axes.set(xlabel=f"reference {what}", ylabel=f"predicted {what}")
        slope = f"\nslope {slopes[name]:.3f}" if name in slopes else ""
        axes.set_title(name + slope, fontsize=10)
    return figure


def slope_intervals(found: Mapping[str, Mapping[str, Mapping[str, Any] | None]]) -> Figure:
    """Slopes with their intervals by model, or None, one panel a kind and one line a model."""
    names = list(next(iter(found.values())))
    style = looks(names)
    figure, grid = _panels(len(found), height=0.9 + 0.32 * len(names), sharey=True)
    for axes, (what, of_models) in zip(grid, found.items(), strict=True):
        for row, name in enumerate(reversed(names)):
            if slope := of_models[name]:
                ends = slope["interval"] or [slope["slope"]] * 2
                axes.plot(ends, [row, row], color=style[name]["color"], linewidth=2.0)
                axes.plot(slope["slope"], row, markersize=6, **style[name])
        axes.axvline(1.0, color="0.5", linewidth=1.0, linestyle="--", zorder=0)
        axes.set_ylim(-0.6, len(names) - 0.4)
        n = max(slope["n_frames"] for slope in of_models.values() if slope)
        axes.set_title(f"{what}, n = {n} frames", fontsize=10)
        axes.set_yticks(range(len(names)), list(reversed(names)))
    return figure


def curves(panels: Mapping[str, Mapping[str, tuple[Any, Any]]], across: str) -> Figure:
    """Lines, each the values along both axes, by the label of their panel and by name."""
    figure, grid = _panels(len(panels), height=3.2, most=2)
    for axes, (label, lines) in zip(grid, panels.items(), strict=True):
        for (x, y), (name, look) in zip(lines.values(), looks(list(lines)).items(), strict=True):
            axes.plot(x, y, linewidth=1.4, label=name, markevery=0.1, **look)
        axes.set(xlabel=across, ylabel=label)
        axes.legend(fontsize=8, frameon=False)
    return figure
