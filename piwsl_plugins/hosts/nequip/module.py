"""NequIP's training modules with the PIWSL terms: one mixin, a class beside each of NequIP's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.train import (
    ConFIGLightningModule,
    EMAConFIGLightningModule,
    EMALightningModule,
    NequIPLightningModule,
    ScheduleFreeLightningModule,
)
from torch import Tensor

from piwsl_plugins.hosts.nequip import geometry, seams
from piwsl_plugins.hosts.nequip.data import count_labels
from piwsl_plugins.hosts.nequip.loss import PREFIX, active_terms, with_weights
from piwsl_plugins.hosts.radii import covalent_radii_of
from piwsl_plugins.losses import Structures, step_generator, step_penalties
from piwsl_plugins.settings import RunSettings

HALF = 0.5
"""Share of the batch up to which forces are cheaper evaluated twice than for the whole of it."""


class PiwslMixin:
    """Adds the penalties of the PIWSL terms to the model's output in training steps.

    NequIP's loss, a ``MetricsManager``, finds them there through its ``PiwslTerm`` entries, so
    that coefficients, schedulers, monitors and loggers see each term as they see any other.
    Validation and test steps are NequIP's own.

    Args:
        piwsl: settings of the losses, by the names of :class:`RunSettings`.
        kwargs: those of NequIP's training module.

    Raises:
        ValueError: unknown or contradictory settings, a loss without a PIWSL term, or a model
            without forces.
        SeamError: a version of NequIP that was not tested.
    """

    model: Any  # of NequIP's training module: its models by name

    def __init__(self, piwsl: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        with seams.plain_errors():
            seams.check_version()
            given = dict(piwsl or {})
            if isinstance(self, ConFIGLightningModule):  # it needs every term in every step
                given.setdefault("every", 1)
            settings = RunSettings.from_mapping(given, "training_module.piwsl")
            kwargs["loss"] = with_weights(kwargs.get("loss"), settings)
        super().__init__(**kwargs)
        self.piwsl_settings = settings
        self._piwsl_on = False
        self._piwsl_skin_known = False  # that the training data's neighbour list has it
        models = self.model.values()
        self._piwsl_cutoff = max(float(seams.model_cutoffs(model).max()) for model in models)
        with seams.plain_errors():
            self.piwsl_terms = self._checked_terms()
            self._piwsl_radii = None
            if "curvature" in self.piwsl_terms:
                self._piwsl_radii = covalent_radii_of(next(iter(models)).type_names)
        self._piwsl_skips_forces = self._skips_forces()

    def _checked_terms(self: Any) -> tuple[str, ...]:
        settings, name = self.piwsl_settings, type(self).__name__
        if self.loss is None:  # a run of `val` or `test` alone
            return ()
        terms = active_terms(self.loss)
        if not terms:
            host = next(c.__name__ for c in type(self).__mro__ if not issubclass(c, PiwslMixin))
            raise ValueError(
                f"training_module._target_ is {name}, and its loss has no PIWSL term; set "
                "training_module.loss._target_ to piwsl_plugins.hosts.nequip.PiwslLoss, add an "
                "entry with the metric piwsl_plugins.hosts.nequip.PiwslTerm to extra_metrics, or "
                f"use nequip.train.{host}"
            )
        settings.check_terms(
            terms, lambda name: f"training_module.piwsl.{name}", f"a loss with terms: {list(terms)}"
        )
        outputs = seams.force_outputs(self.model)
        if any(not output.do_derivatives for output in outputs):
            raise ValueError(
                "training_module.model has do_derivatives: false, NequIP's recipe for energies "
                "alone, and the PIWSL terms need the model's forces; leave it out (true is the "
                "default). No force labels are needed for it"
            )
        if settings.second_order == "hessian" and seams.is_compiled(self.model):
            raise ValueError(
                "training_module.piwsl.second_order 'hessian' differentiates the forces, which a "
                "model with compile_mode: compile does not allow; use second_order: trapezoid, or "
                "compile_mode: eager"
            )
        if settings.every > 1 and isinstance(self, ConFIGLightningModule):
            raise ValueError(
                f"training_module.piwsl.every {settings.every}: ConFIG weighs the directions of "
                "all terms' gradients in every step, and a term that is off has none; use every: 1"
            )
        return terms

    def on_fit_start(self: Any) -> None:
        """Check the training data before the first step.

        Raises:
            ValueError: bad or missing labels, or a neighbour list without the skin.
        """
        super().on_fit_start()  # type: ignore[misc]
        data, settings = self.trainer.datamodule, self.piwsl_settings
        if data is None:  # loaders of somebody's own; their first batch shows the skin
            return
        with seams.plain_errors():
            counts = getattr(data, "piwsl_counts", None)  # of a data module of ours, checked by it
            if counts is None or data.piwsl_settings != settings:
                counts = count_labels(data.train_dataset, settings)
            if settings.anchor == "label_and_forces" and not counts.forces:
                raise ValueError(
                    "training_module.piwsl.anchor 'label_and_forces' acts on structures with "
                    "reference forces, and no training frame has any; use anchor: label"
                )
            self._piwsl_skin_known = all(
                [
                    geometry.check_skin(data.train_dataset, model, settings.skin)
                    for model in self.model.values()
                ]
            )

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        """NequIP's own step, in which :meth:`forward` adds the terms."""
        self._piwsl_on = True
        try:
            return super().training_step(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._piwsl_on = False

    def forward(self: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The model's output, with ``piwsl_<term>`` of shape [n_graphs] in training steps."""
        evaluate = super().forward  # type: ignore[misc]
        if not self._piwsl_on:
            return evaluate(inputs)  # type: ignore[no-any-return]
        settings = self.piwsl_settings
        if not self._piwsl_skin_known:
            with seams.plain_errors():
                for model in self.model.values():
                    geometry.check_first_batch(inputs, model, settings.skin)
            self._piwsl_skin_known = True
        positions = inputs[AtomicDataDict.POSITIONS_KEY].detach()
        if settings.second_order == "hessian":  # NequIP's forces are a function of these
            positions = positions.requires_grad_()
        energies_only = partial(seams.energies_only, self.model)
        own_batch = geometry.trimmed(inputs, positions, self._piwsl_cutoff)
        with energies_only() if self._piwsl_skips_forces else nullcontext():
            output = dict(evaluate(own_batch))
        energy, forces = geometry.total_energy(output), output.get(AtomicDataDict.FORCE_KEY)
        factor = settings.schedule(self.trainer.global_step)
        if factor == 0.0:
            zero = 0.0 * energy
            return output | {PREFIX + term: zero for term in self.piwsl_terms}
        structures = structures_of(inputs, positions)
        if self._piwsl_radii is not None:
            pairs = geometry.pairs_of(inputs, self._piwsl_radii)
            structures = dataclasses.replace(structures, pairs=pairs)
        batch = self.trainer.fit_loop.epoch_loop.total_batch_idx
        penalties = step_penalties(
            settings,
            self.piwsl_terms,
            structures,
            energy,
            forces,
            geometry.DisplacedModel(evaluate, inputs, self._piwsl_cutoff, energies_only),
            step_generator(settings.seed, batch, self.global_rank),
        )
        return output | {PREFIX + term: factor * values for term, values in penalties.items()}

    def _skips_forces(self: Any) -> bool:
        """Whether it is cheaper to leave out the batch's forces, which nothing else reads.

        They are then evaluated for the chosen structures alone, beside the displaced ones.
        """
        settings = self.piwsl_settings
        metrics = [self.loss, *([self.train_metrics] if self.train_metrics is not None else [])]
        return bool(
            settings.displacement != "adversarial"
            and settings.batch_fraction <= HALF
            and self.piwsl_terms
            and not seams.is_compiled(self.model)
            and all(seams.reads_energies_alone(entries) for entries in metrics)
        )


def structures_of(batch: dict[str, Tensor], positions: Tensor) -> Structures:
    """Translate NequIP's batch; a label that is absent or NaN is masked.

    Args:
        batch: NequIP's batch.
        positions: shape [n_atoms, 3], angstrom; those that the forces are a function of.

    Returns:
        The structures.
    """
    n_graphs = AtomicDataDict.num_frames(batch)
    index = batch[AtomicDataDict.BATCH_KEY]
    energy, has_energy = _masked(batch.get(AtomicDataDict.TOTAL_ENERGY_KEY))
    forces, has_force = _masked(batch.get(AtomicDataDict.FORCE_KEY))
    has_forces = None
    if has_force is not None:
        missing = torch.zeros(n_graphs, dtype=torch.bool, device=index.device)
        missing[index[~has_force.all(dim=-1)]] = True
        has_forces = ~missing
    pbc = batch.get(AtomicDataDict.PBC_KEY)
    return Structures(
        positions=positions,
        graph_index=index,
        n_graphs=n_graphs,
        isolated=None if pbc is None else ~pbc.view(-1, 3).any(dim=-1),
        energy=None if energy is None else energy.view(-1),
        has_energy=None if has_energy is None else has_energy.view(-1),
        forces=forces,
        has_forces=has_forces,
    )


def _masked(label: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    if label is None:
        return None, None
    known = ~label.isnan()
    return torch.where(known, label, 0.0), known


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
