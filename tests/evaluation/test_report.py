"""Numbers that people can read, and rows only where there is something to say."""

from __future__ import annotations

from typing import Any

import pytest

from piwsl_plugins.evaluation.report import cell, overview, terminal_table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (1234.5, "1234"),
        (-1.234, "-1.23"),
        (0.01234, "0.0123"),
        (1.234e-5, "1.2e-05"),
        (3.2e7, "3.2e+07"),
        ({"slope": 0.9, "interval": None}, "0.900"),
        ({"slope": 0.9, "interval": [0.85, 0.95]}, "0.900 (0.850–0.950)"),
        ({"rmse": 2.0, "mae": 1.0, "max": 30.0, "n": 3}, "2.00 / 1.00 / 30.0"),
    ],
)
def test_three_digits_intervals_and_errors_are_shown(value: Any, text: str) -> None:
    assert cell(value) == text


def model(rmse: float = 2.0, **changes: Any) -> dict[str, Any]:
    errors = {"energy_mev": {"rmse": rmse, "mae": 1.0, "max": 3.0, "n": 4}}
    absent = dict.fromkeys(("force_slope", "force_mev_per_angstrom"))
    parts = dict.fromkeys(("curvature", "work", "nve"))
    return {"test_sets": {"cold": {**errors, **absent}}, **parts, **changes}


def test_what_no_model_has_takes_no_row() -> None:
    (title,) = tables = overview({"one": model(), "two": model(3.0)})
    assert title == "cold"
    assert tables["cold"].T.to_dict("list") == {
        "energy RMSE (meV)": ["2.00", "3.00"],
        "energy MAE (meV)": ["1.00", "1.00"],
        "energy max (meV)": ["3.00", "3.00"],
    }


def test_models_that_find_no_room_follow_below() -> None:
    lines = terminal_table({f"model-{n}": model() for n in range(9)}, 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("energy RMSE (meV)" in line for line in lines) == 2
