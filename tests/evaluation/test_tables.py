"""Numbers that people can read, and rows only where there is something to say."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from piwsl_plugins.evaluation.tables import number, overview, slope, terminal_table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (1234.5, "1234"),
        (123.4, "123"),
        (12.34, "12.3"),
        (-1.234, "-1.23"),
        (0.1234, "0.123"),
        (0.01234, "0.0123"),
        (1.234e-5, "1.2e-05"),
        (3.2e7, "3.2e+07"),
    ],
)
def test_three_digits_are_shown(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_slope_bears_its_interval_where_it_has_one() -> None:
    assert slope(None) == "–"
    assert slope({"slope": 0.9, "interval": None}) == "0.900"
    assert slope({"slope": 0.9, "interval": (0.85, 0.95)}) == "0.900 (0.850–0.950)"


def model(**changes: Any) -> dict[str, Any]:
    errors = {"energy_mev": {"rmse": 2.0, "mae": 1.0, "max": 3.0, "n": 4}}
    absent = dict.fromkeys(("force_slope", "secant_curvature"))
    parts = dict.fromkeys(("curvature", "loops", "finite_differences", "nve"))
    return {"test_sets": {"cold": {**errors, **absent}}, **parts, **changes}


def test_what_no_model_has_takes_no_row() -> None:
    (section,) = overview({"one": model(), "two": model()})
    assert section.title == "cold"
    assert section.rows == [
        ("energy RMSE (meV)", ["2.00", "2.00"]),
        ("energy MAE (meV)", ["1.00", "1.00"]),
        ("energy max (meV)", ["3.00", "3.00"]),
    ]


def test_an_explosion_is_told_with_its_time_and_has_no_drift() -> None:
    nve = {
        "exploded_at_ps": 0.25,
        "drift_mev_per_atom_per_ps": None,
        "fluctuation_mev_per_atom": None,
    }
    rows = dict(overview({"one": model(nve=nve), "two": model()})[1].rows)
    assert rows == {"NVE exploded": ["at 0.25 ps", "–"]}


def test_models_that_find_no_room_follow_below() -> None:
    models = {f"model-{index}": model() for index in range(5)}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table(models, 80))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("energy RMSE" in line for line in lines) == 2
