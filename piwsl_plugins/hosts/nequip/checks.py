"""What a training module, its loss and its settings ask of each other and of the training data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nequip import train
from nequip.data import AtomicDataDict

from piwsl_plugins.data.checks import check_displacement
from piwsl_plugins.data.frames import TARGETS
from piwsl_plugins.hosts.nequip import seams
from piwsl_plugins.hosts.nequip.dataset import FrameDataset
from piwsl_plugins.hosts.nequip.loss import ENTRIES, PREFIX, TEACHER, MaskedMeanSquaredError, whose
from piwsl_plugins.settings import WEAK_FORCES

BLOCK = "training_module.piwsl"
LOSS = "piwsl_plugins.hosts.nequip.PiwslLoss"


def check_module(training: Any) -> None:
    """Refuse settings, loss and model of a PIWSL training module that contradict each other."""
    entries, metrics = training.piwsl_entries, training.loss.values()
    if not entries and not any(isinstance(metric, MaskedMeanSquaredError) for metric in metrics):
        host = next(c for c in type(training).__mro__ if c.__module__.startswith("nequip."))
        raise ValueError(
            f"training_module._target_ is {type(training).__name__}, and its loss has no term of "
            f"ours; set its loss._target_ to {LOSS}, or use nequip.train.{host.__name__}"
        )
    training.piwsl_settings.check_terms(
        training.piwsl_terms, lambda name: f"{BLOCK}.{name}", f"a loss with terms: {list(entries)}"
    )
    for wrong in _contradictions(training, training.piwsl_settings, entries):
        raise ValueError(wrong)
    derived = all(output.do_derivatives for output in seams.force_outputs(training.model))
    if not derived and (entries or not seams.reads_energies_alone(training.loss)):
        raise ValueError(
            "training_module.model has do_derivatives: false, and the loss needs the model's "
            "forces; leave it out (true, the default, needs no force labels)"
        )


def _contradictions(training: Any, settings: Any, entries: tuple[str, ...]) -> Iterator[str]:
    changed, labelled = settings.changed(), {WEAK_FORCES, TEACHER} & set(entries)
    for term in (term for term in ENTRIES if f"{term}_weight" in changed):
        entry = TEACHER if term == WEAK_FORCES and TEACHER in entries else term
        yield (
            f"{BLOCK}.{term}_weight: with NequIP the weight of a term stands beside that of the "
            f"energy, as training_module.loss.coeffs.{PREFIX}{entry}"
        )
    if changed.get("weak_forces_fade") and not labelled:
        yield (
            f"{BLOCK}.weak_forces_fade acts on the weak forces, which the loss lacks: add "
            f"{WEAK_FORCES!r} to training_module.loss.terms"
        )
    if len(labelled) == 2:
        yield f"training_module.loss.terms: keep one of {WEAK_FORCES!r} and {TEACHER!r}"
    if isinstance(training, train.ConFIGLightningModule):
        fades = any(settings.fade_of(whose(entry)) for entry in entries)
        if fades or (settings.every > 1 and training.piwsl_terms):
            yield (
                f"{BLOCK}: ConFIG weighs the directions of all terms' gradients in every step: "
                "leave out fade and weak_forces_fade, and use every: 1"
            )
    if settings.second_order == "hessian" and seams.is_compiled(training.model):
        yield (
            f"{BLOCK}.second_order 'hessian' differentiates the forces, which compile_mode: "
            "compile does not allow; use second_order: trapezoid, or compile_mode: eager"
        )


def check_data(training: Any, data: Any) -> None:
    """Refuse data, as far as they are ours, without what loss, metrics or terms read of them."""
    runs = (training.hparams.get("info_dict") or {}).get("runs") or ()
    tests = getattr(data, "piwsl_test", ()) if "test" in runs else ()
    for where, managers, datasets in (
        ("val_metrics", training.val_metrics, data.val_dataset),
        ("test_metrics", training.test_metrics, tests),
        ("train_metrics", [training.train_metrics], data.train_dataset),
        ("loss", [training.loss], data.train_dataset),
    ):
        for metrics, dataset in zip(managers, datasets, strict=False):
            if metrics is not None and isinstance(dataset, FrameDataset):
                _check_labels(metrics, where, dataset)
    if isinstance(data.train_dataset[0], FrameDataset):
        _check_training(training, data.train_dataset[0])


def _check_training(training: Any, dataset: FrameDataset) -> None:
    settings = training.piwsl_settings
    needed = {"energy": "name its key: data.labels: {energy: KEY}"}
    if settings.anchor == "label_and_forces":
        needed["forces"] = f"{BLOCK}.anchor 'label_and_forces' acts on it; use anchor: label"
    if WEAK_FORCES in training.piwsl_entries:
        needed[WEAK_FORCES] = (
            f"name its key: data.labels: {{{WEAK_FORCES}: KEY}}, or take {WEAK_FORCES!r} out of "
            "training_module.loss.terms"
        )
    for label in (label for label in needed if not dataset.count(label)):
        what = f"none of the {len(dataset)} training frames has a {label} label"
        raise ValueError(f"{what}; {needed[label]}")
    if training.piwsl_terms and not settings.allow_large_displacement:
        check_displacement(
            dataset.frames,
            settings.longest_displacement,
            f"{BLOCK}.max_displacement",
            f"{BLOCK}.allow_large_displacement: true",
        )


def _check_labels(metrics: Any, where: str, dataset: FrameDataset) -> None:
    """Check that no entry with a weight, and none that cannot leave frames out, would be NaN."""
    for name, entry in metrics.entries.items():
        field = seams.label_of(entry)
        label = "energy" if field == AtomicDataDict.TOTAL_ENERGY_KEY else field
        if label not in TARGETS:
            continue
        known = dataset.count(label)
        masked = isinstance(metrics[name], MaskedMeanSquaredError) or (
            where != "loss" and entry.ignore_nan and not entry.per_type
        )
        printed = label in dataset.has and entry.coeff is None and not entry.per_type  # as NaN
        if known < len(dataset) and not printed and not (known and masked):
            remedy = LOSS if where == "loss" else "others"
            raise ValueError(
                f"training_module.{where}: {name} reads the label {label}, and {known} of the "
                f"{len(dataset)} frames have it; name its key in data.labels, leave {name} out, or "
                f"choose {where} that need no such label in each batch ({remedy})"
            )
