"""Errors about a user's input, shown as one message where a command line runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class SeamError(RuntimeError):
    """A host is not the host that its adapter was tested with."""


@contextmanager
def plain_errors(command: str) -> Iterator[None]:
    """Turn an error about the user's input into one message of ``command``, and SystemExit."""
    try:
        yield
    except (ValueError, OSError, SeamError) as error:
        _write_to_log_files(f"PIWSL: {error}")
        raise SystemExit(f"{command}: error: {error}") from error


def _write_to_log_files(message: str) -> None:
    """Log an error past a host's console handler, so that a terminal shows it once: on stderr."""
    root = logging.getLogger()
    record = root.makeRecord(root.name, logging.ERROR, __file__, 0, message, (), None)
    for handler in root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
