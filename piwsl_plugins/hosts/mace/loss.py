"""MACE's loss module with the PIWSL terms added in training steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from ase.data import chemical_symbols
from torch import Tensor

from piwsl_plugins.hosts.mace import seams
from piwsl_plugins.hosts.mace.geometry import (
    displaced_batch,
    pairs_of,
    selected,
    stacked_batch,
    tensors_of,
    weak_forces_of,
)
from piwsl_plugins.hosts.mace.masks import without_missing_labels
from piwsl_plugins.hosts.radii import covalent_radii_of
from piwsl_plugins.losses import (
    Structures,
    step_generator,
    step_penalties,
    weak_force_penalties,
)
from piwsl_plugins.settings import WEAK_FORCES, PiwslSettings


def interaction_energy(output: dict[str, Tensor]) -> Tensor:
    """Energy without the atoms' reference energies, shape [n_graphs], eV.

    Total energies of thousands of eV leave float32 too few digits for a residual of meV.
    """
    if output.get("interaction_energy") is not None:
        return output["interaction_energy"]
    return output["contributions"][..., 1:].sum(dim=-1)


class DisplacedModel:
    """MACE's model on displaced copies of one batch, as the core wants to call it.

    Args:
        model: the bare model, also under DistributedDataParallel, whose gradient hooks sit on the
            parameters and whose reducer a second pass through the wrapper would reset.
        cutoff: its cutoff, angstrom.
        data: tensors of MACE's batch.
        slices: rows of each structure in them, see :func:`selected`.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        cutoff: float,
        data: dict[str, Tensor],
        slices: dict[str, list[int]] | None = None,
    ) -> None:
        self.model = model
        self.cutoff = cutoff
        self.data = data
        self.slices = slices or {}

    def select(self, chosen: Tensor) -> DisplacedModel:
        """The model on some of the structures; chosen: shape [n_graphs], bool."""
        return DisplacedModel(self.model, self.cutoff, selected(self.data, self.slices, chosen))

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        """Energies and forces at positions of shape [n_atoms, 3]."""
        return self._run(displaced_batch(self.data, positions, self.cutoff), forces)

    def stacked(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        """The same for positions of shape [k, n_atoms, 3], in one call."""
        data = stacked_batch(self.data, positions, self.cutoff)
        energy, gradient = self._run(data, forces)
        copies = len(positions)
        return energy.view(copies, -1), None if gradient is None else gradient.view_as(positions)

    def _run(self, data: dict[str, Tensor], forces: bool) -> tuple[Tensor, Tensor | None]:
        output = self.model(
            data,
            training=True,
            compute_force=forces,
            compute_virials=False,
            compute_stress=False,
        )
        return interaction_energy(output), output["forces"] if forces else None


class Progress:
    """What both stages' losses share: the model, the step, and the values to be logged."""

    def __init__(self) -> None:
        self.model: torch.nn.Module | None = None
        self.cutoff = math.nan
        self.radii: Tensor | None = None  # of the model's elements, where a term asks for them
        self.step = 0
        self.steps = math.inf
        self.rank = 0
        self.values: dict[str, Tensor | float] = {}

    def bind(
        self,
        model: torch.nn.Module,
        terms: Sequence[str],
        *,
        step: int,
        rank: int,
        steps: float = math.inf,
    ) -> None:
        """Tell the loss its model, the optimiser step at which training starts, and how many."""
        self.model = model
        if "curvature" in terms:
            numbers = cast(Tensor, model.atomic_numbers)
            self.radii = covalent_radii_of([chemical_symbols[int(number)] for number in numbers])
        self.cutoff = float(cast(Tensor, model.r_max))
        self.step, self.steps = step, steps
        self.rank = rank


class PiwslLoss(torch.nn.Module):
    """A loss of MACE plus the PIWSL terms; in evaluation, the loss of MACE alone.

    L = L_base + w_T mean l(R_T/N) + w_C mean l(R_C/N) + ..., each structure weighted by its
    ``config_weight`` as in MACE's own losses; a missing label adds nothing to L_base.

    Args:
        base: MACE's loss.
        terms: terms with displacements that are on.
        settings: their settings; weights left out follow the base loss's energy weight.
        progress: shared by the losses of both stages.
        weak_forces: whether structures may have forces of a cheaper method.
    """

    def __init__(
        self,
        base: torch.nn.Module,
        terms: tuple[str, ...],
        settings: PiwslSettings,
        progress: Progress,
        weak_forces: bool = False,
    ) -> None:
        super().__init__()
        self.base = base
        self.terms = terms
        self.settings = settings
        energy_weight = float(cast(Tensor, base.energy_weight))
        weighted = (*terms, WEAK_FORCES) if weak_forces else terms
        self.weights = {term: settings.weight(term, energy_weight) for term in weighted}
        self._progress = progress

    def forward(self, ref: Any, pred: dict[str, Tensor], ddp: bool | None = None) -> Tensor:
        """Loss of one batch.

        Args:
            ref: MACE's batch with its labels.
            pred: the model's output for it.
            ddp: as in MACE's losses.

        Returns:
            The scalar loss.

        Raises:
            RuntimeError: called before the model was bound.
        """
        complete = without_missing_labels(self.base, ref, pred)
        loss: Tensor = self.base(ref=complete, pred=pred, ddp=ddp)
        progress = self._progress
        model = progress.model
        if model is None:
            raise RuntimeError("the PIWSL loss was called before mace.tools.train bound its model")
        # MACE freezes all parameters whenever it evaluates
        if not any(parameter.requires_grad for parameter in model.parameters()):
            return loss
        step, progress.step = progress.step, progress.step + 1
        progress.values = {"base_loss": loss.detach()}
        from mace.modules.loss import reduce_loss

        for term, (factor, penalties) in self._added(model, ref, pred, step).items():
            mean = reduce_loss(ref.weight * penalties, ddp)
            weight = factor * self.weights[term]
            loss = loss + weight * mean
            progress.values[f"piwsl_{term}"] = mean.detach()
            progress.values[f"piwsl_{term}_weight"] = weight
        return loss

    def _added(
        self, model: torch.nn.Module, ref: Any, pred: dict[str, Tensor], step: int
    ) -> dict[str, tuple[float, Tensor]]:
        """The terms of this step: a factor on each weight, and the structures' penalties."""
        added: dict[str, tuple[float, Tensor]] = {}
        scheduled, steps = self.settings.schedule(step), self._progress.steps
        factors = {t: scheduled * self.settings.falling(t, step, steps) for t in self.terms}
        if any(factors.values()):
            penalties = self._penalties(model, ref, pred, step)
            added |= {term: (factors[term], values) for term, values in penalties.items()}
        factor = self.settings.falling(WEAK_FORCES, step, steps)
        if WEAK_FORCES in self.weights and factor > 0.0:
            weak_forces, known = weak_forces_of(ref)
            values = weak_force_penalties(
                pred["forces"],
                weak_forces,
                ref.batch,
                ref.num_graphs,
                has_weak_forces=known,
                penalty=self.settings.weak_forces_penalty,
            )
            added[WEAK_FORCES] = (factor, values)
        return added

    def _penalties(
        self, model: torch.nn.Module, ref: Any, pred: dict[str, Tensor], step: int
    ) -> dict[str, Tensor]:
        progress = self._progress
        structures, energy = structures_of(ref, pred)
        data = tensors_of(ref)
        if progress.radii is not None:
            structures = dataclasses.replace(structures, pairs=pairs_of(data, progress.radii))
        return step_penalties(
            self.settings,
            self.terms,
            structures,
            energy,
            pred["forces"],
            DisplacedModel(model, progress.cutoff, data, seams.rows_of_structures(ref)),
            step_generator(self.settings.seed, step, progress.rank),
        )

    def __repr__(self) -> str:
        weights = ", ".join(f"{term} weight {weight:g}" for term, weight in self.weights.items())
        return f"PiwslLoss({weights}, base={self.base!r})"


def structures_of(ref: Any, pred: dict[str, Tensor]) -> tuple[Structures, Tensor]:
    """Translate MACE's batch and output.

    Args:
        ref: MACE's batch.
        pred: the model's output for it.

    Returns:
        The structures, their reference energies without the atoms' energies, and the model's
        interaction energy, shape [n_graphs], eV.
    """
    energy = interaction_energy(pred)
    atoms_energy = (pred["energy"] - energy).detach()
    structures = Structures(
        positions=ref.positions,
        graph_index=ref.batch,
        n_graphs=ref.num_graphs,
        isolated=~ref.pbc.view(-1, 3).any(dim=-1),
        energy=ref.energy - atoms_energy,
        has_energy=ref.energy_weight > 0,
        forces=ref.forces,
        has_forces=ref.forces_weight > 0,
    )
    return structures, energy
