"""The terms, and the mean squared error of labels that may be missing, as metrics of NequIP's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from piwsl_plugins.fields import unknown_name
from piwsl_plugins.hosts.nequip import seams
from piwsl_plugins.settings import TERMS, WEAK_FORCES

PREFIX = "piwsl_"
ENTRIES = (*TERMS, WEAK_FORCES)
"""What a loss of NequIP's gets from a PIWSL training module, by name."""


class _Mean(Metric):  # type: ignore[misc]
    """Mean over all processes; differentiable, and 0 where nothing is averaged.

    Attributes:
        is_empty: whether the last value that was computed is a mean over nothing.
    """

    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.is_empty = False
        # of one kind from the start: processes without a value must still meet the others
        for state in ("total", "count"):
            zero = torch.zeros((), dtype=torch.float64)
            self.add_state(state, default=zero, dist_reduce_fx="sum")

    def _add(self, total: Tensor, count: Tensor | int) -> None:
        self.total = self.total + total
        self.count = self.count + count

    def compute(self) -> Tensor:
        """The mean."""
        self.is_empty = bool(self.count == 0)
        return self.total / self.count.clamp(min=1)


class PiwslTerm(_Mean):
    """One PIWSL term, as a metric of NequIP's without a ``field``.

    The penalties of the batch's structures come from a PIWSL training module, which puts them
    into the model's output; the metric is their mean, times the factor of the schedules. With
    ``penalty: squared`` they are in eV^2 per atom, as NequIP's ``PerAtomModifier`` counts, and in
    (eV/angstrom)^2 for ``curvature``. Those of ``weak_forces``, the mean squared error of a
    component or the mean length of a vector, are averaged over the structures that have them.

    Args:
        term: ``taylor``, ``conservative``, ``curvature`` or ``weak_forces``.

    Raises:
        ValueError: another term.
    """

    def __init__(self, term: str, **kwargs: Any) -> None:
        if term not in ENTRIES:
            raise ValueError(f"term: {unknown_name(term, ENTRIES, 'value')}")
        super().__init__(**kwargs)
        self.term = term

    def update(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Add a batch.

        Args:
            preds: the model's output, with ``piwsl_<term>`` of shape [n_graphs], or with one
                entry for each structure that has the label.
            target: unused; NequIP passes it.

        Raises:
            ValueError: the training module is not one of ours.
        """
        penalties = preds.get(str(self))
        with seams.plain_errors():
            if penalties is None:
                raise ValueError(
                    f"the loss term {self} needs a PIWSL training module: in the config, set "
                    "training_module._target_ to the counterpart of NequIP's own, e.g. "
                    "piwsl_plugins.hosts.nequip.PiwslEMALightningModule for EMALightningModule; it "
                    "acts in training steps only, so that it does not belong into val_metrics or "
                    "test_metrics"
                )
        self._add(penalties.sum(), len(penalties))

    def __str__(self) -> str:
        return PREFIX + self.term


class MaskedMeanSquaredError(_Mean):
    """Mean squared error over the labels that are there; missing ones are NaN.

    Other than NequIP's own with ``ignore_nan``, it stays finite in a batch without any label, and
    processes with and without labels understand each other. (A PIWSL training module logs NaN for
    such a batch, as a zero would look like a fit.)
    """

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            preds: any shape.
            target: the same shape, NaN where there is no label.
        """
        known = ~target.isnan()
        # the NaN must be gone before the difference, or its gradient is NaN too
        error = torch.where(known, preds - torch.where(known, target, 0.0), 0.0)
        self._add(error.square().sum(), known.sum())

    def __str__(self) -> str:
        return "mse"


def active_entries(loss: Any) -> tuple[str, ...]:
    """What a loss asks a PIWSL training module for, by its entries' metrics, in our order."""
    found = {metric.term for metric in loss.values() if isinstance(metric, PiwslTerm)}
    return tuple(entry for entry in ENTRIES if entry in found)


def active_terms(loss: Any) -> tuple[str, ...]:
    """The consistency terms among them, in the core's order."""
    return tuple(term for term in active_entries(loss) if term in TERMS)


def is_ours(loss: Any) -> bool:
    """Whether a loss has an entry that is ours."""
    return any(isinstance(metric, _Mean) for metric in loss.values())


def without_empty(logged: Mapping[str, Any], loss: Any) -> dict[str, Any]:
    """What is logged of a loss, with NaN for what is a mean over no label at all.

    Args:
        logged: value by name, where a name ends in ``/`` and the entry's.
        loss: the ``MetricsManager`` whose values were computed last.

    Returns:
        The same names.
    """
    empty = {name for name, metric in loss.items() if getattr(metric, "is_empty", False)}
    return {
        name: torch.full_like(torch.as_tensor(value), torch.nan)
        if name.rpartition("/")[2] in empty
        else value
        for name, value in logged.items()
    }
