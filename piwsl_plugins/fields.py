"""What settings classes are made of: fields that explain themselves, and checks of their values."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")
_Settings = TypeVar("_Settings", bound="Settings")


def setting(default: _T, help: str, *, unit: str = "", choices: tuple[_T, ...] = ()) -> _T:
    """A field of a settings class, with what flags, keys and the README's table say of it."""
    metadata = {"help": help, "unit": unit, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A settings class; its fields are made by :func:`setting`."""

    def _check_choices(self) -> None:
        for field in dataclasses.fields(self):
            choices = field.metadata["choices"]
            value = getattr(self, field.name)
            # 1.0 and True equal 1, but are no order
            if choices and not any(type(value) is type(c) and value == c for c in choices):
                allowed = ", ".join(repr(choice) for choice in choices)
                raise ValueError(f"{field.name}: got {value!r}, expected one of {allowed}")

    def _check(
        self, name: str, low: float, high: float, *, open_below: bool = False, whole: bool = False
    ) -> None:
        value = getattr(self, name)
        number = isinstance(value, numbers.Integral if whole else numbers.Real)
        inside = number and (low < value or (low == value and not open_below)) and value <= high
        if inside and math.isfinite(value) and not isinstance(value, bool):
            return
        kind = "whole" if whole else "finite"
        lower = f"> {low:g}" if open_below else f">= {low:g}"
        upper = "" if high == math.inf else f" and <= {high:g}"
        unit = next(f for f in dataclasses.fields(self) if f.name == name).metadata["unit"]
        raise ValueError(
            f"{name}: got {value!r}, expected a {kind} number {lower}{upper}"
            + (f" ({unit})" if unit else "")
        )

    @classmethod
    def from_mapping(cls: type[_Settings], values: Mapping[str, Any], where: str) -> _Settings:
        """Make settings of a block of a configuration file.

        Args:
            values: name and value of the settings that differ from their defaults.
            where: how an error calls the block.

        Returns:
            The settings.

        Raises:
            ValueError: an unknown name, with the nearest known one, or a value out of its range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(f"{where}: {unknown_name(str(name), known)}")
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(f"{where}.{error}") from None


def unknown_name(name: str, known: Iterable[str], what: str = "key") -> str:
    """What to tell somebody who wrote a name that does not exist.

    Args:
        name: what was written.
        known: what exists.
        what: what kind of name it is.

    Returns:
        A sentence with the nearest known name, or all of them where none is near.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    return f"unknown {what} {name!r}; {hint}"
