"""The options of ``piwsl weak sample``, made of the fields of its settings."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from typing import Any

from piwsl_plugins.weak.sample_tasks import SampleSettings


def _name(field: dataclasses.Field[Any]) -> str:
    return "--" + field.name.replace("_", "-")


def add_options(group: Any) -> None:  # noqa: ANN401  argparse's own type is private
    """Add an option for each field."""
    hints = typing.get_type_hints(SampleSettings)
    for field in dataclasses.fields(SampleSettings):
        unit = f" [{field.metadata['unit']}]" if field.metadata["unit"] else ""
        text, hint = field.metadata["help"] + unit, hints[field.name]
        if hint is bool:
            group.add_argument(
                _name(field),
                action=argparse.BooleanOptionalAction,
                default=field.default,
                help=text,
            )
        elif typing.get_origin(hint) is tuple:
            group.add_argument(
                _name(field), type=float, nargs="+", default=[], metavar="X", help=text
            )
        else:
            kind = next((k for k in typing.get_args(hint) if k is not types.NoneType), hint)
            default = "" if field.default is None else " (default: %(default)s)"
            group.add_argument(
                _name(field), type=kind, default=field.default, metavar="N", help=text + default
            )


def settings_of(chosen: argparse.Namespace) -> SampleSettings:
    """The settings that were chosen.

    Raises:
        ValueError: A value is out of range.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(SampleSettings):
        value = getattr(chosen, field.name)
        values[field.name] = tuple(value) if isinstance(value, list) else value
    return SampleSettings(**values)


def words_of(settings: SampleSettings) -> list[str]:
    """The same settings as options, those at their defaults left out."""
    words: list[str] = []
    for field in dataclasses.fields(SampleSettings):
        value = getattr(settings, field.name)
        if value == field.default:
            continue
        if isinstance(value, bool):
            words.append(_name(field) if value else _name(field).replace("--", "--no-", 1))
        elif isinstance(value, tuple):
            words += [_name(field), *(f"{entry:g}" for entry in value)]
        else:
            words += [_name(field), f"{value:g}" if isinstance(value, float) else str(value)]
    return words
