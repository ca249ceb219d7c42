"""NequIP's loss with the PIWSL terms as entries, and where their weights come from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from nequip.data import AtomicDataDict, PerAtomModifier
from nequip.train import MetricsManager

from piwsl_plugins.fields import unknown_name
from piwsl_plugins.hosts.nequip import seams
from piwsl_plugins.hosts.nequip.metrics import ENTRIES, PREFIX, MaskedMeanSquaredError, PiwslTerm
from piwsl_plugins.settings import PiwslSettings

LABELS = (
    AtomicDataDict.TOTAL_ENERGY_KEY,
    AtomicDataDict.FORCE_KEY,
    AtomicDataDict.STRESS_KEY,
)


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
        terms: some of ``taylor``, ``conservative`` and ``curvature``, and ``weak_forces`` for the
            error against the forces of a cheaper method (the label ``weak_forces``); ``[]`` for
            the errors of the labels alone.
        coeffs: weights of ``total_energy`` (default 1), ``forces`` and ``stress`` (default: not
            in the loss), and ``piwsl_<term>`` (default: that of the energy times the term's entry
            in ``DEFAULT_WEIGHT_RATIO``). NequIP divides all of them by their sum.
        per_atom_energy: divide the energy's error by the number of atoms.
        type_names: passed by NequIP.
        extra_metrics: further entries, as in NequIP's factories.

    Returns:
        The loss.

    Raises:
        ValueError: unknown terms, or unknown keys of ``coeffs``.
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
        if term not in ENTRIES:
            raise ValueError(
                f"training_module.loss.terms: {unknown_name(str(term), ENTRIES, 'value')}"
            )
    known = [*LABELS, *(PREFIX + term for term in ENTRIES)]
    for name in weights:
        if name not in known:
            raise ValueError(f"training_module.loss.coeffs: {unknown_name(str(name), known)}")
    energy_weight = weights[AtomicDataDict.TOTAL_ENERGY_KEY]
    if not isinstance(energy_weight, Real):
        raise ValueError(
            f"training_module.loss.coeffs.total_energy: got {energy_weight!r}, expected a number; "
            "the terms' own weights are counted from it"
        )
    for term in ENTRIES:
        if term not in terms and PREFIX + term in weights:
            raise ValueError(
                f"training_module.loss.coeffs.{PREFIX}{term} contradicts terms: {list(terms)}, "
                f"which lacks {term!r}"
            )


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
    given = {term: getattr(settings, f"{term}_weight") for term in ENTRIES}
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
