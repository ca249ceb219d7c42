"""NequIP's training modules with the PIWSL terms: one mixin, a class beside each of NequIP's."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

from nequip.data import AtomicDataDict
from nequip.train import (
    ConFIGLightningModule,
    EMAConFIGLightningModule,
    EMALightningModule,
    NequIPLightningModule,
    ScheduleFreeLightningModule,
)
from nequip.utils import RankedLogger
from torch import Tensor

from piwsl_plugins.hosts.nequip import geometry, labels, requirements, seams
from piwsl_plugins.hosts.nequip.loss import with_weights
from piwsl_plugins.hosts.nequip.metrics import PREFIX, active_entries, active_terms, without_empty
from piwsl_plugins.hosts.nequip.structures import structures_of, weak_penalties
from piwsl_plugins.hosts.radii import covalent_radii_of
from piwsl_plugins.losses import step_generator, step_penalties
from piwsl_plugins.settings import WEAK_FORCES, RunSettings

_log = RankedLogger(__name__, rank_zero_only=True)

HALF = 0.5
"""Share of the batch up to which forces are cheaper evaluated twice than for the whole of it."""
CONFIG_FADE = {"fade": 0.0, "weak_forces_fade": 0.0}
STAGES = {"train": "training", "val": "validation", "test": "test"}


class PiwslMixin:
    """Adds the penalties of the PIWSL terms to the model's output in training steps.

    NequIP's loss, a ``MetricsManager``, finds them there through its ``PiwslTerm`` entries, so
    that coefficients, schedulers, monitors and loggers see each term as they see any other.
    Validation and test steps are NequIP's own; where frames lack a label (NaN), its metrics leave
    them out.

    Args:
        piwsl: settings of the losses, by the names of :class:`RunSettings`.
        kwargs: those of NequIP's training module.

    Raises:
        ValueError: unknown or contradictory settings, a loss that is not ours, or a model without
            the forces that something needs.
        SeamError: a version of NequIP that was not tested.
    """

    model: Any  # of NequIP's training module: its models by name

    def __init__(self: Any, piwsl: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        with seams.plain_errors():
            seams.check_version()
            given = dict(piwsl or {})
            if isinstance(self, ConFIGLightningModule):  # it needs every term in every step
                given = {"every": 1, **CONFIG_FADE} | given  # and a direction does not fade
            settings = RunSettings.from_mapping(given, requirements.BLOCK)
            kwargs["loss"] = with_weights(kwargs.get("loss"), settings)
        super().__init__(**kwargs)
        self.piwsl_settings = settings
        self._piwsl_on = False
        self._piwsl_steps = math.inf  # optimiser steps of the run
        self._piwsl_skin_known = False  # that the training data's neighbour list has it
        self._piwsl_trims = True  # that the neighbour list may reach beyond the model's cutoff
        models = self.model.values()
        self._piwsl_cutoff = max(float(seams.model_cutoffs(model).max()) for model in models)
        for metrics in (self.train_metrics, *self.val_metrics, *self.test_metrics):
            seams.leave_out_missing_labels(metrics)
        loss = self.loss if self.loss is not None else {}  # none in a run of `val` or `test` alone
        self.piwsl_terms = active_terms(loss)
        self._piwsl_weak = WEAK_FORCES in active_entries(loss)
        if self.loss is not None:
            host = next(c.__name__ for c in type(self).__mro__ if not issubclass(c, PiwslMixin))
            with seams.plain_errors():
                requirements.check_module(self, host, settings, active_entries(loss))
        self._piwsl_radii = None
        if "curvature" in self.piwsl_terms:
            with seams.plain_errors():
                self._piwsl_radii = covalent_radii_of(next(iter(models)).type_names)
        self._piwsl_energies_alone = self._reads_energies_alone()

    def on_fit_start(self: Any) -> None:
        """Check the training data before the first step.

        Raises:
            ValueError: bad or missing labels, or a neighbour list without the skin.
        """
        super().on_fit_start()  # type: ignore[misc]
        data, settings, terms = self.trainer.datamodule, self.piwsl_settings, self.piwsl_terms
        weak = (WEAK_FORCES,) if self._piwsl_weak else ()
        if any(settings.fade_of(term) for term in (*terms, *weak)):
            self._piwsl_steps = float(self.trainer.estimated_stepping_batches)
        if weak and settings.falling(WEAK_FORCES, 10**18, self._piwsl_steps) > 0.0:
            _log.warning(
                "the weak forces' weight stays, and with it their method's own error, to the end: "
                "training_module.piwsl.weak_forces_fade is 0, or trainer.max_epochs sets no end"
            )
        self._piwsl_trims = bool(terms) or getattr(data, "piwsl_skin", 0.0) > 0.0
        if data is None:  # loaders of somebody's own; their first batch shows the skin
            return
        with seams.plain_errors():
            counts = getattr(data, "piwsl_counts", None)  # of a data module of ours
            if counts is None:
                counts = sum((labels.count(d) for d in data.train_dataset), Counter())
            requirements.check_counts(counts, settings, self._piwsl_weak)
            self._check_metrics("loss", "train", [self.loss])
            self._check_metrics("train_metrics", "train", [self.train_metrics])
            self._check_metrics("val_metrics", "val", self.val_metrics)
            if "test" in ((self.hparams.get("info_dict") or {}).get("runs") or ()):
                self._check_metrics("test_metrics", "test", self.test_metrics)
            if not terms:
                return
            for dataset in data.train_dataset:
                labels.check_distances(dataset, settings)
            self._piwsl_skin_known = all(
                [
                    geometry.check_skin(data.train_dataset, model, settings.skin)
                    for model in self.model.values()
                ]
            )

    def on_test_start(self: Any) -> None:
        """Check that the test data have the labels that the errors are of."""
        super().on_test_start()  # type: ignore[misc]
        with seams.plain_errors():
            self._check_metrics("test_metrics", "test", self.test_metrics)

    def _check_metrics(self: Any, where: str, stage: str, managers: Any) -> None:
        """Check metrics against the labels of a stage's datasets, as far as these are ours."""
        data = self.trainer.datamodule
        known = data.piwsl_masks(stage) if hasattr(data, "piwsl_masks") else []
        for found, metrics in zip(known, managers, strict=False):
            if found is not None:
                masks, frames = found
                requirements.check_labels_of(
                    metrics, masks, frames, f"training_module.{where}", STAGES[stage]
                )

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        """NequIP's own step, in which :meth:`forward` adds the terms."""
        self._piwsl_on = True
        try:
            return super().training_step(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._piwsl_on = False

    def log_dict(self: Any, dictionary: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Lightning's own; an entry of the loss is NaN where no structure has its label."""
        if any(name.startswith("train_loss_") for name in dictionary):
            dictionary = without_empty(dictionary, self.loss)
        super().log_dict(dictionary, *args, **kwargs)  # type: ignore[misc]

    def forward(self: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The model's output, with ``piwsl_<term>`` in training steps."""
        evaluate = super().forward  # type: ignore[misc]
        if not self._piwsl_on:
            return evaluate(inputs)  # type: ignore[no-any-return]
        settings, step = self.piwsl_settings, self.trainer.global_step
        scheduled = settings.schedule(step)
        factors = {
            term: scheduled * settings.falling(term, step, self._piwsl_steps)
            for term in self.piwsl_terms
        }
        factor = max(factors.values(), default=0.0)
        weak_factor = (
            settings.falling(WEAK_FORCES, step, self._piwsl_steps) if self._piwsl_weak else 0.0
        )
        self._check_first_batch(inputs)
        positions = inputs[AtomicDataDict.POSITIONS_KEY].detach()
        if self.piwsl_terms and settings.second_order == "hessian":
            positions = positions.requires_grad_()  # NequIP's forces are a function of these
        trims = self._piwsl_trims
        own = geometry.trimmed(inputs, positions, self._piwsl_cutoff) if trims else inputs
        energies_only = partial(seams.energies_only, self.model)
        with energies_only() if self._leaves_out_forces(factor, weak_factor) else nullcontext():
            output = dict(evaluate(own))
        energy = geometry.total_energy(output)
        if self._piwsl_weak:
            output[PREFIX + WEAK_FORCES] = self._weak_penalties(inputs, output, weak_factor)
        if factor == 0.0:
            zero = 0.0 * energy
            return output | {PREFIX + term: zero for term in self.piwsl_terms}
        structures = structures_of(inputs, positions)
        if self._piwsl_radii is not None:
            pairs = geometry.pairs_of(inputs, self._piwsl_radii)
            structures = dataclasses.replace(structures, pairs=pairs)
        batch = self.trainer.fit_loop.epoch_loop.total_batch_idx
        found = step_penalties(
            settings,
            self.piwsl_terms,
            structures,
            energy,
            output.get(AtomicDataDict.FORCE_KEY),
            geometry.DisplacedModel(evaluate, inputs, self._piwsl_cutoff, energies_only),
            step_generator(settings.seed, batch, self.global_rank),
        )
        return output | {PREFIX + term: factors[term] * found[term] for term in found}

    def _weak_penalties(self: Any, inputs: Any, output: Any, factor: float) -> Tensor:
        """Errors against the weak forces, times the factor of their schedule."""
        if factor == 0.0:
            return 0.0 * geometry.total_energy(output)
        with seams.plain_errors():
            forces = output[AtomicDataDict.FORCE_KEY]
            return factor * weak_penalties(self.piwsl_settings, inputs, forces)

    def _check_first_batch(self: Any, inputs: dict[str, Tensor]) -> None:
        """Look for the skin in the pairs themselves, where no transform tells of it."""
        if self._piwsl_skin_known or not self.piwsl_terms:
            return
        with seams.plain_errors():
            for model in self.model.values():
                geometry.check_first_batch(inputs, model, self.piwsl_settings.skin)
        self._piwsl_skin_known = True

    def _reads_energies_alone(self: Any) -> bool:
        """Whether nothing but the terms and the weak forces reads the batch's forces."""
        metrics = [m for m in (self.loss, self.train_metrics) if m is not None]
        return not seams.is_compiled(self.model) and all(
            seams.reads_energies_alone(entries) for entries in metrics
        )

    def _leaves_out_forces(self: Any, factor: float, weak_factor: float) -> bool:
        """Whether it is cheaper to leave out the batch's forces, which nothing else reads.

        They are then evaluated for the chosen structures alone, beside the displaced ones.
        """
        settings = self.piwsl_settings
        chosen_alone = (
            settings.displacement != "adversarial" and settings.batch_fraction <= HALF
        ) or factor == 0.0
        return bool(self._piwsl_energies_alone and not weak_factor and chosen_alone)


class PiwslLightningModule(PiwslMixin, NequIPLightningModule):  # type: ignore[misc]
    """``nequip.train.NequIPLightningModule`` with the PIWSL terms."""


class PiwslEMALightningModule(PiwslMixin, EMALightningModule):  # type: ignore[misc]
    """``nequip.train.EMALightningModule`` with the PIWSL terms."""


class PiwslScheduleFreeLightningModule(PiwslMixin, ScheduleFreeLightningModule):  # type: ignore[misc]
    """``nequip.train.ScheduleFreeLightningModule`` with the PIWSL terms."""


class PiwslConFIGLightningModule(PiwslMixin, ConFIGLightningModule):  # type: ignore[misc]
    """``nequip.train.ConFIGLightningModule`` with the PIWSL terms."""


class PiwslEMAConFIGLightningModule(PiwslMixin, EMAConFIGLightningModule):  # type: ignore[misc]
    """``nequip.train.EMAConFIGLightningModule`` with the PIWSL terms."""
