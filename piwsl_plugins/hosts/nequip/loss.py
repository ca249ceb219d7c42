"""The terms as entries of NequIP's ``MetricsManager``, and its loss with them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from nequip.data import AtomicDataDict, PerAtomModifier
from nequip.train import MetricsManager
from torch import Tensor
from torchmetrics import Metric

from piwsl_plugins.hosts.nequip import seams
from piwsl_plugins.settings import TERMS, PiwslSettings, unknown_name

PREFIX = "piwsl_"
LABELS = (
    AtomicDataDict.TOTAL_ENERGY_KEY,
    AtomicDataDict.FORCE_KEY,
    AtomicDataDict.STRESS_KEY,
)


class _Mean(Metric):  # type: ignore[misc]
    """Mean over all processes; differentiable, and 0 where nothing is averaged."""

    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # of one kind from the start: processes without a value must still meet the others
        for state in ("total", "count"):
            zero = torch.zeros((), dtype=torch.float64)
            self.add_state(state, default=zero, dist_reduce_fx="sum")

    def _add(self, total: Tensor, count: Tensor | int) -> None:
        self.total = self.total + total
        self.count = self.count + count

    def compute(self) -> Tensor:
        """The mean."""
        return self.total / self.count.clamp(min=1)


class PiwslTerm(_Mean):
    """One PIWSL term, as a metric of NequIP's without a ``field``.

    The penalties l(R) of the batch's structures come from a PIWSL training module, which puts them
    into the model's output; the metric is their mean, times the factor of ``warmup`` and
    ``every``. With ``penalty: squared`` they are in eV^2 per atom, as NequIP's ``PerAtomModifier``
    counts, and in (eV/angstrom)^2 for ``curvature``.

    Args:
        term: ``taylor``, ``conservative`` or ``curvature``.

    Raises:
        ValueError: another term.
    """

    def __init__(self, term: str, **kwargs: Any) -> None:
        if term not in TERMS:
            raise ValueError(f"term: {unknown_name(term, TERMS, 'value')}")
        super().__init__(**kwargs)
        self.term = term

    def update(self, preds: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        """Add a batch.

        Args:
            preds: the model's output, with ``piwsl_<term>`` of shape [n_graphs].
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
    processes with and without labels understand each other.
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
        terms: some of ``taylor``, ``conservative`` and ``curvature``.
        coeffs: weights of ``total_energy`` (default 1), ``forces`` and ``stress`` (default: not
            in the loss), and ``piwsl_<term>`` (default: that of the energy times the term's entry
            in ``DEFAULT_WEIGHT_RATIO``). NequIP divides all of them by their sum.
        per_atom_energy: divide the energy's error by the number of atoms.
        type_names: passed by NequIP.
        extra_metrics: further entries, as in NequIP's factories.

    Returns:
        The loss.

    Raises:
        ValueError: no or unknown terms, or unknown keys of ``coeffs``.
    """
    weights = {AtomicDataDict.TOTAL_ENERGY_KEY: 1.0, **(coeffs or {})}
    with seams.plain_errors():
        _check_terms(terms, weights)
    energy_weight = weights[AtomicDataDict.TOTAL_ENERGY_KEY]
    metrics: list[dict[str, Any]] = []
    for label in LABELS:
        if weights.get(label) is None:
            continue
        per_atom = label == AtomicDataDict.TOTAL_ENERGY_KEY and per_atom_energy
        metrics.append(
            {
                "name": "per_atom_energy_mse" if per_atom else f"{label}_mse",
                "field": PerAtomModifier(label) if per_atom else label,
                "coeff": weights[label],
                "metric": MaskedMeanSquaredError(),
            }
        )
    metrics += [
        {
            "name": PREFIX + term,
            "coeff": weights.get(PREFIX + term, PiwslSettings().weight(term, energy_weight)),
            "metric": PiwslTerm(term),
        }
        for term in terms
    ]
    return MetricsManager([*metrics, *(extra_metrics or ())], type_names=type_names)


def _check_terms(terms: Sequence[str], weights: Mapping[str, Any]) -> None:
    for term in terms:
        if term not in TERMS:
            raise ValueError(
                f"training_module.loss.terms: {unknown_name(str(term), TERMS, 'value')}"
            )
    if not terms:
        raise ValueError(f"training_module.loss.terms: got none, expected some of {TERMS}")
    known = [*LABELS, *(PREFIX + term for term in TERMS)]
    for name in weights:
        if name not in known:
            raise ValueError(f"training_module.loss.coeffs: {unknown_name(str(name), known)}")
    energy_weight = weights[AtomicDataDict.TOTAL_ENERGY_KEY]
    if not isinstance(energy_weight, Real):
        raise ValueError(
            f"training_module.loss.coeffs.total_energy: got {energy_weight!r}, expected a number; "
            "the terms' own weights are counted from it"
        )
    for term in TERMS:
        if term not in terms and PREFIX + term in weights:
            raise ValueError(
                f"training_module.loss.coeffs.{PREFIX}{term} contradicts terms: {list(terms)}, "
                f"which lacks {term!r}"
            )


def active_terms(loss: Any) -> tuple[str, ...]:
    """The terms that a loss has, by its entries' metrics, in the core's order."""
    found = {metric.term for metric in loss.values() if isinstance(metric, PiwslTerm)}
    return tuple(term for term in TERMS if term in found)


def with_weights(
    loss: Mapping[str, Any] | None, settings: PiwslSettings
) -> dict[str, Any] | Mapping[str, Any] | None:
    """A config of a loss with the weights that the settings give.

    A weight stands in one place: as ``taylor_weight`` in the ``piwsl`` block, or as the loss's
    coefficient.

    Args:
        loss: ``training_module.loss`` of a config.
        settings: the ``piwsl`` block.

    Returns:
        The config, completed.

    Raises:
        ValueError: a weight for a term that the loss lacks, or two different ones.
    """
    given = {term: getattr(settings, f"{term}_weight") for term in TERMS}
    if loss is None or all(weight is None for weight in given.values()):
        return loss
    completed: dict[str, Any] = copy.deepcopy(dict(loss))
    for term, weight in given.items():
        if weight is None:
            continue
        place, key, path = _coefficient(completed, term)
        if place is None:
            raise ValueError(
                f"training_module.piwsl.{term}_weight {weight:g} is given, and the loss has no "
                f"{term} term: add {term!r} to training_module.loss.terms"
            )
        if place.get(key) is not None and float(place[key]) != weight:
            raise ValueError(
                f"the weight of the {term} term is given twice: training_module.piwsl."
                f"{term}_weight {weight:g} and {path} {float(place[key]):g}; keep one"
            )
        place[key] = weight
    return completed


def _coefficient(loss: dict[str, Any], term: str) -> tuple[dict[str, Any] | None, str, str]:
    """The mapping and the key that a term's coefficient stands under, and how it is called."""
    path = "training_module.loss"
    for block in ("metrics", "extra_metrics"):
        for number, entry in enumerate(loss.get(block) or []):
            metric = entry.get("metric")
            target = metric.get("_target_", "") if isinstance(metric, Mapping) else ""
            if target.endswith(PiwslTerm.__name__) and metric["term"] == term:
                return entry, "coeff", f"{path}.{block}[{number}].coeff"
    if str(loss.get("_target_", "")).endswith(PiwslLoss.__name__) and term in loss.get(
        "terms", ("taylor",)
    ):
        loss["coeffs"] = dict(loss.get("coeffs") or {})
        return loss["coeffs"], PREFIX + term, f"{path}.coeffs.{PREFIX}{term}"
    return None, "", ""
