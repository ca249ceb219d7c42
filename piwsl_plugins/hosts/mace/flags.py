"""MACE's command line: the ``--piwsl_*`` flags, derived from the settings' own fields."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable
from typing import Any

from piwsl_plugins.settings import PAPER_TERMS, TERMS, MaceSettings

PREFIX = "piwsl_"
LOSSES: dict[str, tuple[str, ...]] = {
    "piwsl_taylor": ("taylor",),
    "piwsl_conservative": ("conservative",),
    "piwsl": PAPER_TERMS,
    "piwsl_curvature": ("curvature",),
}
"""Names for ``--loss`` and the terms that each switches on."""


def wrap_parser(wrapped: Callable[..., argparse.ArgumentParser], *args: Any) -> Any:
    """Add the losses' names to ``--loss`` and the flags to MACE's parser."""
    parser = wrapped(*args)
    (loss,) = (action for action in parser._actions if action.dest == "loss")
    loss.choices = [*(loss.choices or ()), *LOSSES]
    group = parser.add_argument_group(
        "PIWSL losses (piwsl-plugins)",
        f"Read with --loss {', '.join(LOSSES)}: physics-informed weakly supervised losses "
        "(arXiv:2408.05215), added to --piwsl_base_loss in training steps.",
    )
    hints = typing.get_type_hints(MaceSettings)
    for field in dataclasses.fields(MaceSettings):
        unit = f" [{field.metadata['unit']}]" if field.metadata["unit"] else ""
        options: dict[str, Any] = {"help": field.metadata["help"] + unit, "default": field.default}
        kind = _plain_type(hints[field.name])
        if field.default is None:  # the meaning says what is taken instead; print no "None"
            options["help"] += "%(default).0s"
        if kind is bool:
            options["action"] = "store_true"
        else:
            options["type"] = kind
            options["choices"] = field.metadata["choices"] or None
        group.add_argument(f"--{PREFIX}{field.name}", **options)
    return parser


def settings_from(args: argparse.Namespace) -> MaceSettings:
    """Settings of a parsed command line.

    Raises:
        ValueError: a value out of range, or flags that contradict the chosen loss or each other;
            the message names the flag.
    """
    values = {
        field.name: getattr(args, PREFIX + field.name) for field in dataclasses.fields(MaceSettings)
    }
    try:
        settings = MaceSettings(**values)
    except ValueError as error:
        raise ValueError(f"--{PREFIX}{error}") from None
    terms = LOSSES[args.loss]
    for term in TERMS:
        if term not in terms and values[f"{term}_weight"] is not None:
            raise ValueError(
                f"--{PREFIX}{term}_weight {values[f'{term}_weight']} contradicts --loss "
                f"{args.loss}, which has no {term} term; choose a loss with it: "
                + ", ".join(name for name, terms in LOSSES.items() if term in terms)
            )
    settings.check_terms(
        terms,
        lambda name: f"--{PREFIX}{name}",
        f"--loss {args.loss} (use --loss piwsl_taylor or --loss piwsl)",
    )
    return settings


def changed_flags(args: argparse.Namespace) -> list[str]:
    """Names of the PIWSL flags that differ from their defaults."""
    return [
        f"--{PREFIX}{field.name}"
        for field in dataclasses.fields(MaceSettings)
        if getattr(args, PREFIX + field.name, field.default) != field.default
    ]


def _plain_type(annotation: Any) -> type:
    """The type of an annotation, None left out of a union."""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (part for part in annotation.__args__ if part is not type(None))
    kind: type = annotation
    return kind
