"""What the subcommands of ``piwsl`` share: the look of their help, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from piwsl_plugins.interruptions import exit_status, terminated_like_interrupted

LAYOUT: dict[str, Any] = {
    "formatter_class": argparse.RawDescriptionHelpFormatter,
    "allow_abbrev": False,
}
"""Arguments of a parser whose description and epilog stand as they are written."""


def exit_status_of(
    program: str, run: Callable[[], int], *, interrupted: str = "interrupted"
) -> int:
    """Run a command; what is wrong with its input is one message on stderr, as is an interruption.

    Args:
        program: Name of the command.
        run: What it does; gives its exit status.
        interrupted: What is said of an interruption, by Ctrl-C or SIGTERM.

    Returns:
        Exit status: that of ``run``; 2 after a ``ValueError`` or ``OSError``; 130 or 143 where it
        was interrupted.
    """
    try:
        with terminated_like_interrupted():
            return run()
    except (ValueError, OSError) as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print(f"{program}: {interrupted}", file=sys.stderr)
        return exit_status(interruption)
