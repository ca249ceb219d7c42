"""The parity figure: one panel a model, one scale, the slope in words."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from piwsl_plugins.evaluation import Comparison
from piwsl_plugins.evaluation.figures import MANY_COMPONENTS, force_parity, save


def model(slope: float, atoms: int, *, labelled: bool = True) -> Comparison:
    rng = np.random.default_rng(1)
    reference = 2.0 * rng.normal(size=(2 * atoms, 3))
    return Comparison(
        n_atoms=np.array([atoms, atoms]),
        energies=np.zeros(2),
        reference_energies=np.array([0.01, -0.01]),
        forces=slope * reference + 0.2 * rng.normal(size=reference.shape),
        reference_forces=reference if labelled else np.full_like(reference, np.nan),
    )


def test_panels_share_one_scale_and_print_the_slope(tmp_path: Path) -> None:
    figure = force_parity({"plain": model(1.0, 20), "soft": model(0.5, 20)}, title="two models")
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim() == first.get_ylim()
    assert [axes.get_title() for axes in figure.axes] == ["plain", "soft"]
    assert re.search(r"slope  0\.(49|50)\d", second.texts[0].get_text())
    assert "eV/Å" in first.get_xlabel()
    path = save(figure, tmp_path / "new" / "parity.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_many_points_become_a_density() -> None:
    few, many = force_parity({"few": model(1.0, 20)}), force_parity({"many": model(1.0, 2000)})
    assert model(1.0, 2000).forces.size > MANY_COMPONENTS
    assert type(few.axes[0].collections[0]).__name__ == "PathCollection"
    assert type(many.axes[0].collections[0]).__name__ == "PolyCollection"


def test_four_panels_stand_in_two_rows_with_labels_outside_alone() -> None:
    figure = force_parity({f"model {n}": model(1.0, 20) for n in range(4)})
    assert [bool(axes.get_xlabel()) for axes in figure.axes] == [False, False, True, True]
    assert [bool(axes.get_ylabel()) for axes in figure.axes] == [True, False, True, False]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


def test_a_model_without_force_labels_is_named() -> None:
    with pytest.raises(ValueError, match="'energies only' has no reference forces"):
        force_parity({"energies only": model(1.0, 3, labelled=False)})
    with pytest.raises(ValueError, match="no model"):
        force_parity({})


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 5])
def test_every_label_lies_inside_the_figure(panels: int) -> None:
    figure = force_parity({f"model {n}": model(1.0, 20) for n in range(panels)}, title="title")
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > 0
