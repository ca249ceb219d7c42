"""MACE's loss module with the PIWSL terms added in training steps."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from piwsl_plugins.hosts.mace.geometry import (
    HAS_WEAK,
    WEAK,
    WEAK_WEIGHTS,
    DisplacedModel,
    carried,
    interaction_energy,
)
from piwsl_plugins.losses import Structures, step_generator, step_penalties, weak_force_penalties
from piwsl_plugins.settings import WEAK_FORCES

if TYPE_CHECKING:
    from piwsl_plugins.hosts.mace.run import Run

IGNORES_FRAME_WEIGHTS: dict[str, tuple[str, ...]] = {
    "WeightedHuberEnergyForcesStressLoss": ("energy", "forces", "stress"),
    "WeightedEnergyForcesL1L2Loss": ("forces",),
    "WeightedEnergyForcesDipoleLoss": ("dipole",),
}
"""MACE's losses that count a missing label as zero, whatever its weight, and in which terms."""


class PiwslLoss(torch.nn.Module):
    """A loss of MACE plus the PIWSL terms; in evaluation, the loss of MACE alone.

    L = L_base + w_T mean l(R_T/N) + w_C mean l(R_C/N) + ..., each structure weighted by its
    ``config_weight`` as in MACE's own losses; a missing label adds nothing to L_base.

    Args:
        base: MACE's loss; weights left out follow its energy weight.
        run: the run, whose model, step and logged values the losses of both stages share.
    """

    def __init__(self, base: torch.nn.Module, run: Run) -> None:
        super().__init__()
        self.base = base
        self._run = run
        energy_weight = float(cast(Tensor, base.energy_weight))
        weighted = (*run.terms, WEAK_FORCES) if run.has_weak_forces else run.terms
        self.weights = {term: run.settings.weight(term, energy_weight) for term in weighted}

    def forward(self, ref: Any, pred: dict[str, Tensor], ddp: bool | None = None) -> Tensor:
        """Loss of MACE's batch ``ref`` with the model's output ``pred`` for it, a scalar."""
        from mace.modules.loss import reduce_loss

        run, complete = self._run, without_missing_labels(self.base, ref, pred)
        loss: Tensor = self.base(ref=complete, pred=pred, ddp=ddp)
        # MACE freezes all parameters whenever it evaluates
        if not any(parameter.requires_grad for parameter in run.model.parameters()):
            return loss
        step, run.step = run.step, run.step + 1
        run.values = {"base_loss": loss.detach()}
        for term, (factor, penalties) in self._added(ref, pred, step).items():
            mean = reduce_loss(ref.weight * penalties, ddp)
            weight = factor * self.weights[term]
            loss = loss + weight * mean
            run.values[f"piwsl_{term}"] = mean.detach()
            run.values[f"piwsl_{term}_weight"] = weight
        return loss

    def _added(
        self, ref: Any, pred: dict[str, Tensor], step: int
    ) -> dict[str, tuple[float, Tensor]]:
        """The terms of this step: a factor on each weight, and the structures' penalties."""
        settings, steps = self._run.settings, self._run.steps
        added: dict[str, tuple[float, Tensor]] = {}
        scheduled = settings.schedule(step)
        factors = {t: scheduled * settings.falling(t, step, steps) for t in self._run.terms}
        if any(factors.values()):
            penalties = self._penalties(ref, pred, step)
            added |= {term: (factors[term], values) for term, values in penalties.items()}
        factor = settings.falling(WEAK_FORCES, step, steps)
        if WEAK_FORCES in self.weights and factor > 0.0:
            values = weak_force_penalties(
                pred["forces"],
                carried(ref, WEAK),
                ref.batch,
                ref.num_graphs,
                has_weak_forces=carried(ref, HAS_WEAK),
                weights=carried(ref, WEAK_WEIGHTS),
            )
            added[WEAK_FORCES] = (factor, values)
        return added

    def _penalties(self, ref: Any, pred: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """The penalties of the terms with displacements."""
        run = self._run
        energy = interaction_energy(pred)
        displaced = DisplacedModel.of(run.model, run.cutoff, ref)
        structures = Structures(
            positions=ref.positions,
            graph_index=ref.batch,
            n_graphs=ref.num_graphs,
            counts=displaced.counts,
            isolated=~ref.pbc.view(-1, 3).any(dim=-1),
            energy=ref.energy - (pred["energy"] - energy).detach(),
            has_energy=has_label(ref, "energy"),
            forces=ref.forces,
            has_forces=has_label(ref, "forces"),
            pairs=None if run.radii is None else displaced.pairs(run.radii),
        )
        return step_penalties(
            run.settings,
            run.terms,
            structures,
            energy,
            pred["forces"],
            displaced,
            step_generator(run.settings.seed, step, run.rank),
        )


def without_missing_labels(base: torch.nn.Module, ref: Any, pred: dict[str, Tensor]) -> Any:
    """MACE's batch for a base loss: a missing label is the model's own value, of no error."""
    labels = IGNORES_FRAME_WEIGHTS.get(type(base).__name__, ())
    complete = copy.copy(ref) if labels else ref
    for label in labels:
        if pred.get(label) is not None:
            own, known = pred[label].detach(), has_label(ref, label)
            known = known[ref.batch] if label == "forces" else known
            known = known.view(-1, *[1] * (own.dim() - 1))
            setattr(complete, label, torch.where(known, getattr(ref, label), own))
    return complete


def has_label(ref: Any, label: str) -> Tensor:
    """Which structures of MACE's batch have a label that counts, shape [n_graphs], bool."""
    weight: Tensor = getattr(ref, f"{label}_weight")
    return (weight.reshape(ref.num_graphs, -1) > 0).any(dim=-1)
