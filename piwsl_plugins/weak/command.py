"""``piwsl weak``: a cheap method as a teacher where the better one gives energies alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from piwsl_plugins.commands import exit_status_of
from piwsl_plugins.weak import correct_command, label_command, sample_command, train_command

PROGRAM = "piwsl weak"
DESCRIPTION = "A cheap method as a teacher where the better one gives energies alone."


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog=PROGRAM, description=DESCRIPTION, allow_abbrev=False)
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (label_command, sample_command, correct_command, train_command):
        command.add_to(commands)
    return made


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: words after ``piwsl weak``.

    Returns:
        Exit status: 0; 1 where frames failed and that is an error; 2 after a message about what
        was wrong; 130 or 143 where it was interrupted.
    """
    chosen = parser().parse_args(list(arguments))
    return exit_status_of(
        chosen.program,
        lambda: chosen.run(chosen),
        interrupted="interrupted; the same command goes on",
    )
