"""MACE's command line: the ``--piwsl_*`` flags, derived from the settings' own fields."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, TypeVar

from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.fields import Settings, add_options, unknown_name
from piwsl_plugins.settings import PAPER_TERMS, TERMS, WEAK_FORCES, MaceSettings
from piwsl_plugins.teacher.settings import TeacherSettings

Kind = TypeVar("Kind", bound=Settings)
PREFIX, TEACHER = "piwsl_", "piwsl_teacher"
LOSSES: dict[str, tuple[str, ...]] = {
    "piwsl_taylor": ("taylor",),
    "piwsl_conservative": ("conservative",),
    "piwsl": PAPER_TERMS,
    "piwsl_curvature": ("curvature",),
    "piwsl_supervised": (),
    TEACHER: (),
}
"""Names for ``--loss`` and the terms with displacements that each switches on."""
MACE_KEYS = {label: f"REF_{label}" for label in ("energy", "forces", "stress", "virials")}
"""Labels that MACE has flags for, ``--energy_key`` and the like, and the default keys of these:
where a file lacks a default key, the user has not asked for it."""
DATA_FLAGS = {
    PREFIX + name + ("_key" if name in ("weak_forces", "low_energy", "low_forces") else ""): name
    for name in DataSettings.model_fields
    if name not in MACE_KEYS
}
"""Our flags of the data, without dashes, and the fields of ``DataSettings`` that they fill."""
ALIASES = ("energy_unit", "length_unit")
"""Flags that may be written without the prefix."""
SPELLING = {label: f"--{label}_key" for label in MACE_KEYS} | {
    name: f"--{flag}" for flag, name in DATA_FLAGS.items()
}
"""How a user of MACE writes a setting of the data."""
LEARNS: dict[str, Any] = {"scaling": "std_scaling", "energy_weight": 1000.0}
"""What MACE's options should be where no frame has forces: its own defaults scale by the forces
and leave gradients of the size of Adam's epsilon."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the losses' names and the flags to MACE's parser."""
    (loss,) = (action for action in parser._actions if action.dest == "loss")
    loss.choices = [*(loss.choices or ()), *LOSSES]
    group = parser.add_argument_group(
        "PIWSL losses (piwsl-plugins)",
        f"Read with --loss {', '.join(LOSSES)}: physics-informed weakly supervised losses "
        "(arXiv:2408.05215), added to the base loss in training steps.",
    )
    _add(group, MaceSettings, {name: PREFIX + name for name in MaceSettings.model_fields})
    group = parser.add_argument_group(
        "Teacher (piwsl-plugins)",
        f"Read with --loss {TEACHER}: a linear model is fitted to the training energies, and its "
        "forces train the model beside them.",
    )
    _add(
        group, TeacherSettings, {name: f"{TEACHER}_{name}" for name in TeacherSettings.model_fields}
    )
    group = parser.add_argument_group(
        "Energy-only data (piwsl-plugins)",
        "Read with the same losses: units and keys of every file; --energy_key, --forces_key and "
        "--stress_key may be sums of columns, as in 'hf_qz.energy + mp2_qz.corr_energy'.",
    )
    _add(group, DataSettings, {name: flag for flag, name in DATA_FLAGS.items()})


def _add(group: Any, settings: type[Settings], flags: Mapping[str, str]) -> None:
    def spellings(name: str) -> list[str]:
        return [f"--{flags[name]}", *([f"--{name}"] if name in ALIASES else [])]

    add_options(group, settings, spellings, flags, flags.__getitem__)


def settings_of(args: argparse.Namespace, kind: type[Kind]) -> Kind:
    """Settings of a parsed command line.

    Raises:
        ValueError: a value out of range; the message names the flag.
    """
    prefix = f"{TEACHER}_" if kind is TeacherSettings else PREFIX
    try:
        return kind(**{name: getattr(args, prefix + name) for name in kind.model_fields})
    except ValueError as error:
        raise ValueError(f"--{prefix}{error}") from None


def mace_settings(args: argparse.Namespace) -> MaceSettings:
    """Settings of the losses.

    Raises:
        ValueError: as above, or flags that contradict the chosen loss or each other.
    """
    settings = settings_of(args, MaceSettings)
    _check_read(args, settings)
    settings.check_terms(
        LOSSES[args.loss],
        lambda name: f"--{PREFIX}{name}",
        f"--loss {args.loss} (use --loss piwsl_taylor or --loss piwsl)",
    )
    return settings


def _check_read(args: argparse.Namespace, settings: MaceSettings) -> None:
    """Refuse flags that nothing would read."""
    key, unit = args.piwsl_weak_forces_key, args.piwsl_weak_forces_unit
    if args.loss == TEACHER and key:
        raise ValueError(
            f"{SPELLING[WEAK_FORCES]} {key!r} contradicts --loss {TEACHER}, whose own forces train "
            "the model; use --loss piwsl_supervised, or name the cheaper method's energy and "
            f"forces by {SPELLING['low_energy']} and {SPELLING['low_forces']}"
        )
    if unit is not None and key is None:
        raise ValueError(
            f"{SPELLING['weak_forces_unit']} is only read with {SPELLING[WEAK_FORCES]}"
        )
    for name, value in settings.changed().items():
        flag, term = f"--{PREFIX}{name} {value}", name.removesuffix("_weight")
        if name.startswith(WEAK_FORCES):
            if key is None and args.loss != TEACHER:
                raise ValueError(
                    f"{flag} acts on weak forces, and none are read; name their key by "
                    f"{SPELLING[WEAK_FORCES]}"
                )
            continue
        reading = [loss for loss, on in LOSSES.items() if (term in on if term in TERMS else on)]
        if name != "base_loss" and args.loss not in reading:
            what = f"the {term} term" if term in TERMS else "the terms with displacements"
            raise ValueError(
                f"{flag} acts on {what}, which --loss {args.loss} lacks; choose one of "
                + ", ".join(reading)
            )


def default_keys(args: argparse.Namespace) -> dict[str, str]:
    """MACE's default keys, of virials or stress the one that the base loss reads."""
    other = "stress" if args.piwsl_base_loss == "virials" else "virials"
    return {label: key for label, key in MACE_KEYS.items() if label != other}


def data_settings(
    args: argparse.Namespace, head: Mapping[str, Any], key_specification: Any
) -> DataSettings:
    """Keys and units of a head's files.

    The head's entry of ``--heads`` comes before the command line, under the same names.

    Raises:
        ValueError: an option that looks like ours and is not, or a value that is not allowed.
    """
    for name in head:
        if str(name).startswith(PREFIX) and name not in DATA_FLAGS:
            raise ValueError(f"--heads: {unknown_name(str(name), DATA_FLAGS, 'option')}")
    keys = {**key_specification.info_keys, **key_specification.arrays_keys}
    values: dict[str, Any] = {
        label: keys.get(label) if keys.get(label) != MACE_KEYS[label] else None
        for label in default_keys(args)
    }
    for flag, name in DATA_FLAGS.items():
        short = name if name in ALIASES else flag
        values[name] = head.get(flag, head.get(short, getattr(args, flag)))
    try:
        return DataSettings(**values)
    except ValueError as error:
        name, colon, rest = str(error).partition(":")
        raise ValueError(f"{SPELLING.get(name, name)}{colon}{rest}") from None
