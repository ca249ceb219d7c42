"""Sums of columns mean what Python's arithmetic means by them, and say what is wrong in them."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.data.expressions import DEEPEST, ExpressionError, parse

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


def test_the_longest_name_wins() -> None:
    columns = {"energy": np.array([1.0]), "energy_low": np.array([7.0])}
    assert parse("2*energy_low", columns).evaluate(columns) == 14.0


def test_a_name_that_reads_as_a_number_is_meant_only_in_quotes() -> None:
    columns = {"2": np.array([10.0]), "e": np.array([1.0])}
    assert parse("2*e", columns).evaluate(columns) == 2.0
    assert parse("`2` + e", columns).evaluate(columns) == 11.0
    assert parse("2", columns).evaluate(columns) == 10.0


def test_helgaker_extrapolates_an_inverse_cube_exactly() -> None:
    def energy(n: int) -> float:
        return -0.3 + 0.7 / n**3

    columns = {"tz": np.array([energy(3)]), "qz": np.array([energy(4)])}
    limit = parse("helgaker(tz, qz, 3, 4)", columns).evaluate(columns)
    assert limit == pytest.approx(-0.3, abs=1e-14)


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


def test_helgaker_takes_sums_and_stands_in_sums() -> None:
    text = (
        "hf_qz.energy + helgaker(mp2_tz.corr_energy, mp2_qz.corr_energy, 3, 4)"
        " + npno_ccsd(t)_tz.corr_energy - mp2_tz.corr_energy"
    )
    low, high = VALUES["mp2_tz.corr_energy"], VALUES["mp2_qz.corr_energy"]
    wanted = VALUES["hf_qz.energy"] + (64 * high - 27 * low) / 37
    wanted = wanted + VALUES["npno_ccsd(t)_tz.corr_energy"] - low
    np.testing.assert_allclose(value(text), wanted, rtol=1e-12)


def test_a_missing_part_makes_the_sum_missing_even_with_coefficient_zero() -> None:
    columns = {"a": np.array([1.0, np.nan, 3.0]), "b": np.array([np.nan, 2.0, 3.0])}
    assert np.isnan(parse("a + b", columns).evaluate(columns)).tolist() == [True, True, False]
    assert np.isnan(parse("a - a", columns).evaluate(columns)).tolist() == [False, True, False]
    assert np.isnan(parse("0*a + b", columns).evaluate(columns)).tolist() == [True, True, False]


def test_forces_keep_their_shape_and_single_precision_is_widened() -> None:
    gradient = np.arange(12.0, dtype=np.float32).reshape(2, 2, 3)
    forces = parse("-dft_total_gradient", ["dft_total_gradient"]).evaluate(
        {"dft_total_gradient": gradient}
    )
    assert forces.dtype == np.float64
    np.testing.assert_array_equal(forces, -gradient.astype(float))


NAMES = ("a", "hf_qz.energy", "ccsd(t)_cbs.energy", "x-y")
PYTHON = ("v[0]", "v[1]", "v[2]", "v[3]")
numbers = st.floats(0.5, 9.0).map(lambda number: (repr(round(number, 3)),) * 2)


def combined(inner: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[tuple[str, str]]:
    spaces = st.sampled_from(["", " ", "  "])

    def both(pattern: str) -> st.SearchStrategy[tuple[str, str]]:
        def fill(drawn: tuple) -> tuple[str, str]:
            first, second, space, number = drawn
            return tuple(  # type: ignore[return-value]
                pattern.replace("_", space)
                .replace("A", first[i])
                .replace("B", second[i])
                .replace("N", number[i])
                for i in (0, 1)
            )

        return st.tuples(inner, inner, spaces, numbers).map(fill)

    patterns = ("(A_+_B)", "(A_-_B)", "N_*_(A)", "(A)_/_N", "-(A)", "(A_+B)_*_(N_-_0.25)")
    return st.one_of([both(pattern) for pattern in patterns])


names = st.sampled_from([(f"`{n}`", p) for n, p in zip(NAMES, PYTHON, strict=True)])


@given(
    st.recursive(names, combined, max_leaves=8),
    st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=4),
)
def test_arithmetic_is_that_of_python(texts: tuple[str, str], drawn: list[float]) -> None:
    columns = {name: np.array([number]) for name, number in zip(NAMES, drawn, strict=True)}
    ours = parse(texts[0], NAMES).evaluate(columns)
    theirs = eval(texts[1], {"v": drawn})
    scale = 1e-9 * max(1.0, max(map(abs, drawn))) * 10.0 ** texts[1].count("*")
    assert math.isclose(float(ours[0]), theirs, rel_tol=1e-9, abs_tol=scale)


@given(st.text(alphabet="ab.()+-*/ ,0123456789e`'\"helgaker_", max_size=40))
def test_any_text_is_an_expression_or_a_named_error(text: str) -> None:
    found = None
    with contextlib.suppress(ExpressionError):
        found = parse(text, ["a", "b", "e.b"])
    if found is not None:
        assert found.columns
        assert all(math.isfinite(number) for number in found.coefficients.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf_qz.enrgy", "there is no column 'hf_qz.enrgy'; did you mean 'hf_qz.energy'"),
        ("ccsd(t)_cbs.enrgy", r"no column 'ccsd\(t\)_cbs.enrgy'; did you mean 'ccsd\(t\)_cbs"),
        ("`hf`", "there is no column 'hf'"),
        ("``", "there is no column '``'"),
        ("1e308*hf_qz.energy + 1e308*hf_qz.energy", "the numbers get too large"),
        ("hf_qz.energy2", "there is no column 'hf_qz.energy2'"),
        ("hf_qz.energy + 1", "a number cannot be added to a column"),
        ("hf_qz.energy * hf_tz.energy", "multiplied by a number only"),
        ("1 / hf_qz.energy", "only a number can divide"),
        ("hf_qz.energy / 0", "division by zero"),
        ("hf_qz.energy / (1 - 1)", "division by zero"),
        ("hf_qz.energy * 1e308 * 1e308", "the numbers get too large"),
        ("hf_qz.energy * 1e999", "the numbers get too large"),
        ("2 * 3", "a number alone is no label"),
        ("", "expected a column"),
        ("(hf_qz.energy", r"expected '\)'"),
        ("hf_qz.energy)", "expected an operator or the end"),
        ("hf_qz.energy hf_tz.energy", "expected an operator or the end"),
        ("hf_qz.energy +", "expected a column"),
        ("helgaker(hf_tz.energy, hf_qz.energy)", r"expected helgaker\(small, large"),
        ("helgaker(hf_tz.energy, 3, 3, 4)", "two sums of columns, then numbers"),
        ("helgaker(hf_tz.energy, hf_qz.energy, 4, 3)", "0 < n_small < n_large"),
        ("helgaker(hf_tz.energy, hf_qz.energy, 3, 4, 1e-300)", "the exponent is too small"),
        ("helgaker(hf_tz.energy, hf_qz.energy, 3, 4, 3, 3)", "two sums of columns, then numbers"),
        ("(" * (DEEPEST + 1), f"more than {DEEPEST} parentheses"),
        ("-" * 5000 + "hf_qz.energy", f"more than {DEEPEST} parentheses or signs"),
    ],
)
def test_what_is_wrong_is_said_with_the_columns_that_are_there(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message) as error:
        parse(text, ANI)
    assert "columns: ccsd(t)_cbs.energy, hf_dz.energy" in str(error.value)


def test_the_place_of_the_error_is_marked() -> None:
    with pytest.raises(ExpressionError, match="character 16") as error:
        parse("hf_qz.energy + hf_sz.energy", ANI)
    lines = str(error.value).splitlines()
    assert lines[2].index("^") == lines[1].index("hf_sz")
