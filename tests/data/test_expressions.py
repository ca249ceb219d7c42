"""Sums of columns mean what Python's arithmetic means by them, and say what is wrong in them."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.data.expressions import ExpressionError, parse

ANI = [
    "wb97x_dz.energy",
    "ccsd(t)_cbs.energy",
    *(f"hf_{basis}.energy" for basis in ("dz", "tz", "qz")),
    *(f"mp2_{basis}.corr_energy" for basis in ("dz", "tz", "qz")),
    "npno_ccsd(t)_dz.corr_energy",
    "npno_ccsd(t)_tz.corr_energy",
    "tpno_ccsd(t)_dz.corr_energy",
]
VALUES = {name: np.array([1.5 + i, -2.0 * i, 0.25]) for i, name in enumerate(ANI)}


def value(text: str) -> np.ndarray:
    return parse(text, ANI).evaluate(VALUES)


def test_a_composite_energy_is_the_sum_of_its_parts() -> None:
    total = value("hf_qz.energy + mp2_qz.corr_energy")
    np.testing.assert_array_equal(total, VALUES["hf_qz.energy"] + VALUES["mp2_qz.corr_energy"])


def test_names_with_parentheses_need_no_quotes() -> None:
    text = "hf_qz.energy+(npno_ccsd(t)_tz.corr_energy-mp2_tz.corr_energy)/2"
    wanted = VALUES["npno_ccsd(t)_tz.corr_energy"] - VALUES["mp2_tz.corr_energy"]
    np.testing.assert_allclose(value(text), VALUES["hf_qz.energy"] + wanted / 2)
    np.testing.assert_array_equal(value("ccsd(t)_cbs.energy"), VALUES["ccsd(t)_cbs.energy"])


@pytest.mark.parametrize("quotes", ["``", "''", '""'])
def test_a_quoted_name_is_taken_as_it_is(quotes: str) -> None:
    columns = {"a": np.array([1.0]), "a - b": np.array([5.0]), "b": np.array([2.0])}
    text = f"{quotes[0]}a{quotes[1]} - b"
    assert parse(text, columns).evaluate(columns) == -1.0
    assert parse("a - b", columns).evaluate(columns) == 5.0
    assert parse("a-b", columns).evaluate(columns) == -1.0


def test_a_name_that_reads_as_a_number_is_meant_only_in_quotes() -> None:
    columns = {"2": np.array([10.0]), "e": np.array([1.0])}
    assert parse("2*e", columns).evaluate(columns) == 2.0
    assert parse("`2` + e", columns).evaluate(columns) == 11.0
    assert parse("2", columns).evaluate(columns) == 10.0


@given(st.floats(1.0, 6.0), st.integers(2, 5), st.floats(-1.0, 1.0))
def test_helgaker_with_an_exponent_extrapolates_that_power(
    exponent: float, n: int, limit: float
) -> None:
    columns = {
        "low": np.array([limit + n**-exponent]),
        "high": np.array([limit + (n + 1) ** -exponent]),
    }
    text = f"helgaker(low, high, {n}, {n + 1}, {exponent!r})"
    assert parse(text, columns).evaluate(columns) == pytest.approx(limit, abs=1e-12)


def test_a_missing_part_makes_the_sum_missing_even_with_coefficient_zero() -> None:
    columns = {"a": np.array([1.0, np.nan, 3.0]), "b": np.array([np.nan, 2.0, 3.0])}
    assert np.isnan(parse("a + b", columns).evaluate(columns)).tolist() == [True, True, False]
    assert np.isnan(parse("a - a", columns).evaluate(columns)).tolist() == [False, True, False]
    assert np.isnan(parse("0*a + b", columns).evaluate(columns)).tolist() == [True, True, False]


@given(st.text(alphabet="ab.()+-*/ ,0123456789e`'\"helgaker_", max_size=40))
def test_any_text_is_an_expression_or_a_named_error(text: str) -> None:
    found = None
    with contextlib.suppress(ExpressionError):
        found = parse(text, ["a", "b", "e.b"])
    if found is not None:
        assert set(found.columns.values()) <= {"a", "b", "e.b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf_qz.enrgy", "unknown column 'hf_qz.enrgy'; did you mean 'hf_qz.energy'"),
        ("`hf`", "unknown column 'hf'; expected one of ccsd"),
        ("hf_qz.energy2", "unknown column 'hf_qz.energy2'"),
        ("hf_qz.energy + 1", "not in its columns' unit"),
        ("hf_qz.energy * hf_tz.energy", "not in its columns' unit"),
        ("1 / hf_qz.energy", "not in its columns' unit"),
        ("hf_qz.energy / 0", "not in its columns' unit"),
        ("hf_qz.energy * 1e999", "unit"),
        ("2 * 3", "not in its columns' unit"),
        ("", "no arithmetic"),
        ("(hf_qz.energy", "no arithmetic"),
        ("hf_qz.energy hf_tz.energy", "no arithmetic"),
        ("hf_qz.energy.real", "unknown column"),
        ("[hf_qz.energy]", "no arithmetic"),
        ("helgaker(hf_tz.energy, hf_qz.energy)", r"helgaker\(small, large, n_small, n_large"),
        ("helgaker(hf_tz.energy, 3, 3, 4)", "not in its columns' unit"),
        ("helgaker(hf_tz.energy, hf_qz.energy, 4, 3)", "no arithmetic"),
        ("__import__('os')", "unknown column '__import__'"),
        ("-" * 5000 + "hf_qz.energy", "no arithmetic"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        parse(text, ANI)
