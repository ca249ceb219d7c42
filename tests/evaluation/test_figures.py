"""Any number of models is drawn, within the edges, each model always looking alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from piwsl_plugins.evaluation import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def clouds(models: int, points: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=points)
    noise = rng.normal(size=(models, points))
    return {f"m{n}": np.array([reference, reference + noise[n]]) for n in range(models)}


def check(figure: Figure) -> None:
    """Everything lies within the figure."""
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > -0.01


@pytest.mark.parametrize("models", [1, 3, 4, 5])
def test_any_number_of_models_is_drawn_on_one_scale(models: int) -> None:
    shown = clouds(models, 50)
    figure = figures.parity(shown, "force (eV/Å)", list(shown), {"m0": 0.5})
    assert len(figure.axes) == models
    assert len({axes.get_xlim() + axes.get_ylim() for axes in figure.axes}) == 1
    assert figure.axes[0].get_title() == "m0\nslope 0.500"
    check(figure)


def test_a_model_keeps_its_colour_where_another_has_nothing_to_show() -> None:
    names, shown = ["m0", "m1", "m2"], {"m2": clouds(3, 20)["m2"]}
    (dots,) = figures.parity(shown, "force", names, {}).axes[0].collections
    colour = to_rgb(figures.looks(names)["m2"]["color"])
    assert to_rgb(dots.get_facecolor()[0][:3]) == pytest.approx(colour)


def test_models_without_a_slope_leave_their_line_empty() -> None:
    found = {
        "forces": {"one": {"slope": 0.9, "interval": [0.8, 1.0], "n_frames": 9}, "two": None},
        "curvature": {"one": {"slope": 0.9, "interval": None, "n_frames": 1}, "two": None},
    }
    figure = figures.slope_intervals(found)
    assert [axes.get_title() for axes in figure.axes] == [
        "forces, n = 9 frames",
        "curvature, n = 1 frames",
    ]
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]  # interval, point and the one
    check(figure)
