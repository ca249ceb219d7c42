"""Metrics, tables and plots of MACE on frames with missing labels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from piwsl_plugins.hosts.mace import run

UNFILTERED: dict[str, tuple[str, dict[str, bool]]] = {
    "delta_es_per_atom": ("energy_weight", {}),
    "fs": ("forces_weight", {"spread_atoms": True}),
    "delta_virials_per_atom": ("virials_weight", {}),
    "mus": ("dipole_weight", {"spread_quantity_vector": False}),
    "delta_mus_per_atom": ("dipole_weight", {"spread_quantity_vector": False}),
    "delta_polarizability_per_atom": (
        "polarizability_weight",
        {"spread_quantity_vector": False},
    ),
}
"""States of MACE's metrics that keep what has no label: their weights, and how they apply."""


def wrap_update(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Let MACE's metrics of a batch see labelled structures alone.

    MACE leaves frames without a label out of the errors of total energies and of forces, but not
    out of errors per atom and of what relative errors are relative to, where its placeholder zeros
    count as labels.
    """
    if run.active() is None:
        return wrapped(*args, **kwargs)
    metric = wrapped.__self__  # type: ignore[attr-defined]
    before = {name: len(getattr(metric, name)) for name in UNFILTERED}
    result = wrapped(*args, **kwargs)
    from mace.tools.utils import filter_nonzero_weight

    batch = inspect.signature(wrapped).bind(*args, **kwargs).arguments["batch"]
    for name, (weight, how) in UNFILTERED.items():
        values = getattr(metric, name)
        if len(values) > before[name]:
            filter_nonzero_weight(batch, values, batch.weight, getattr(batch, weight), **how)
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
