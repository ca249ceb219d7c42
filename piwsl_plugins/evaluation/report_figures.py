"""The report's figures: several models side by side, each drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from piwsl_plugins.evaluation.comparison import Comparison, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from piwsl_plugins.evaluation.training_logs import Curve, TrainingLog

#: Colours that people with the usual kinds of colour blindness tell apart (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
DASHES = ("-", "--", ":", "-.")
#: Above this many points a cloud is drawn as pixels.
MANY = 500
#: Inches: of a figure that fills the page, and above each row of panels.
WIDTH, ROW_GAP = 10.0, 0.12


def _grid(count: int, *, height: float, most: int = 4) -> tuple[Figure, list[Axes]]:
    """A figure with as many panels as wanted; what finds no room in a row follows in threes."""
    # late: reading numbers needs no matplotlib
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = count if count <= most else min(most, 3)
    rows = -(-count // columns)
    width = WIDTH * columns / max(columns, min(most, 3))
    layout = ConstrainedLayoutEngine(h_pad=ROW_GAP)
    figure = Figure(figsize=(width, height * rows), layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False)
    panels: list[Axes] = list(grid.flat)
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def _is_leftmost(axes: Axes) -> bool:
    place = axes.get_subplotspec()
    return place is not None and place.is_first_col()


def _styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and dashes of each model, the same in every figure."""
    dashes = [dash for dash in DASHES for _ in COLOURS]
    pairs = zip(names, cycle(COLOURS), cycle(dashes), strict=False)
    return {name: {"color": colour, "linestyle": dash} for name, colour, dash in pairs}


def _parity_panel(
    axes: Axes,
    cloud: tuple[Floats, Floats],
    span: Floats,
    style: Mapping[str, Any],
    slope: float | None,
) -> None:
    reference, predicted = cloud
    axes.plot(span, span, color="0.6", linewidth=1.0, zorder=1)
    axes.scatter(
        reference,
        predicted,
        s=12 if reference.size < MANY else 4,
        color=style["color"],
        alpha=float(np.clip(400.0 / reference.size, 0.1, 0.7)),
        linewidths=0,
        rasterized=reference.size > MANY,
        zorder=2,
    )
    if slope is not None:
        axes.plot(span, slope * span, color="0.15", linewidth=1.2, dashes=(5, 3), zorder=3)
        axes.text(
            *(0.04, 0.96, f"slope {slope:.3f}"),
            transform=axes.transAxes,
            va="top",
            fontsize=9,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5},
        )
    axes.set(xlim=span, ylim=span, box_aspect=1.0)


def parity(
    clouds: Mapping[str, tuple[Floats, Floats]], what: str, slopes: Mapping[str, float | None]
) -> Figure:
    """Predicted against reference values, one panel a model, on one scale.

    Args:
        clouds: Reference and predicted values by model, one-dimensional.
        what: Quantity and unit, for the axes.
        slopes: Slope through the origin by model, drawn where there is one.
    """
    styles = _styles(list(clouds))
    everything = np.concatenate([values for cloud in clouds.values() for values in cloud])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.05 * (high - low) or 1.0
    span = np.array([low - margin, high + margin])
    figure, panels = _grid(len(clouds), height=3.6 if len(clouds) != 4 else 3.0)
    for axes, (name, cloud) in zip(panels, clouds.items(), strict=True):
        _parity_panel(axes, cloud, span, styles[name], slopes.get(name))
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(f"reference {what}", fontsize=9)
        axes.tick_params(labelsize=8)
        if _is_leftmost(axes):
            axes.set_ylabel(f"predicted {what}", fontsize=9)
    return figure


def energy_cloud(comparison: Comparison) -> tuple[Floats, Floats] | None:
    """Energies per atom less the mean of the references, meV/atom, or None without labels."""
    labelled = comparison.has_energy
    if not labelled.any():
        return None
    atoms = comparison.n_atoms[labelled]
    reference = comparison.reference_energies[labelled] / atoms
    zero = reference.mean()
    predicted = comparison.energies[labelled] / atoms
    return 1000.0 * (reference - zero), 1000.0 * (predicted - zero)


def force_cloud(comparison: Comparison) -> tuple[Floats, Floats] | None:
    """Force components, eV/angstrom, or None without labels."""
    predicted, reference = comparison.labelled_forces
    return (reference.ravel(), predicted.ravel()) if reference.size else None


def error_histograms(
    clouds: Sequence[tuple[str, Mapping[str, tuple[Floats, Floats]]]],
) -> Figure:
    """Distributions of predicted less reference values, all models in each panel.

    Args:
        clouds: For each panel its label, and reference and predicted values by model.
    """
    figure, panels = _grid(len(clouds), height=3.0, most=2)
    for axes, (label, of_models) in zip(panels, clouds, strict=True):
        styles = _styles(list(of_models))
        differences = {name: predicted - ref for name, (ref, predicted) in of_models.items()}
        everything = np.concatenate(list(differences.values()))
        count = int(np.clip(2.0 * (everything.size / len(differences)) ** (1 / 3), 8, 60))
        # a few strays must not squeeze all others into one bar
        edge = float(np.quantile(np.abs(everything), 0.998)) or 1.0
        bins = np.linspace(-edge, edge, count + 1)
        for name, difference in differences.items():
            inside = np.clip(difference, -edge, edge)
            axes.hist(
                inside,
                bins=bins.tolist(),
                histtype="step",
                linewidth=1.4,
                label=name,
                **styles[name],
            )
        axes.axvline(0.0, color="0.6", linewidth=0.8, zorder=0)
        axes.set_xlabel(label, fontsize=9)
        axes.set_ylabel("count", fontsize=9)
        axes.tick_params(labelsize=8)
    _legend(figure, panels[0])
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    """One legend above all panels, where no line can cross it."""
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, min(6, 110 // (8 + max(len(label) for label in labels))))
    figure.legend(
        handles, labels, loc="outside upper left", ncols=columns, frameon=False, fontsize=8
    )


def slopes(found: Mapping[str, Mapping[str, Mapping[str, Any] | None]]) -> Figure:
    """Slopes with their intervals, one panel a kind and one line a model.

    Args:
        found: Slopes (slope, interval) by model, by what they are of; None where there is none.
    """
    names = list(next(iter(found.values())))
    styles = _styles(names)
    figure, panels = _grid(len(found), height=0.9 + 0.32 * len(names))
    for axes, (what, of_models) in zip(panels, found.items(), strict=True):
        for row, name in enumerate(reversed(names)):
            slope = of_models[name]
            if slope is None:
                continue
            low, high = slope["interval"] or (slope["slope"], slope["slope"])
            colour = styles[name]["color"]
            axes.plot([low, high], [row, row], color=colour, linewidth=2.0)
            axes.plot(slope["slope"], row, "o", color=colour, markersize=6)
        axes.axvline(1.0, color="0.5", linewidth=1.0, linestyle="--", zorder=0)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_title(what, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.set_yticks(range(len(names)), list(reversed(names)))
        axes.tick_params(labelleft=_is_leftmost(axes))
    return figure


def nve_energies(trajectories: Mapping[str, tuple[Floats, Floats]]) -> Figure:
    """Total energy against time, faint, and its running mean over a twentieth of the time.

    Args:
        trajectories: Times, ps, and energies less the first, eV per atom, by model.
    """
    figure, (axes,) = _grid(1, height=3.0, most=1)
    for name, (times, energies) in trajectories.items():
        style = _styles(list(trajectories))[name]
        axes.plot(times, 1000.0 * energies, linewidth=0.6, alpha=0.35, color=style["color"])
        window = len(times) // 20 + 1
        mean = np.convolve(energies, np.full(window, 1.0 / window), mode="valid")
        shown = times[window // 2 :][: len(mean)]
        axes.plot(shown, 1000.0 * mean, linewidth=1.8, label=name, **style)
    axes.set_xlabel("time (ps)", fontsize=9)
    axes.set_ylabel("E − E(0) (meV/atom)", fontsize=9)
    axes.tick_params(labelsize=8)
    _legend(figure, axes)
    return figure


def training_curves(log: TrainingLog) -> Figure:
    """Terms of the training loss, and validation errors, of one model.

    Args:
        log: What its host wrote.
    """
    sides: list[tuple[str, Mapping[str, Curve]]] = [
        ("training loss" + ("" if log.weighted else ", terms without coefficients"), log.loss),
        ("validation error", log.validation),
    ]
    drawn = [(title, curves) for title, curves in sides if curves]
    figure, panels = _grid(len(drawn), height=3.2, most=2)
    for axes, (title, curves) in zip(panels, drawn, strict=True):
        for (name, (epochs, values)), style in zip(
            curves.items(), _styles(list(curves)).values(), strict=True
        ):
            marker = "." if len(epochs) < 3 else ""
            axes.plot(epochs, values, linewidth=1.2, label=name, marker=marker, **style)
        if all(value > 0.0 for _, values in curves.values() for value in values):
            axes.set_yscale("log")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.legend(fontsize=8, frameon=False)
    return figure
