"""Progress with the time left, on whatever takes longer than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm import tqdm

from piwsl_plugins.data.blocks import Block

PATIENCE = 2.0
"""Seconds before a bar is shown."""
_LOG_INTERVAL = 30.0  # seconds between lines where the output is a file
Item = TypeVar("Item")


def watched(blocks: Iterable[Block], what: str, total: int | None) -> Iterator[Block]:
    """Hand on blocks, and show on stderr how many of their frames are done.

    Args:
        blocks: the blocks.
        what: what is being done, for the bar.
        total: frames in all, or None where that is not known.

    Yields:
        The blocks.
    """
    with bar(what, total, unit_scale=True) as shown:
        for block in blocks:
            yield block
            shown.update(len(block))


def each(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """The same for items that are one frame each.

    Args:
        items: the items.
        what: what is being done, for the bar.
        total: how many they are, where they do not know it themselves.

    Yields:
        The items.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(what, total) as shown:
        for item in items:
            yield item
            shown.update()


def bar(what: str, total: int | None, unit: str = " frames", *, unit_scale: bool = False) -> Any:  # noqa: ANN401  tqdm's type is generic
    """A bar on stderr that appears where something takes longer than :data:`PATIENCE`.

    Args:
        what: what is being done.
        total: how much there is to do, or None where that is not known.
        unit: what it is counted in, with a space before it.
        unit_scale: whether large numbers are shortened, as in 12k.

    Returns:
        The bar, a context manager with ``update``.
    """
    interval = 0.1 if sys.stderr.isatty() else _LOG_INTERVAL
    return tqdm(
        desc=what,
        total=total,
        unit=unit,
        unit_scale=unit_scale,
        delay=PATIENCE,
        mininterval=interval,
        maxinterval=max(interval, 10.0),
        leave=False,
        dynamic_ncols=True,
    )
