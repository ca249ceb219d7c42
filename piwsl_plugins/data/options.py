"""Command-line options for keys and units, the same for all commands."""

from __future__ import annotations

import argparse

from piwsl_plugins import fields
from piwsl_plugins.data.frames import LABELS
from piwsl_plugins.data.settings import DataSettings

USUAL_KEYS = {
    **{label: (f"REF_{label}", label) for label in ("forces", "stress")},
    **{label: label for label in ("weak_forces", "low_energy", "low_forces")},
}
"""Keys that ``piwsl inspect`` and ``piwsl convert`` take where the file has them."""


def option(name: str) -> str:
    """The option of a setting: ``--energy-key``, ``--energy-unit``, ..."""
    return f"--{name}{'_key' if name in (*LABELS, 'virials') else ''}".replace("_", "-")


SPELLING = {name: option(name) for name in DataSettings.model_fields}


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each setting, ``--energy-key`` or ``--energy_key``, and so on."""
    meaning = "A key may be a sum of the file's columns, e.g. 'a + b'."
    group = parser.add_argument_group("keys and units", meaning)
    both = {name: {word, "--" + word[2:].replace("-", "_")} for name, word in SPELLING.items()}
    fields.add_options(group, DataSettings, lambda name: sorted(both[name]))


def data_settings(options: argparse.Namespace) -> DataSettings:
    """The settings that were chosen by these options."""
    return DataSettings(**{name: getattr(options, name) for name in SPELLING})
