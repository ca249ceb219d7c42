"""Command-line options for keys and units, made of :class:`DataSettings`."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from piwsl_plugins.data.blocks import LABELS
from piwsl_plugins.data.readers.base import Source
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.writers import NAMES


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting, ``--energy-key`` or ``--energy_key``, and so on."""
    group = parser.add_argument_group(
        "keys and units", "A key may be a sum of the file's columns, e.g. 'a + b'."
    )
    for field in dataclasses.fields(DataSettings):
        name = f"{field.name}_key" if field.name in LABELS else field.name
        spellings = list(dict.fromkeys([f"--{name.replace('_', '-')}", f"--{name}"]))
        help = field.metadata["help"]
        if field.default is False:
            group.add_argument(*spellings, action="store_true", dest=field.name, help=help)
            continue
        choices = field.metadata["choices"]
        if field.name in NAMES and field.name != "energy":
            help += f"; left out, {NAMES[field.name]} where the file has it"
        if choices and len(choices) < 10:
            help += f"; one of {', '.join(choices)}"
        metavar = "UNIT" if choices else "KEY" if field.name in LABELS else "FILE"
        group.add_argument(*spellings, dest=field.name, metavar=metavar, help=help)


def use_usual_names(source: Source) -> None:
    """Take labels whose keys were left out from where :mod:`writers` would have put them.

    Args:
        source: a file that was just opened; its settings get the names that it has.
    """
    known = source.keys
    found: dict[str, Any] = {
        label: name
        for label, name in NAMES.items()
        if label != "energy" and getattr(source.settings, label) is None and name in known
    }
    source.settings = dataclasses.replace(source.settings, **found)


def data_settings(chosen: argparse.Namespace) -> DataSettings:
    """The settings that were chosen by these options.

    Raises:
        ValueError: an unknown unit.
    """
    names = [field.name for field in dataclasses.fields(DataSettings)]
    return DataSettings(**{name: getattr(chosen, name) for name in names})
