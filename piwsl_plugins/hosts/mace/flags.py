"""MACE's command line: the ``--piwsl_*`` flags, derived from the settings' own fields."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.settings import PAPER_TERMS, TERMS, WEAK_FORCES, MaceSettings

PREFIX = "piwsl_"
SUPERVISED = "piwsl_supervised"
LOSSES: dict[str, tuple[str, ...]] = {
    "piwsl_taylor": ("taylor",),
    "piwsl_conservative": ("conservative",),
    "piwsl": PAPER_TERMS,
    "piwsl_curvature": ("curvature",),
    SUPERVISED: (),
}
"""Names for ``--loss`` and the terms that each switches on."""
DATA_FLAGS: dict[str, str] = {
    "energy_unit": "energy_unit",
    "length_unit": "length_unit",
    "forces_unit": "forces_unit",
    "weak_forces_unit": "weak_forces_unit",
    "weak_forces_key": "weak_forces",
    "low_energy_key": "low_energy",
    "low_forces_key": "low_forces",
    "structures": "structures",
    "allow_unusual_units": "allow_unusual_units",
}
"""Flags of the data, without their prefix, and the fields of ``DataSettings`` that they fill; the
keys of energies, forces and stress are MACE's own flags."""
ALIASES = ("energy_unit", "length_unit")
"""Flags that may be written without the prefix."""


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
    _add_flags(group, MaceSettings, {f.name: f.name for f in dataclasses.fields(MaceSettings)})
    group = parser.add_argument_group(
        "Energy-only data (piwsl-plugins)",
        "Read with the same losses: units and keys of every file; --energy_key, --forces_key and "
        "--stress_key may be sums of columns, as in 'hf_qz.energy + mp2_qz.corr_energy'.",
    )
    _add_flags(group, DataSettings, DATA_FLAGS)
    return parser


def _add_flags(group: Any, settings: type, names: Mapping[str, str]) -> None:
    hints = typing.get_type_hints(settings)
    fields = {field.name: field for field in dataclasses.fields(settings)}
    for name, field_name in names.items():
        field = fields[field_name]
        unit = f" [{field.metadata['unit']}]" if field.metadata["unit"] else ""
        # argparse reads a percent sign as a placeholder
        text = (field.metadata["help"] + unit).replace("%", "%%")
        options: dict[str, Any] = {"help": text, "default": field.default}
        kind = _plain_type(hints[field_name])
        if field.default is None:  # the meaning says what is taken instead; print no "None"
            options["help"] += "%(default).0s"
        if kind is bool:
            options["action"] = "store_true"
        else:
            options["type"] = kind
            options["choices"] = field.metadata["choices"] or None
        alias = [f"--{name}"] if name in ALIASES else []
        group.add_argument(f"--{PREFIX}{name}", *alias, dest=PREFIX + name, **options)


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
    _check_read(args, settings, terms)
    settings.check_terms(
        terms,
        lambda name: f"--{PREFIX}{name}",
        f"--loss {args.loss} (use --loss piwsl_taylor or --loss piwsl)",
    )
    return settings


def _check_read(args: argparse.Namespace, settings: MaceSettings, terms: tuple[str, ...]) -> None:
    """Refuse flags that nothing would read."""
    for field in dataclasses.fields(MaceSettings):
        value = getattr(settings, field.name)
        weak = field.name.startswith(WEAK_FORCES)
        if value == field.default or field.name == "base_loss":
            continue
        if weak and args.piwsl_weak_forces_key is None:
            raise ValueError(
                f"--{PREFIX}{field.name} {value} acts on weak forces, and none are read; name "
                f"their key by --{PREFIX}weak_forces_key"
            )
        if not weak and not terms:
            raise ValueError(
                f"--{PREFIX}{field.name} {value} acts on the terms with displacements, and --loss "
                f"{args.loss} has none; choose one of "
                + ", ".join(name for name, terms in LOSSES.items() if terms)
            )
    if args.piwsl_weak_forces_unit is not None and args.piwsl_weak_forces_key is None:
        raise ValueError(f"--{PREFIX}weak_forces_unit is only read with --{PREFIX}weak_forces_key")


def changed_flags(args: argparse.Namespace) -> list[str]:
    """Names of the PIWSL flags that differ from their defaults."""
    defaults = {field.name: field.default for field in dataclasses.fields(MaceSettings)}
    data = {field.name: field.default for field in dataclasses.fields(DataSettings)}
    defaults |= {name: data[field] for name, field in DATA_FLAGS.items()}
    return [
        f"--{PREFIX}{name}"
        for name, default in defaults.items()
        if getattr(args, PREFIX + name, default) != default
    ]


def _plain_type(annotation: Any) -> type:
    """The type of an annotation, None left out of a union."""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (part for part in annotation.__args__ if part is not type(None))
    kind: type = annotation
    return kind
