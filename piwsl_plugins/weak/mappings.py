"""Settings classes from nested mappings, as YAML gives them, every wrong key and value named."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from piwsl_plugins.fields import unknown_name

_Settings = TypeVar("_Settings")


def put(content: dict[str, Any], key: str, value: Any) -> None:  # noqa: ANN401  any YAML
    """Set a dotted key of a nested mapping; blocks that are not there are made.

    Raises:
        ValueError: A value stands where a block is needed.
    """
    *way, last = key.split(".")
    place = content
    for name in way:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{key}: {name} is no block, it is {inner!r}")
        place = inner
    place[last] = value


def from_mapping(cls: type[_Settings], content: Any, where: str = "") -> _Settings:  # noqa: ANN401
    """A settings class from what a YAML file holds.

    Raises:
        ValueError: Unknown keys, values of another type, or out of range; the message names them.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{where or 'the file'}: expected keys and values, got {content!r}")
    hints = typing.get_type_hints(cls)
    prefix, block = (f"{where}.", f"{where}: ") if where else ("", "")
    values = {}
    for key, value in content.items():
        if key not in hints:
            raise ValueError(f"{block}{unknown_name(str(key), hints)}")
        values[key] = _value(hints[key], value, f"{prefix}{key}")
    for field in dataclasses.fields(typing.cast("Any", cls)):
        if _is_required(field) and field.name not in values:
            raise ValueError(f"{prefix}{field.name}: this key is needed and was not given")
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{block}{error}") from error


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _value(hint: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    """A value of a type, or an error that says which was expected."""
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast("type[Any]", hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        for choice in arguments:
            try:
                return _value(choice, value, where)
            except ValueError:
                continue
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(_value(arguments[0], entry, where) for entry in value)
    elif origin is not None:
        if isinstance(value, Mapping):
            return dict(value)
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif hint is Any or (isinstance(value, hint) and (hint is bool or not isinstance(value, bool))):
        return value
    raise ValueError(f"{where}: got {value!r}, expected {_expected(hint)}")


def _expected(hint: Any) -> str:  # noqa: ANN401
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return f"a list, each entry {_expected(arguments[0])}"
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_expected(choice) for choice in arguments)
    return names.get(hint, "nothing" if hint is type(None) else "keys and values")
