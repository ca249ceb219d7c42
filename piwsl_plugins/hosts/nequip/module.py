"""NequIP's training modules with the PIWSL terms: one mixin, a class beside each of NequIP's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from nequip import train
from nequip.data import AtomicDataDict
from nequip.nn.graph_model import R_MAX_KEY
from nequip.utils import RankedLogger
from torch import Tensor

from piwsl_plugins import __version__
from piwsl_plugins.hosts.nequip import checks, geometry, loss, seams
from piwsl_plugins.hosts.nequip.checks import BLOCK
from piwsl_plugins.hosts.radii import covalent_radii_of
from piwsl_plugins.losses import step_generator, step_penalties
from piwsl_plugins.settings import TERMS, RunSettings

_log = RankedLogger(__name__, rank_zero_only=True)

CONFIG = {"every": 1, "fade": 0.0, "weak_forces_fade": 0.0}
"""Under ConFIG, which needs every term in every step, and whose directions do not fade."""


class PiwslMixin:
    """Adds the penalties of the PIWSL terms to the model's output in training steps.

    NequIP's loss, a ``MetricsManager``, finds them there through its ``PiwslTerm`` entries, so
    that coefficients, schedulers, monitors and loggers see each term as they see any other.
    Validation and test steps are NequIP's own; its metrics leave out labels that are missing (NaN).
    When training starts, the neighbour lists of the training data, of whatever data module, get the
    skin that displaced geometries need; those of validation, test and statistics have none.

    Args:
        piwsl: settings of the losses, by the names of :class:`RunSettings`.
        kwargs: those of NequIP's training module.
    """

    def __init__(self: Any, piwsl: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        seams.check_version()
        config = isinstance(self, train.ConFIGLightningModule)
        given = {**(CONFIG if config else {}), **(piwsl or {})}
        settings = RunSettings.from_mapping(given, BLOCK)
        super().__init__(**kwargs)
        self._piwsl_factors: dict[str, float] | None = None  # by entry, in a training step
        self._piwsl_steps = math.inf  # optimiser steps of the run
        for metrics in filter(None, (self.train_metrics, *self.val_metrics, *self.test_metrics)):
            seams.leave_out_missing_labels(metrics)
        models = list(self.model.values())
        self._piwsl_cutoff = max(float(model.metadata[R_MAX_KEY]) for model in models)
        # there is no loss in a run of `val` or `test` alone
        metrics = {} if self.loss is None else self.loss
        self._piwsl_names = {n: m.term for n, m in metrics.items() if isinstance(m, loss.PiwslTerm)}
        asked = self._piwsl_names.values()
        self.piwsl_entries = tuple(entry for entry in loss.ENTRIES if entry in asked)
        if loss.TEACHER in asked and settings.weak_forces_fade is None:
            settings = settings.model_copy(update={"weak_forces_fade": 0.0})
        self.piwsl_settings = settings
        self.piwsl_terms = tuple(term for term in self.piwsl_entries if term in TERMS)
        self._piwsl_labels = [term for term in self.piwsl_entries if term not in TERMS]
        if self.loss is not None:
            checks.check_module(self)
        curved = "curvature" in self.piwsl_terms
        self._piwsl_radii = covalent_radii_of(models[0].type_names) if curved else None
        read = filter(None, (self.loss, self.train_metrics))
        self._piwsl_energies_alone = all(map(seams.reads_energies_alone, read))

    def on_fit_start(self: Any) -> None:
        """Check the training data before the first step, and widen their neighbour lists."""
        super().on_fit_start()  # type: ignore[misc]
        data, settings = self.trainer.datamodule, self.piwsl_settings
        if loss.TEACHER in self.piwsl_entries:
            data.teach()
        checks.check_data(self, data)
        if self.piwsl_terms:
            geometry.give_skin(data.train_dataset[0], self._piwsl_cutoff, settings.skin)
        if any(settings.fade_of(loss.whose(entry)) for entry in self.piwsl_entries):
            self._piwsl_steps = float(self.trainer.estimated_stepping_batches)
        said = [f"{name} {e.coeff:.3g}" for name, e in self.loss.entries.items() if e.coeff]
        said += [f"{name} {value}" for name, value in settings.changed().items()]
        _log.info(f"piwsl-plugins {__version__}: shares of the loss: {', '.join(said)}")

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        """NequIP's own step, in which :meth:`forward` adds the terms."""
        settings, step = self.piwsl_settings, self.trainer.global_step
        self._piwsl_factors = {
            entry: settings.falling(loss.whose(entry), step, self._piwsl_steps)
            * (settings.schedule(step) if entry in TERMS else 1.0)
            for entry in self.piwsl_entries
        }
        plain = {name: self.loss.entries[name].coeff for name in self._piwsl_names}
        try:
            for name, coeff in plain.items():
                factor = self._piwsl_factors[self._piwsl_names[name]]
                self.loss.entries[name].coeff = coeff and coeff * factor
            return super().training_step(*args, **kwargs)  # type: ignore[misc]
        finally:  # schedulers and monitors see the plain ones
            for name, coeff in plain.items():
                self.loss.entries[name].coeff = coeff
            self._piwsl_factors = None

    def log_dict(self: Any, dictionary: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Lightning's own; an entry of the loss is NaN where no structure has a value of it."""
        logged = dict(dictionary)
        for name in (name for name in logged if name.startswith("train_loss_")):
            metric = dict(self.loss.items()).get(name.rpartition(self.logging_delimiter)[2])
            if isinstance(metric, loss.Mean):
                logged[name] = torch.where(metric.empty, torch.nan, logged[name])
        super().log_dict(logged, *args, **kwargs)  # type: ignore[misc]

    def forward(self: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The model's output, with ``piwsl_<term>`` in training steps."""
        evaluate, factors = super().forward, self._piwsl_factors  # type: ignore[misc]
        if factors is None:
            return evaluate(inputs)  # type: ignore[no-any-return]
        settings, own = self.piwsl_settings, inputs
        positions = inputs[AtomicDataDict.POSITIONS_KEY].detach()
        if self.piwsl_terms:
            if settings.second_order == "hessian":  # NequIP's forces are a function of these
                positions = positions.requires_grad_()
            inputs = {
                k: v for k, v in inputs.items() if k != AtomicDataDict.EDGE_TRANSPOSE_PERM_KEY
            }
            own = geometry.trimmed(inputs, positions, self._piwsl_cutoff)
        energies_only = partial(seams.energies_only, self.model)
        with energies_only() if self._leaves_out_forces(factors) else nullcontext():
            output = dict(evaluate(own))
        energy = output[AtomicDataDict.TOTAL_ENERGY_KEY].view(-1)
        nothing = energy.new_zeros(2, 0)  # this step has no value of the term
        output |= {loss.PREFIX + entry: nothing for entry in self.piwsl_entries}
        for entry in self._piwsl_labels:
            if factors[entry]:
                forces = output[AtomicDataDict.FORCE_KEY]
                output[loss.PREFIX + entry] = geometry.weak_penalties(settings, inputs, forces)
        if not any(factors[term] for term in self.piwsl_terms):
            return output
        known = getattr(self.trainer.datamodule, "piwsl_counts", None)
        counts = known or geometry.counts_of(inputs)
        structures = geometry.structures_of(inputs, positions, counts)
        if self._piwsl_radii is not None:
            pairs = geometry.pairs_of(inputs, self._piwsl_radii, counts)
            structures = dataclasses.replace(structures, pairs=pairs)
        found = step_penalties(
            settings,
            self.piwsl_terms,
            structures,
            energy,
            output.get(AtomicDataDict.FORCE_KEY),
            geometry.DisplacedModel(evaluate, inputs, counts, self._piwsl_cutoff, energies_only),
            step_generator(settings.seed, self.trainer.fit_loop.total_batch_idx, self.global_rank),
        )
        for term, penalties in found.items():
            output[loss.PREFIX + term] = torch.stack([penalties, torch.ones_like(penalties)])
        return output

    def _leaves_out_forces(self: Any, factors: Mapping[str, float]) -> bool:
        """Whether forces, which nothing else reads, are cheaper of the chosen structures alone."""
        settings = self.piwsl_settings
        # up to half of the batch, forces are cheaper evaluated twice than for all of it
        few = settings.displacement != "adversarial" and settings.batch_fraction <= 0.5
        read = any(factors[term] for term in self._piwsl_labels)
        on = any(factors[term] for term in self.piwsl_terms)
        return self._piwsl_energies_alone and not read and (few or not on)


class PiwslLightningModule(PiwslMixin, train.NequIPLightningModule):  # type: ignore[misc]
    """``nequip.train.NequIPLightningModule`` with the PIWSL terms."""


class PiwslEMALightningModule(PiwslMixin, train.EMALightningModule):  # type: ignore[misc]
    """``nequip.train.EMALightningModule`` with the PIWSL terms."""


class PiwslScheduleFreeLightningModule(PiwslMixin, train.ScheduleFreeLightningModule):  # type: ignore[misc]
    """``nequip.train.ScheduleFreeLightningModule`` with the PIWSL terms."""


class PiwslConFIGLightningModule(PiwslMixin, train.ConFIGLightningModule):  # type: ignore[misc]
    """``nequip.train.ConFIGLightningModule`` with the PIWSL terms."""


class PiwslEMAConFIGLightningModule(PiwslMixin, train.EMAConFIGLightningModule):  # type: ignore[misc]
    """``nequip.train.EMAConFIGLightningModule`` with the PIWSL terms."""
