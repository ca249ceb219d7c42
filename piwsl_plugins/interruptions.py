"""SIGTERM, as batch systems and container engines send it, treated as Ctrl-C is."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM end what goes inside as SIGINT does, so that nothing stays behind half done."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_status(interruption: KeyboardInterrupt) -> int:
    """Exit status of a command that was interrupted: 128 and the signal's number."""
    return 128 + int(interruption.args[0] if interruption.args else signal.SIGINT)
