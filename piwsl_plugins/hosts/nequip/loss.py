"""NequIP's loss with the PIWSL terms as entries, and mean errors of labels that may be missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from nequip.data import AtomicDataDict, PerAtomModifier
from nequip.train import MetricsManager
from torch import Tensor
from torchmetrics import Metric

from piwsl_plugins.fields import unknown_name
from piwsl_plugins.settings import TERMS, WEAK_FORCES, PiwslSettings

PREFIX = "piwsl_"
TEACHER = "teacher"  # the weak forces of the teacher, which is fitted to the training energies
ENTRIES = (*TERMS, WEAK_FORCES, TEACHER)
"""What a loss of NequIP's gets from a PIWSL training module, by name."""
ENERGY = AtomicDataDict.TOTAL_ENERGY_KEY
LABELS = (ENERGY, AtomicDataDict.FORCE_KEY, AtomicDataDict.STRESS_KEY)


class Mean(Metric):  # type: ignore[misc]
    """Mean over all processes; differentiable, and 0 where nothing is averaged."""

    total: Tensor
    count: Tensor
    empty: Tensor  # whether the last value is a mean over nothing, shape [], bool

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # of one kind from the start: processes without a value must still meet the others
        for state in ("total", "count"):
            zero = torch.zeros((), dtype=torch.float64, device="cpu")
            self.add_state(state, default=zero, dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """The mean."""
        self.empty = self.count == 0
        return self.total / self.count.clamp(min=1)


class PiwslTerm(Mean):
    """One PIWSL term, as a metric of NequIP's without a ``field``: the mean of its penalties.

    A PIWSL training module puts the penalties into the model's output, and the factor of the
    schedules on the coefficient. With ``penalty: squared`` they are in eV^2 per atom, as NequIP's
    ``PerAtomModifier`` counts, and in (eV/angstrom)^2 for the terms on forces.

    Args:
        term: ``taylor``, ``conservative``, ``curvature``, ``weak_forces`` or ``teacher``.
    """

    def __init__(self, term: str, **kwargs: Any) -> None:
        if term not in ENTRIES:
            raise ValueError(f"training_module.loss.terms: {unknown_name(term, ENTRIES)}")
        super().__init__(**kwargs)
        self.term = term

    def update(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Add the penalties in ``preds``, and 1 where there is one, else 0, shape [2, n_graphs]."""
        if str(self) not in preds:
            raise ValueError(
                f"the loss term {self} needs a PIWSL training module: set training_module._target_ "
                "to the counterpart of NequIP's own, e.g. piwsl_plugins.hosts.nequip."
                "PiwslEMALightningModule for EMALightningModule; it acts in training steps only, "
                "and does not belong into val_metrics or test_metrics"
            )
        total, count = preds[str(self)].sum(dim=1)
        self.total = self.total + total
        self.count = self.count + count

    def __str__(self) -> str:
        return PREFIX + self.term


class MaskedMeanSquaredError(Mean):
    """Mean squared error over the labels that are there; missing ones are NaN.

    Other than NequIP's own with ``ignore_nan``, it stays finite in a batch without any label.
    """

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch of predictions and targets of the same shape."""
        known = ~target.isnan()
        # the NaN must be gone before the difference, or its gradient is NaN too
        error = torch.where(known, preds - torch.where(known, target, 0.0), 0.0)
        self.total = self.total + error.square().sum()
        self.count = self.count + known.sum()

    def __str__(self) -> str:
        return "mse"


def PiwslLoss(  # noqa: N802  NequIP's own factories are written like classes
    terms: Sequence[str] = ("taylor",),
    coeffs: Mapping[str, float] | None = None,
    per_atom_energy: bool = True,
    type_names: Sequence[str] | None = None,
    extra_metrics: Sequence[Mapping[str, Any]] | None = None,
) -> Any:
    """NequIP's ``MetricsManager`` with mean squared errors of the labels and the PIWSL terms.

    Missing labels (NaN) are left out, frame by frame. The names of the entries, for schedulers
    and monitors, are ``per_atom_energy_mse`` (or ``total_energy_mse``), ``forces_mse`` and
    ``stress_mse`` as NequIP's factories have them, and ``piwsl_<term>``.

    Args:
        terms: some of those of :class:`PiwslTerm`; ``[]`` for the errors of the labels alone.
        coeffs: weights of ``total_energy`` (default 1), ``forces`` and ``stress`` (default: not
            in the loss), and ``piwsl_<term>`` (default: that of the energy times the term's entry
            in ``DEFAULT_WEIGHT_RATIO``). NequIP divides all of them by their sum.
        per_atom_energy: divide the energy's error by the number of atoms.
        type_names: passed by NequIP.
        extra_metrics: further entries, as in NequIP's factories.
    """
    weights, made = {ENERGY: 1.0, **(coeffs or {})}, [PiwslTerm(term) for term in terms]
    known = [*LABELS, *map(str, made)]
    for name in (name for name in weights if name not in known):
        where = f"training_module.loss.coeffs, with terms: {[*terms]}"
        raise ValueError(f"{where}: {unknown_name(str(name), known)}")
    metrics: list[dict[str, Any]] = []
    for label in (label for label in LABELS if weights.get(label) is not None):
        per_atom = label == ENERGY and per_atom_energy
        metrics.append(
            {
                "name": "per_atom_energy_mse" if per_atom else f"{label}_mse",
                "field": PerAtomModifier(label) if per_atom else label,
                "coeff": weights[label],
                "metric": MaskedMeanSquaredError(),
            }
        )
    for metric in made:
        default = PiwslSettings().weight(whose(metric.term), weights[ENERGY])
        coeff = weights.get(str(metric), default)
        metrics.append({"name": str(metric), "coeff": coeff, "metric": metric})
    return MetricsManager([*metrics, *(extra_metrics or ())], type_names=type_names)


def whose(entry: str) -> str:
    """The term whose settings an entry of the loss has: the teacher's forces are weak forces."""
    return WEAK_FORCES if entry == TEACHER else entry
