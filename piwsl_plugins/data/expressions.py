"""Labels as sums of columns, e.g. ``hf_qz.energy + mp2_qz.corr_energy``; read without ``eval``.

Names of columns (in quotes where they would read as something else), numbers, ``+ - * /``,
parentheses, and ``helgaker(small, large, n_small, n_large[, exponent])``, the extrapolation of
correlation energies to the complete basis set from bases of cardinal numbers n (2 for double zeta),
E = (n_large^3 E_large - n_small^3 E_small) / (n_large^3 - n_small^3), of Helgaker, Klopper, Koch
and Noga, J. Chem. Phys. 106, 9639 (1997). The result must be in the columns' own unit.
"""

from __future__ import annotations

import ast
import dataclasses
import math
import operator
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.fields import unknown_name

_OPERATORS: dict[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_QUOTED = r"""`[^`]*`|"[^"]*"|'[^']*'"""
_NUMBER = r"(?<![\w.])(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])"


class ExpressionError(ValueError):
    """An expression that cannot be read: the message shows it and the columns."""


@dataclasses.dataclass(frozen=True, slots=True)
class Expression:
    """An expression of columns; ``columns`` are their names by their names in ``tree``."""

    text: str
    tree: ast.expr
    columns: Mapping[str, str]

    def evaluate(self, values: Mapping[str, Any]) -> NDArray[np.float64]:
        """The result, in the columns' shape and unit; NaN wherever a part of it is NaN."""
        found = {a: np.asarray(values[name], np.float64) for a, name in self.columns.items()}
        return np.asarray(_value(self.tree, found))


def parse(text: str, columns: Iterable[str]) -> Expression:
    """Read an expression; a text that is a column's name as it stands means that column."""
    known = sorted(columns, key=len, reverse=True)
    used: dict[str, str] = {}

    def substitute(found: re.Match[str]) -> str:
        if found["number"]:
            return found[0]
        name = found[0][1:-1] if found["quoted"] else found[0]
        if name not in known:
            raise ExpressionError(f"{text!r}: {unknown_name(name, known, 'column')}")
        return used.setdefault(name, f"column_{len(used)}_")

    names = "|".join(rf"(?<![\w.]){re.escape(name)}(?![\w.(])" for name in known) or r"(?!)"
    words = r"(?<![\w.])(?!helgaker\s*\()[A-Za-z_][\w.]*"
    tokens = rf"(?P<quoted>{_QUOTED})|(?P<number>{_NUMBER})|(?:{names})|{words}"
    source = f"`{text}`" if text in known else text
    try:
        tree = ast.parse(re.sub(tokens, substitute, source).strip(), mode="eval").body
        made = Expression(text, tree, {alias: name for name, alias in used.items()})
        values = {name: math.sqrt(2 + place) * np.array([1, 2]) for place, name in enumerate(used)}
        with np.errstate(all="ignore"):
            one, twice = np.broadcast_to(made.evaluate(values), 2).tolist()
    except ExpressionError:
        raise
    except (ArithmeticError, KeyError, TypeError, ValueError, SyntaxError, RecursionError) as error:
        raise ExpressionError(
            f"{text!r} is no arithmetic with + - * / ( ) numbers and helgaker(small, large, "
            f"n_small, n_large[, exponent]); columns are {', '.join(sorted(known)) or 'none'}"
        ) from error
    if not used or not math.isfinite(one) or not math.isclose(2 * one, twice):
        raise ExpressionError(f"{text!r} is not in its columns' unit; a number may only multiply")
    return made


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:  # noqa: ANN401  a number or an array
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=alias):
            return values[alias]
        case ast.UnaryOp(op=op, operand=inner):
            return _OPERATORS[type(op)](_value(inner, values))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id="helgaker"), args=arguments, keywords=[]):
            return _helgaker(*(_value(argument, values) for argument in arguments))
    raise TypeError(type(node).__name__)


def _helgaker(small: Any, large: Any, low: float, high: float, power: float = 3.0) -> Any:  # noqa: ANN401
    if not 0 < low < high:
        raise ValueError("expected 0 < n_small < n_large")
    return (high**power * large - low**power * small) / (high**power - low**power)
