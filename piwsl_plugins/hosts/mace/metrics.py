"""Metrics, tables and plots of MACE on frames with missing labels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from piwsl_plugins.hosts.mace import run


def wrap_update(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Let MACE's metrics of a batch see the forces of labelled structures alone.

    MACE leaves out their errors where there is no label, but takes its placeholder zeros for
    reference forces in the relative errors.
    """
    metric = wrapped.__self__  # type: ignore[attr-defined]
    before = len(metric.fs)
    result = wrapped(*args, **kwargs)
    if run.active() is not None and len(metric.fs) > before:
        from mace.tools.utils import filter_nonzero_weight

        batch = inspect.signature(wrapped).bind(*args, **kwargs).arguments["batch"]
        filter_nonzero_weight(
            batch, metric.fs, batch.weight, batch.forces_weight, spread_atoms=True
        )
    return result


def wrap_plot_epoch_dependence(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Plot the errors that there are.

    MACE looks for the force errors among its records, where data without forces have none, and
    gives each curve a pair of names, which newer versions of matplotlib refuse.
    """
    if run.active() is None:
        return wrapped(*args, **kwargs)
    call = inspect.signature(wrapped).bind(*args, **kwargs)
    found = call.arguments["data"].columns
    labels = [label for label in call.arguments["labels"] if label[0] in found]
    call.arguments["labels"] = [_Label(label) for label in labels]
    return wrapped(*call.args, **call.kwargs)


class _Label(str):
    """A record's key and what to call it: two values to MACE, one name to matplotlib."""

    def __new__(cls, pair: tuple[str, str]) -> _Label:
        return super().__new__(cls, pair[1])

    def __init__(self, pair: tuple[str, str]) -> None:
        self._pair = pair

    def __iter__(self) -> Iterator[str]:
        return iter(self._pair)
