"""Every figure of the report can be drawn for any number of models, and keeps within its edges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from piwsl_plugins.evaluation import report_figures as draw
from piwsl_plugins.evaluation.report import picture
from piwsl_plugins.evaluation.training_logs import TrainingLog

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def clouds(models: int, points: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=points)
    return {f"model {n}": (reference, reference + rng.normal(size=points)) for n in range(models)}


def check(figure: Figure) -> None:
    """Everything lies within the figure."""
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > -0.01


@pytest.mark.parametrize("models", [1, 2, 4, 5, 9])
def test_any_number_of_models_is_drawn_on_one_scale(models: int) -> None:
    figure = draw.parity(clouds(models, 50), "force (eV/Å)", {"model 0": 0.5})
    assert len(figure.axes) == models
    assert len({axes.get_xlim() + axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.axes[0].texts[0].get_text() == "slope 0.500"
    check(figure)


def test_a_dense_cloud_is_drawn_as_pixels_and_stays_small() -> None:
    many = picture(draw.parity(clouds(1, 50_000), "force", {}), "", "")
    assert many.source.startswith("data:image/svg+xml;base64,")
    assert len(many.source) < 500_000


def test_strays_stand_in_the_last_bar() -> None:
    (reference, predicted), *_ = clouds(1, 1000).values()
    predicted[0] += 1e6
    figure = draw.error_histograms([("error (meV)", {"one": (reference, predicted)})])
    (outline,) = figure.axes[0].patches
    assert np.abs(outline.get_xy()[:, 0]).max() < 100
    check(figure)


def test_models_without_a_slope_leave_their_line_empty() -> None:
    found = {
        "forces": {"one": {"slope": 0.9, "interval": (0.8, 1.0)}, "two": None},
        "curvature": {"one": {"slope": 0.9, "interval": None}, "two": None},
    }
    figure = draw.slopes(found)
    assert [axes.get_title() for axes in figure.axes] == ["forces", "curvature"]
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]  # interval, point and the one
    check(figure)


def test_energies_over_time_and_training_curves_are_drawn() -> None:
    times = np.linspace(0.0, 1.0, 20)
    check(draw.nve_energies({"one": (times, 1e-3 * np.sin(times)), "two": (times, 0 * times)}))
    curve = ([0.0, 1.0, 2.0], [3.0, 2.0, 1.0])
    log = TrainingLog(path=Path("x"), loss={"loss": curve}, weighted=False, validation={})
    figure = draw.training_curves(log)
    assert figure.axes[0].get_title() == "training loss, terms without coefficients"
    assert figure.axes[0].get_yscale() == "log"
    check(figure)
