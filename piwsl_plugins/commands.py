"""What the subcommands of ``piwsl`` share: the look of their help, and how they end."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

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
        with _terminated_like_interrupted():
            return run()
    except (ValueError, OSError) as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print(f"{program}: {interrupted}", file=sys.stderr)
        number = interruption.args[0] if interruption.args else signal.SIGINT
        return 128 + int(number)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM, as batch systems send it, end what goes inside as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
