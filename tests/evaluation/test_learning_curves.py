"""Learning curves show each method once, its seeds and their spread, and refuse a muddle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from piwsl_plugins.evaluation.learning_curves import learning_curves


def row(method: str, size: int, seed: int, force: float | str | None, **others: Any) -> Any:
    made = {
        "host": "mace",
        "method": method,
        "train_size": size,
        "seed": seed,
        "force_rmse_mev_per_angstrom": force,
        "energy_rmse_mev": "12.5",
    }
    return made | others


def drawn(figure: Figure, panel: int = 0) -> dict[str, Any]:
    """Lines of a panel by their label."""
    return {str(line.get_label()): line for line in figure.axes[panel].get_lines()}


def test_lines_go_through_geometric_means_and_bands_from_lowest_to_highest() -> None:
    rows = [row("plain", size, s, f) for size in (25, 50) for s, f in ((1, 100.0), (2, 400.0))]
    figure = learning_curves(rows, title="water")
    line = drawn(figure)["plain"]
    np.testing.assert_allclose(line.get_xdata(), [25, 50])
    np.testing.assert_allclose(line.get_ydata(), [200.0, 200.0])
    band, *_ = figure.axes[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (100.0, 400.0)
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"


def test_hosts_stand_side_by_side_and_the_legend_has_every_method_once() -> None:
    rows = [
        row(method, size, 1, 10.0 * size, host=host, title=f"the {method} one")
        for host, methods in (("mace", ("plain",)), ("nequip", ("plain", "taylor")))
        for method in methods
        for size in (25, 50)
    ]
    figure = learning_curves(rows)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["mace", "nequip"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["the plain one", "the taylor one"]
    plain = [drawn(figure, panel)["the plain one"].get_color() for panel in (0, 1)]
    assert plain[0] == plain[1]


def test_one_size_gives_a_list_of_methods() -> None:
    rows = [row(m, 50, s, f + s) for m, f in (("plain", 100), ("taylor", 90)) for s in (1, 2)]
    figure = learning_curves(rows)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["plain", "taylor"]
    assert axes.get_xlabel() == "force RMSE (meV/Å), 50 training frames"
    assert not figure.legends


def test_the_longest_training_is_drawn_and_each_test_set_has_its_panels() -> None:
    rows = [
        row("plain", size, 1, 1000.0 / budget, budget_s=str(budget), test=test)
        for size in (25, 50)
        for budget in (60, 2 * size + 70)  # more frames take longer
        for test in ("cold", "hot")
    ]
    figure = learning_curves(rows)
    np.testing.assert_allclose(drawn(figure)["plain"].get_ydata(), [1000.0 / 120, 1000.0 / 170])
    names = [axes.get_ylabel() for axes in figure.axes]
    assert names == [
        f"{test}: {error}"
        for test in ("cold", "hot")
        for error in ("force RMSE (meV/Å)", "energy RMSE (meV)")
    ]


def test_what_is_not_known_is_left_out() -> None:
    rows = [row("plain", size, 1, "", energy_rmse_mev="3") for size in (25, 50)]
    rows.append(row("broken", 25, 1, None, energy_rmse_mev=None))
    figure = learning_curves(rows)
    assert [axes.get_ylabel() for axes in figure.axes] == ["energy RMSE (meV)"]
    assert list(drawn(figure)) == ["plain"]
    with pytest.raises(ValueError, match="no learning curve to draw"):
        learning_curves(rows[-1:])


def test_one_model_in_two_rows_is_refused() -> None:
    rows = [row("plain", 25, 1, 10.0), row("plain", 25, 1, 11.0)]
    with pytest.raises(ValueError, match=r"two rows of host mace, .*train_size 25, seed 1"):
        learning_curves(rows)


@pytest.mark.parametrize("sizes", [(25, 50), (25,)])
def test_errors_that_are_all_alike_and_hosts_without_a_size_can_be_drawn(
    sizes: tuple[int, ...], tmp_path: Any
) -> None:
    rows = [row("plain", size, 1, 10.0) for size in sizes]
    rows.append(row("taylor", 25, 1, None, host="nequip"))
    learning_curves(rows).savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0
