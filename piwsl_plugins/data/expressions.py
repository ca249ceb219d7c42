"""Labels as sums of columns, e.g. ``hf_qz.energy + mp2_qz.corr_energy``; read without ``eval``.

What may be written: names of columns, numbers, ``+``, ``-``, ``*``, ``/``, parentheses, signs, and

    helgaker(small, large, n_small, n_large[, exponent]),

the extrapolation of correlation energies to the complete basis set from two correlation-consistent
basis sets of cardinal numbers n (2 for double, 3 for triple zeta, ...),

    E = (n_large^3 E_large - n_small^3 E_small) / (n_large^3 - n_small^3),

of Helgaker, Klopper, Koch and Noga, J. Chem. Phys. 106, 9639 (1997); ``exponent`` stands in place
of 3. It is meant for correlation energies; Hartree-Fock energies converge in another way.

All columns of an expression are in the same unit, and so is the result. That is why a number may
only multiply or divide: ``column + 1`` or ``column * column`` is refused. What remains is linear in
the columns, ``c_1 column_1 + c_2 column_2 + ...``, and is kept in that form.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Value = float | dict[str, float]
"""A plain number, or coefficients by column."""

DEEPEST = 50
"""Parentheses and signs within each other, at most."""
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_HELGAKER = re.compile(r"helgaker\s*\(")
_USAGE = "helgaker(small, large, n_small, n_large[, exponent])"
_WORD = re.compile(r"[^\s+\-*/,]+")
_QUOTED = re.compile(r"""`([^`]*)`|"([^"]*)"|'([^']*)'""")


class ExpressionError(ValueError):
    """An expression that cannot be read: the message shows it, the place and the columns."""


@dataclasses.dataclass(frozen=True, slots=True)
class Expression:
    """A sum of columns, ``c_1 column_1 + c_2 column_2 + ...``.

    Attributes:
        text: as it was written.
        coefficients: the factor of each column, without unit.
    """

    text: str
    coefficients: Mapping[str, float]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it needs."""
        return tuple(self.coefficients)

    def evaluate(self, values: Mapping[str, NDArray[np.floating]]) -> Floats:
        """The label.

        Args:
            values: each of :attr:`columns`, all of the same shape and unit.

        Returns:
            The sum, in the same shape and unit, float64; NaN, a missing label, wherever a part of
            it is NaN.
        """
        total: Floats | None = None
        for column, factor in self.coefficients.items():
            part = np.multiply(values[column], factor, dtype=np.float64)
            total = part if total is None else np.add(total, part, out=total)
        assert total is not None  # parse() lets no expression without a column pass
        return total


def parse(text: str, columns: Iterable[str]) -> Expression:
    """Read an expression.

    A name is the longest column that stands at its place, so that names with dots and parentheses
    (``ccsd(t)_cbs.energy``) need no quotes. In backticks or quotes a name is taken as it is. A text
    that is a column as a whole is that column.

    Args:
        text: the expression.
        columns: the columns that there are.

    Returns:
        The expression.

    Raises:
        ExpressionError: not an expression, a column that is not there, or units that do not fit.
    """
    known = sorted(set(columns), key=lambda name: (-len(name), name))
    if text.strip() in known:
        return Expression(text, {text.strip(): 1.0})
    parser = _Parser(text, known)
    value = parser.sum()
    parser.skip()
    if parser.place < len(text):
        parser.fail("expected an operator or the end", parser.place)
    if not isinstance(value, dict):
        parser.fail("expected at least one column, a number alone is no label", 0)
    return Expression(text, value)


class _Parser:
    """Recursive descent; each method reads one rule from :attr:`place` on."""

    def __init__(self, text: str, columns: list[str]) -> None:
        self.text, self.columns, self.place, self.depth = text, columns, 0, 0

    def fail(self, what: str, place: int) -> NoReturn:
        """Raise, with the text and a mark under the place."""
        known = ", ".join(sorted(self.columns)) or "none"
        raise ExpressionError(
            f"cannot read the expression at character {place + 1}: {what}\n"
            f"  {self.text}\n  {' ' * place}^\n  columns: {known}"
        )

    def skip(self) -> None:
        while self.place < len(self.text) and self.text[self.place].isspace():
            self.place += 1

    def take(self, symbols: str) -> str:
        """The next character if it is one of ``symbols``, else nothing."""
        self.skip()
        found = self.text[self.place : self.place + 1]
        if not found or found not in symbols:
            return ""
        self.place += 1
        return found

    def expect(self, symbol: str) -> None:
        if not self.take(symbol):
            self.fail(f"expected '{symbol}'", self.place)

    def sum(self) -> Value:
        value = self.product()
        while sign := self.take("+-"):
            place = self.place - 1
            other = self.product()
            factor = 1.0 if sign == "+" else -1.0
            if isinstance(value, dict) and isinstance(other, dict):
                value = _add(value, other, factor)
                for number in value.values():
                    self.finite(number, place)
            elif isinstance(value, dict) or isinstance(other, dict):
                self.fail("a number cannot be added to a column, as it has no unit", place)
            else:
                value = self.finite(value + factor * other, place)
        return value

    def product(self) -> Value:
        value = self.signed()
        while sign := self.take("*/"):
            place = self.place - 1
            other = self.signed()
            if sign == "/":
                if isinstance(other, dict):
                    self.fail("only a number can divide, not a column", place)
                elif other == 0.0:
                    self.fail("division by zero", place)
                else:
                    value = self.scale(value, other, place, divide=True)
            elif isinstance(other, dict):
                if isinstance(value, dict):
                    self.fail("a column can be multiplied by a number only", place)
                else:
                    value = self.scale(other, value, place)
            else:
                value = self.scale(value, other, place)
        return value

    def scale(self, value: Value, factor: float, place: int, *, divide: bool = False) -> Value:
        def scaled(number: float) -> float:
            return self.finite(number / factor if divide else number * factor, place)

        if isinstance(value, dict):
            return {column: scaled(number) for column, number in value.items()}
        return scaled(value)

    def finite(self, number: float, place: int) -> float:
        if not math.isfinite(number):
            self.fail("the numbers get too large", place)
        return number

    def signed(self) -> Value:
        sign = self.take("+-")
        if not sign:
            return self.operand()
        self.deeper()
        value = self.signed()
        self.depth -= 1
        return self.scale(value, 1.0 if sign == "+" else -1.0, self.place)

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            self.fail(f"more than {DEEPEST} parentheses or signs within each other", self.place)

    def operand(self) -> Value:
        self.skip()
        start = self.place
        number = _NUMBER.match(self.text, start)
        column = self.column()
        # A column whose whole name reads as a number (`1`) is meant only where it is quoted.
        if column and not (number and number.group() == column):
            return {column: 1.0}
        self.place = start
        if number:
            self.place = number.end()
            return self.finite(float(number.group()), start)
        if call := _HELGAKER.match(self.text, start):
            self.place = call.end()
            return self.helgaker(start)
        if self.take("("):
            self.deeper()
            value = self.sum()
            self.expect(")")
            self.depth -= 1
            return value
        return self.unknown()

    def column(self) -> str:
        """The longest column that stands here, or nothing."""
        if quoted := _QUOTED.match(self.text, self.place):
            name = next(group for group in quoted.groups() if group is not None)
            if name not in self.columns:
                self.unknown(name)
            self.place = quoted.end()
            return name
        for name in self.columns:
            end = self.place + len(name)
            following = self.text[end : end + 1]
            goes_on = following.isalnum() or following in ("_", ".")
            if name and self.text.startswith(name, self.place) and not (following and goes_on):
                self.place = end
                return name
        return ""

    def unknown(self, name: str = "") -> NoReturn:
        word = _WORD.match(self.text, self.place)
        name = name or (word.group() if word else "")
        while name.count(")") > name.count("(") and name.endswith(")"):
            name = name[:-1]
        if not name:
            self.fail("expected a column, a number or '('", self.place)
        near = difflib.get_close_matches(name, self.columns, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        self.fail(f"there is no column '{name}'{hint}", self.place)

    def helgaker(self, start: int) -> Value:
        arguments = [self.sum()]
        while self.take(","):
            arguments.append(self.sum())
        self.expect(")")
        energies = [value for value in arguments[:2] if isinstance(value, dict)]
        numbers = [value for value in arguments[2:] if not isinstance(value, dict)]
        if len(energies) != 2 or len(numbers) != len(arguments) - 2 or len(numbers) not in (2, 3):
            self.fail(f"expected {_USAGE}: two sums of columns, then numbers", start)
        n_small, n_large, exponent = (*numbers, 3.0)[:3]
        if not (0.0 < n_small < n_large <= 100.0 and 0.0 < exponent <= 50.0):
            self.fail(f"expected {_USAGE} with 0 < n_small < n_large <= 100, exponent > 0", start)
        # As a fraction of the large basis set's power, so that nothing overflows.
        share = (n_small / n_large) ** exponent
        if share == 1.0:
            self.fail("the exponent is too small", start)
        large = {column: factor / (1.0 - share) for column, factor in energies[1].items()}
        small = {column: factor * share / (1.0 - share) for column, factor in energies[0].items()}
        return _add(large, small, -1.0)


def _add(value: dict[str, float], other: dict[str, float], factor: float) -> dict[str, float]:
    """Sum of two forms; a coefficient that comes to zero stays, so that NaN is not lost."""
    total = dict(value)
    for column, number in other.items():
        total[column] = total.get(column, 0.0) + factor * number
    return total
