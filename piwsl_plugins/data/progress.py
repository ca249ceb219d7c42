"""Progress with the time left, on whatever takes longer than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from tqdm import tqdm

from piwsl_plugins.data.blocks import Block

PATIENCE = 2.0
"""Seconds before a bar is shown."""
_LOG_INTERVAL = 30.0  # seconds between lines where the output is a file


def watched(blocks: Iterable[Block], what: str, total: int | None) -> Iterator[Block]:
    """Hand on blocks, and show on stderr how many of their frames are done.

    Args:
        blocks: the blocks.
        what: what is being done, for the bar.
        total: frames in all, or None where that is not known.

    Yields:
        The blocks.
    """
    interval = 0.1 if sys.stderr.isatty() else _LOG_INTERVAL
    with tqdm(
        desc=what,
        total=total,
        unit=" frames",
        unit_scale=True,
        delay=PATIENCE,
        mininterval=interval,
        maxinterval=max(interval, 10.0),
        leave=False,
        dynamic_ncols=True,
    ) as bar:
        for block in blocks:
            yield block
            bar.update(len(block))
