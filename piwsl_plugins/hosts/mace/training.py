"""MACE's training loop with the PIWSL loss bound to its model, and a logger that sees each term."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from inspect import BoundArguments
from typing import Any, cast

import wrapt
from ase.data import chemical_symbols
from torch import Tensor

from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.loss import PiwslLoss
from piwsl_plugins.hosts.mace.run import Run
from piwsl_plugins.hosts.radii import covalent_radii_of

HARDLY_LEARNS = 100.0
"""Energy weight below which a run on energies alone hardly moves."""


def wrap_train(active: Run, wrapped: Callable[..., Any], call: BoundArguments) -> Any:
    """Add the terms to the losses of both stages, which from here on know their model and step."""
    arguments = call.arguments
    model, batches = arguments["model"], len(arguments["train_loader"])
    active.model, active.rank = model, arguments["rank"] or 0
    active.step = arguments["start_epoch"] * batches
    active.steps = arguments["max_num_epochs"] * batches
    active.cutoff = float(cast(Tensor, model.r_max))
    if "curvature" in active.terms:
        symbols = [chemical_symbols[int(number)] for number in model.atomic_numbers]
        with run.plain_errors():
            active.radii = covalent_radii_of(symbols)
    if active.args.piwsl_low_energy_key and not active.teaches:
        # travels with the saved model, so that nobody takes a difference for an energy
        model.piwsl_difference_to = str(active.args.piwsl_low_energy_key)
    arguments["loss_fn"] = _with_terms(arguments["loss_fn"], active)
    if (stage_two := arguments["swa"]) is not None:
        name = type(stage_two.loss_fn).__name__
        stage_two.loss_fn = PiwslLoss(stage_two.loss_fn, active)
        logging.info(f"PIWSL: stage two keeps the terms, beside MACE's {name}")
    arguments["logger"] = TermLogger(arguments["logger"], active)
    return wrapped(*call.args, **call.kwargs)


def _with_terms(base: Any, active: Run) -> PiwslLoss:
    """The loss of stage one; its weights are logged."""
    loss = PiwslLoss(base, active)
    energy_weight = float(base.energy_weight)
    if not active.counts["forces"] and energy_weight < HARDLY_LEARNS:
        logging.warning(
            f"PIWSL: energy weight {energy_weight:g} and no forces: squared errors per atom in eV "
            "leave gradients of the size of Adam's epsilon; --energy_weight 1000 learns"
        )
    for term, weight in loss.weights.items():
        ratio = weight / energy_weight if energy_weight else math.inf
        logging.info(f"PIWSL: {term} weight {weight:g}, {ratio:.3g} of the energy weight")
    return loss


class TermLogger(wrapt.ObjectProxy[Any]):
    """MACE's results logger, which also writes the value of each term.

    A training record gains the step's ``base_loss``, ``piwsl_<term>`` (the unweighted mean) and
    ``piwsl_<term>_weight``; a validation record gains their means over the epoch's steps, under
    names that start with ``train_``.
    """

    def __init__(self, logger: Any, active: Run) -> None:
        super().__init__(logger)
        self._self_run = active
        self._self_sums: dict[str, list[float]] = {}

    def log(self, record: dict[str, Any]) -> None:
        """Write one record."""
        if record.get("mode") == "opt":
            values = {name: float(value) for name, value in self._self_run.values.items()}
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
