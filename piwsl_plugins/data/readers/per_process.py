"""A file that several processes read, each through a handle of its own."""

from __future__ import annotations

import copy
import os

from piwsl_plugins.data.readers.base import Source


class PerProcess:
    """Holds a source for a dataset that data-loader processes may get by a fork.

    Args:
        source: the open file.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._process = os.getpid()

    @property
    def source(self) -> Source:
        """The file, reopened in each process: a handle must not be shared with a parent."""
        if self._process != os.getpid():
            self._source, self._process = copy.copy(self._source), os.getpid()
        return self._source
