"""Figures for people; needs matplotlib, and neither a display nor a global state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from piwsl_plugins.evaluation.comparison import Comparison
from piwsl_plugins.evaluation.summary import Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Above this many force components a panel shows their density instead of single points.
MANY_COMPONENTS = 3000
#: More panels than these stand in two columns.
MOST_IN_ONE_ROW = 3
BLUE, ORANGE = "#3b6ea8", "#d1661c"


def _caption(summary: Summary) -> str:
    lines = [f"force RMSE  {summary.force_rmse_mev_per_angstrom:.0f} meV/Å"]
    if summary.softening is not None:
        slope = f"slope  {summary.softening.slope:.3f}"
        if summary.softening.interval is not None:
            low, high = summary.softening.interval
            slope += f"  (95 %: {low:.3f} – {high:.3f})"
        lines.append(slope)
    if summary.energy_rmse_mev is not None:
        lines.append(f"energy RMSE  {summary.energy_rmse_mev:.1f} meV")
    return "\n".join(lines)


def _panel(axes: Axes, comparison: Comparison, limit: float) -> None:
    from matplotlib.colors import LogNorm

    predicted, reference = (forces.ravel() for forces in comparison.labelled_forces)
    span = np.array([-limit, limit])
    axes.plot(span, span, color="0.55", linewidth=1.0, label="predicted = reference", zorder=1)
    if reference.size > MANY_COMPONENTS:
        axes.hexbin(
            reference,
            predicted,
            gridsize=70,
            extent=(-limit, limit, -limit, limit),
            norm=LogNorm(vmin=0.2),  # below one count, so that a single point is still seen
            mincnt=1,
            cmap="Blues",
            linewidths=0.0,
            zorder=2,
        )
    else:
        alpha = float(np.clip(200.0 / reference.size, 0.15, 0.7))
        axes.scatter(reference, predicted, s=16, color=BLUE, alpha=alpha, linewidths=0, zorder=2)
    summary = summarise(comparison)
    if summary.softening is not None:
        axes.plot(
            span,
            summary.softening.slope * span,
            color=ORANGE,
            linewidth=1.4,
            linestyle=(0, (5, 3)),
            label="slope through the origin",
            zorder=3,
        )
    axes.text(0.04, 0.96, _caption(summary), transform=axes.transAxes, va="top", fontsize=9)
    axes.set(xlim=span, ylim=span, box_aspect=1.0)
    axes.legend(loc="lower right", frameon=False, fontsize=8)


def force_parity(comparisons: Mapping[str, Comparison], *, title: str | None = None) -> Figure:
    """Draw predicted against reference force components, one panel a model, on one scale.

    Up to three panels stand side by side, more of them in two columns.

    Args:
        comparisons: Predictions and labels by the name that the panel shall bear, in
            eV/angstrom. Atoms without a force label are left out.
        title: Line above the panels.

    Returns:
        The figure, not yet saved.

    Raises:
        ValueError: There is no model, or one that has no force label to be compared with.
    """
    # late: reading errors needs no matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not comparisons:
        raise ValueError("no model to draw")
    largest = 0.0
    for name, comparison in comparisons.items():
        predicted, reference = comparison.labelled_forces
        if reference.size == 0:
            raise ValueError(f"'{name}' has no reference forces to be compared with")
        largest = max(largest, float(np.abs(predicted).max()), float(np.abs(reference).max()))
    limit = 1.06 * largest if largest > 0.0 else 1.0
    columns = len(comparisons) if len(comparisons) <= MOST_IN_ONE_ROW else 2
    rows = -(-len(comparisons) // columns)
    # a tenth of an inch, so that titles keep off the panels above
    layout = ConstrainedLayoutEngine(compress=True, h_pad=0.1 if rows > 1 else None)
    figure = Figure(figsize=(4.4 * columns + 0.4, 4.5 * rows + 0.7), layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    panels = list(grid.flat)
    for unused in panels[len(comparisons) :]:
        unused.remove()
        panels[len(comparisons) - columns].tick_params(labelbottom=True)
    for number, (name, comparison) in enumerate(comparisons.items()):
        axes = panels[number]
        _panel(axes, comparison, limit)
        axes.set_title(name, fontsize=11)
        if number % columns == 0:
            axes.set_ylabel("predicted force (eV/Å)")
        if number >= len(comparisons) - columns:
            axes.set_xlabel("reference force (eV/Å)")
    if title is not None:
        figure.suptitle(title, fontsize=11)
    return figure


def save(figure: Figure, path: Path, *, dpi: int = 160) -> Path:
    """Write a figure to a file, making its folder where needed.

    Args:
        figure: What to write.
        path: File name; its suffix decides the format.
        dpi: Resolution of pixel formats.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path
