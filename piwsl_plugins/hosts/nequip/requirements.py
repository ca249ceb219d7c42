"""What a training module, its loss and its metrics ask of each other and of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nequip.train import ConFIGLightningModule

from piwsl_plugins.hosts.nequip import seams
from piwsl_plugins.hosts.nequip.labels import FRAMES, LABELS, Masks
from piwsl_plugins.hosts.nequip.metrics import MaskedMeanSquaredError, active_terms, is_ours
from piwsl_plugins.settings import WEAK_FORCES, RunSettings

BLOCK = "training_module.piwsl"


def check_module(training: Any, host: str, settings: RunSettings, entries: Sequence[str]) -> None:
    """Check a training module that has been made.

    Args:
        training: a PIWSL training module with a loss.
        host: NequIP's own class that it stands beside, for the message.
        settings: settings of the losses.
        entries: what the loss asks the module for.

    Raises:
        ValueError: settings, loss and model that contradict each other.
    """
    terms, weak = active_terms(training.loss), WEAK_FORCES in entries
    config = isinstance(training, ConFIGLightningModule)
    if not is_ours(training.loss):
        raise ValueError(
            f"training_module._target_ is {type(training).__name__}, and its loss has no PIWSL "
            "term; set training_module.loss._target_ to piwsl_plugins.hosts.nequip.PiwslLoss, add "
            "an entry with the metric piwsl_plugins.hosts.nequip.PiwslTerm to extra_metrics, or "
            f"use nequip.train.{host}"
        )
    settings.check_terms(
        terms, lambda name: f"{BLOCK}.{name}", f"a loss with terms: {list(entries)}"
    )
    _check_weak_settings(settings, weak, config)
    _check_derivatives(training, terms, weak)
    if terms and settings.second_order == "hessian" and seams.is_compiled(training.model):
        raise ValueError(
            f"{BLOCK}.second_order 'hessian' differentiates the forces, which a model with "
            "compile_mode: compile does not allow; use second_order: trapezoid, or compile_mode: "
            "eager"
        )
    if terms and settings.every > 1 and config:
        raise ValueError(
            f"{BLOCK}.every {settings.every}: ConFIG weighs the directions of all terms' gradients "
            "in every step, and a term that is off has none; use every: 1"
        )


def _check_weak_settings(settings: RunSettings, weak: bool, config: bool) -> None:
    defaults = RunSettings()
    for name in ("weak_forces_penalty", "weak_forces_fade"):
        if not weak and getattr(settings, name) not in (getattr(defaults, name), 0.0):
            raise ValueError(
                f"{BLOCK}.{name} {getattr(settings, name)} acts on the weak forces, which the loss "
                f"lacks: add {WEAK_FORCES!r} to training_module.loss.terms"
            )
    if config and settings.fade_of(WEAK_FORCES):
        raise ValueError(
            f"{BLOCK}.weak_forces_fade {settings.fade_of(WEAK_FORCES):g}: ConFIG reads the "
            "direction of each term's gradient alone, which a fading weight does not change; leave "
            "it out, or use a training module without ConFIG"
        )


def _check_derivatives(training: Any, terms: Sequence[str], weak: bool) -> None:
    """Check that the model has the forces that something needs."""
    if all(output.do_derivatives for output in seams.force_outputs(training.model)):
        return
    needs = "the PIWSL terms need" if terms else "the weak forces need"
    if not (terms or weak):
        if seams.reads_energies_alone(training.loss):
            return
        needs = "the errors of forces and stress in the loss need"
    raise ValueError(
        "training_module.model has do_derivatives: false, NequIP's recipe for energies alone, and "
        f"{needs} the model's forces; leave it out (true is the default, and needs no force "
        "labels). A loss on energies alone, without terms, weak forces or errors of forces and "
        "stress, goes with false"
    )


def check_labels_of(metrics: Any, masks: Masks, frames: int, where: str, which: str) -> None:
    """Check that a metric gets the labels that it reads, and can do with those that are missing.

    Args:
        metrics: a ``MetricsManager`` of the loss or of errors, or None.
        masks: which frames have which label.
        frames: number of frames.
        where: how an error calls the metrics, e.g. ``training_module.val_metrics``.
        which: how it calls the frames, e.g. ``validation``.

    Raises:
        ValueError: no frame has a label that an entry with a weight reads, the data have no such
            label at all, or an entry would be NaN because some frames lack it.
    """
    for name, entry in (metrics.entries if metrics is not None else {}).items():
        label = seams.label_of(entry.field)
        if label not in LABELS:
            continue
        known = int(masks[label].sum()) if label in masks else 0
        if known == 0 and label in masks and entry.coeff is None:
            continue  # only printed, as NaN
        if known == 0:
            raise ValueError(
                f"{where}: {name} reads the label {label}, and none of the {frames} {which} frames "
                "has it; name its key in the data module, or choose "
                + ("a loss" if where.endswith("loss") else "metrics")
                + " without it"
            )
        if known == frames or (isinstance(metrics[name], MaskedMeanSquaredError)):
            continue
        lack = f"{frames - known} of the {frames} {which} frames lack the label {label}"
        if where.endswith("loss"):
            raise ValueError(
                f"{where}: {lack}, which makes {name} NaN wherever a batch has none; use "
                "piwsl_plugins.hosts.nequip.PiwslLoss, which leaves them out"
            )
        if entry.per_type or not entry.ignore_nan:
            raise ValueError(
                f"{where}: {lack}, and {name} cannot leave them out; use a mean error over all "
                "types, e.g. those of nequip.train.EnergyForceMetrics"
            )


def check_counts(counts: Mapping[str, int], settings: RunSettings, weak: bool) -> None:
    """Check that the training data have the labels that the terms read.

    Args:
        counts: number of training frames by label.
        settings: settings of the losses.
        weak: whether the loss reads weak forces.

    Raises:
        ValueError: an anchor or a loss on labels that no frame has.
    """
    if settings.anchor == "label_and_forces" and not counts.get("forces"):
        raise ValueError(
            f"{BLOCK}.anchor 'label_and_forces' acts on structures with reference forces, and no "
            "training frame has any; use anchor: label"
        )
    if weak and not counts.get(WEAK_FORCES):
        raise ValueError(
            f"the loss has the term {WEAK_FORCES}, and none of the {counts[FRAMES]} training "
            f"frames has weak forces; name their key in the data module (labels: {{{WEAK_FORCES}: "
            f"KEY}}, or key_mapping: {{KEY: {WEAK_FORCES}}}), or take {WEAK_FORCES!r} out of "
            "training_module.loss.terms"
        )
