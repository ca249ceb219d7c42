"""``piwsl data``: what is in a file of frames, and conversion of such files."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from piwsl_plugins.commands import exit_status_of
from piwsl_plugins.data import convert_command, inspect_command

PROGRAM = "piwsl data"
DESCRIPTION = """\
Files of energies and geometries: ANI and SPICE HDF5, extended XYZ and whatever else ASE reads, ASE
databases, tables of energies beside structures."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog=PROGRAM, description=DESCRIPTION, allow_abbrev=False)
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    inspect_command.add_to(commands)
    convert_command.add_to(commands)
    return made


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: words after ``piwsl data``.

    Returns:
        Exit status: 0; 1 where ``inspect`` found errors; 2 after a message about what was wrong;
        130 or 143 where it was interrupted.
    """
    chosen = parser().parse_args(list(arguments))
    chosen.words = list(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("piwsl_plugins").setLevel(logging.INFO)
    return exit_status_of(
        PROGRAM, lambda: chosen.run(chosen), interrupted="interrupted; nothing was written"
    )
