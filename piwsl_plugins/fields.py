"""What settings classes are made of: checked fields that explain themselves, and their options.

From one field come the check of its value, a command-line option, a key of a configuration file
and a row of the documentation.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

import pydantic
from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from typing_extensions import Self


def setting(default: Any, meaning: str, *, unit: str = "", **bounds: Any) -> Any:  # noqa: ANN401
    """A field of a settings class: its default, meaning, unit and bounds (``ge``, ``gt``, ...)."""
    return pydantic.Field(default, description=meaning, json_schema_extra={"unit": unit}, **bounds)


class SettingError(ValueError):
    """A setting that is wrong: where it stands, and what was found and expected."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(f"{place}: {text}" if place else text)
        self.place, self.text = place, text

    def within(self, block: str) -> SettingError:
        """The same error, of a setting that stands in a block."""
        return SettingError(".".join(filter(None, (block, self.place))), self.text)


class Settings(pydantic.BaseModel):
    """Base of the settings classes: immutable; what is wrong raises a :class:`SettingError`."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True
    )

    def __init__(self, **values: object) -> None:
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            raise _first_problem(error, type(self)) from None

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> Self:
        """Make settings of a block of a configuration file, which an error calls ``where``."""
        try:
            return cls(**values)
        except SettingError as error:
            raise error.within(where) from None

    def changed(self) -> dict[str, Any]:
        """The settings that differ from their defaults, by name."""
        fields = type(self).model_fields
        return {name: value for name, value in self if value != fields[name].default}


def _first_problem(error: pydantic.ValidationError, settings: type[Settings]) -> SettingError:
    """The first problem that pydantic found, in this package's words."""
    problem = error.errors()[0]
    place, cause = ".".join(map(str, problem["loc"])), problem.get("ctx", {}).get("error")
    if isinstance(cause, SettingError):  # of a block within
        return cause.within(place)
    if isinstance(cause, ValueError):  # of a validator
        return SettingError(place, str(cause))
    if problem["type"] == "extra_forbidden":
        return SettingError("", unknown_name(place, settings.model_fields))
    if problem["type"] == "missing":
        return SettingError(place, "this key is missing, and it has no default")
    known = place in settings.model_fields and _expected(settings.model_fields[place])
    expected = known or problem["msg"].removeprefix("Input should be ")
    return SettingError(place, f"got {problem['input']!r}, expected {expected}")


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_BOUNDS = {"gt": "greater than", "ge": "of at least", "lt": "less than", "le": "at most"}


def _expected(field: FieldInfo) -> str:
    """What a field takes, with its range and unit; empty for a type other than the usual ones."""
    kind = plain_type(field.annotation)
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(repr(choice) for choice in typing.get_args(kind))}"
    limits = [
        f"{word} {getattr(bound, name)}"
        for bound in field.metadata
        for name, word in _BOUNDS.items()
        if hasattr(bound, name)
    ]
    text = " ".join(filter(None, (_KINDS.get(kind, ""), " and ".join(limits))))
    return f"{text} ({unit_of(field)})" if text and unit_of(field) else text


def unit_of(field: FieldInfo) -> str:
    """Unit of a field, empty where it has none."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def unknown_name(name: str, known: Iterable[str], what: str = "key") -> str:
    """What to tell somebody who wrote a name that does not exist, with the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    return f"unknown {what} {name!r}; {hint}"


def plain_type(annotation: Any) -> Any:  # noqa: ANN401
    """The type of an annotation, None left out of a union."""
    parts = typing.get_args(annotation)
    return next(p for p in parts if p is not NoneType) if NoneType in parts else annotation


def add_options(
    group: Any,  # noqa: ANN401  argparse's group or parser
    settings: type[Settings],
    flags: Callable[[str], Sequence[str]],
    names: Iterable[str] | None = None,
    dest: Callable[[str], str] = str,
) -> None:
    """Add options for the fields ``names`` (default, all) of a class to a parser or its group.

    ``flags`` gives a field's spellings, e.g. ``["--energy-key", "--energy_key"]``, and ``dest`` the
    attribute of the parsed namespace that holds its value.
    """
    for name in settings.model_fields if names is None else names:
        field = settings.model_fields[name]
        kind = plain_type(field.annotation)
        unit = unit_of(field) and f" [{unit_of(field)}]"
        text = f"{field.description}{unit}".replace("%", "%%")
        options: dict[str, Any] = {"dest": dest(name), "default": field.default}
        if field.default is None:  # the meaning says what is taken instead; print no "None"
            text += "%(default).0s"
        if kind is bool:
            options["action"] = "store_true"
        elif typing.get_origin(kind) is Literal:
            choices = typing.get_args(kind)
            options |= {"choices": choices, "type": type(choices[0])}
        else:
            options |= {"type": kind, "metavar": name.rpartition("_")[2].upper()}
        group.add_argument(*flags(name), help=text, **options)
