"""MACE's results logger with the value of each term."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from piwsl_plugins.hosts.mace.loss import Progress


class TermLogger(wrapt.ObjectProxy[Any]):
    """MACE's results logger, which also writes the value of each term.

    A training record gains the step's ``base_loss``, ``piwsl_<term>`` (the unweighted mean) and
    ``piwsl_<term>_weight``; a validation record gains their means over the epoch's steps, under
    names that start with ``train_``.
    """

    def __init__(self, logger: Any, progress: Progress) -> None:
        super().__init__(logger)
        self._self_progress = progress
        self._self_sums: dict[str, list[float]] = {}

    def log(self, record: dict[str, Any]) -> None:
        """Write one record."""
        if record.get("mode") == "opt":
            values = {name: float(value) for name, value in self._self_progress.values.items()}
            record.update(values)
            for name, value in values.items():
                self._self_sums.setdefault(name, []).append(value)
        elif self._self_sums:
            means = {name: sum(all_) / len(all_) for name, all_ in self._self_sums.items()}
            self._self_sums = {}
            record.update({f"train_{name}": value for name, value in means.items()})
            text = ", ".join(f"{name}={value:.6g}" for name, value in means.items())
            logging.info(f"Epoch {record['epoch']}: PIWSL, mean over training steps: {text}")
        self.__wrapped__.log(record)
