"""The adapter's penalties and their gradients are the core's on the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase
import ase.build
import pytest
import torch
from ase.data import atomic_numbers, covalent_radii
from nequip.data import AtomicDataDict
from small_nequip import (
    KINDS,
    POSITIONS,
    R_MAX,
    TYPES,
    Batch,
    data_of,
    fit,
    formaldehydes,
    fresh_list,
    geometries,
    loss_config,
    model_config,
    module_config,
    with_forces,
    write_frames,
)

from piwsl_plugins.hosts.nequip import PiwslLightningModule
from piwsl_plugins.losses import Pairs, Structures, step_generator, step_penalties
from piwsl_plugins.settings import PAPER_TERMS, PiwslSettings

ALL: dict[str, Any] = {"every": 1, "batch_fraction": 1.0}
"""Every step, every structure."""


class Watched(PiwslLightningModule):
    """Keeps what went in and out of every training step, and the gradients of its loss."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seen: list[tuple[Batch, Batch]] = []
        self.gradients: list[dict[str, torch.Tensor]] = []

    def forward(self, inputs: Batch) -> Batch:
        before = {key: value.detach().clone() for key, value in inputs.items()}
        output = super().forward(inputs)
        self.seen.append((before, output))
        return output

    def on_after_backward(self) -> None:
        named = self.model.named_parameters()
        self.gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})


def watched(
    path: Path,
    frames: list[ase.Atoms],
    settings: dict[str, Any],
    terms: tuple[str, ...],
    **how: Any,
) -> Watched:
    """One epoch of two frames a step, in which the weights stay what they are."""
    write_frames(path / "train.xyz", frames)
    if how.pop("unlabelled", False):
        text = (path / "train.xyz").read_text(encoding="utf-8")
        (path / "train.xyz").write_text(text.replace("REF_energy", "other", 1), encoding="utf-8")
    types, accelerator = how.pop("types", TYPES), how.pop("accelerator", "cpu")
    shifts = dict.fromkeys(types, -10.0)
    model = model_config(type_names=list(types), per_type_energy_shifts=shifts, **how)
    loss = loss_config(*terms)
    training = Watched(**module_config(ALL | settings, loss=loss, model=model))
    data = data_of(path / "train.xyz", types=types)
    fit(training, data, limit_val_batches=0, accelerator=accelerator)
    return training


class ModelOn:
    """NequIP's model on structures, or on some of them taken out of the batch by NequIP."""

    def __init__(self, model: Any, batch: Batch) -> None:
        self.model, self.batch = model, batch

    def __call__(self, positions: torch.Tensor, *, forces: bool) -> tuple[torch.Tensor, ...]:
        outputs = [self.model(fresh_list(self.batch, copy)) for copy in positions]
        energies = torch.stack([output["total_energy"].view(-1) for output in outputs])
        return energies, torch.stack([output["forces"] for output in outputs])

    def select(self, chosen: torch.Tensor) -> Any:
        bare = fresh_list(self.batch, self.batch[POSITIONS])
        frames = [AtomicDataDict.frame_from_batched(bare, k) for k in chosen.tolist()]
        return ModelOn(self.model, AtomicDataDict.batched_from_list(frames))


def pairs_by_hand(symbols: list[str], batch: Batch) -> Pairs:
    """All pairs within the training data's cutoff, from a neighbour list of the structures' own."""
    listed = fresh_list(batch, batch[POSITIONS], R_MAX + 2.0 * PiwslSettings().max_displacement)
    first, second = listed["edge_index"]
    cells = listed["cell"].view(-1, 3, 3)[batch["batch"][first]]
    shifts = torch.einsum("pi,pij->pj", listed["edge_cell_shift"].to(cells), cells)
    radii = [covalent_radii[atomic_numbers[symbols[int(k)]]] for k in batch["atom_types"].view(-1)]
    return Pairs(index=torch.stack([first, second]), shifts=shifts, radii=torch.tensor(radii))


def by_the_core(
    training: Watched, settings: dict[str, Any], terms: tuple[str, ...], step: int = 0
) -> dict[str, torch.Tensor]:
    """The penalties from the core alone; every geometry gets a neighbour list of its own."""
    batch, chosen = training.seen[step][0], PiwslSettings(**(ALL | settings))
    energy, label, index = batch["total_energy"].view(-1), batch.get("forces"), batch["batch"]
    model = training.model["sole_model"]
    evaluate, graphs = ModelOn(model, batch), range(len(energy))
    forces: dict[str, torch.Tensor] = {}
    if label is not None:
        known = [not bool(label[index == graph].isnan().any()) for graph in graphs]
        forces = {"forces": label.nan_to_num(), "has_forces": torch.tensor(known)}
    structures = Structures(
        positions=batch[POSITIONS].detach().requires_grad_(),
        graph_index=index,
        n_graphs=len(energy),
        isolated=~batch["pbc"].any(dim=-1),
        energy=energy.nan_to_num(),
        has_energy=~energy.isnan(),
        pairs=pairs_by_hand(model.type_names, batch) if "curvature" in terms else None,
        **forces,
    )
    found = [one[0] for one in evaluate(structures.positions[None], forces=True)]
    generator = step_generator(chosen.seed, step, 0)
    return step_penalties(chosen, terms, structures, *found, evaluate, generator)


VARIANTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "first": ({"order": 1}, PAPER_TERMS),
    "trapezoid": ({}, PAPER_TERMS),
    "hessian": ({"second_order": "hessian"}, PAPER_TERMS),
    "conservative_alone": ({"displacement": "cube", "tolerance": 1e-4}, ("conservative",)),
    "label": ({"anchor": "label"}, PAPER_TERMS),
    "label_and_forces": ({"anchor": "label_and_forces"}, PAPER_TERMS),
    "adversarial": ({"displacement": "adversarial", "penalty": "absolute"}, PAPER_TERMS),
    "shell": ({"displacement": "shell", "max_displacement": 0.02, "seed": 7}, PAPER_TERMS),
    "fraction": ({"fraction": 0.5, "penalty": "huber"}, PAPER_TERMS),
    "some": ({"batch_fraction": 0.5}, PAPER_TERMS),
    "some_hessian": ({"batch_fraction": 0.6, "second_order": "hessian"}, PAPER_TERMS),
    "some_adversarial": ({"batch_fraction": 0.5, "displacement": "adversarial"}, PAPER_TERMS),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_structures_penalty_equals_the_cores(tmp_path: Path, variant: str) -> None:
    settings, terms = VARIANTS[variant]
    number = list(VARIANTS).index(variant)  # all kinds of cells and both models in turn
    frames = with_forces(geometries(KINDS[number % len(KINDS)]), [1])
    kind = ("nequip", "allegro")[number % 3 == 2]
    training = watched(tmp_path, frames, settings, terms, kind=kind)
    ((_, output),) = training.seen
    expected = by_the_core(training, settings, terms)
    assert expected.keys() == set(terms)
    assert {key for key in output if key.startswith("piwsl_")} == {f"piwsl_{t}" for t in terms}
    for term, values in expected.items():
        assert values.max() > 0
        both = torch.stack([values, torch.ones_like(values)])  # all structures have one
        torch.testing.assert_close(output[f"piwsl_{term}"], both, rtol=1e-8, atol=1e-18)


@pytest.mark.parametrize("settings", [{}, {"batch_fraction": 0.5, "penalty": "absolute"}], ids=str)
def test_the_curvature_penalty_equals_the_cores(tmp_path: Path, settings: dict[str, Any]) -> None:
    terms, frames = ("taylor", "curvature"), [geometries("layers")[1], *formaldehydes(1)]
    # types in an order of their own
    training = watched(tmp_path, frames, settings, terms, types=["C", "O", "H"])
    for term, values in by_the_core(training, settings, terms).items():
        assert values.max() > 0
        found = training.seen[0][1][f"piwsl_{term}"][0]
        torch.testing.assert_close(found, values, rtol=1e-6, atol=1e-18)


@pytest.mark.parametrize("variant", ["first", "trapezoid", "hessian", "label_and_forces"])
def test_the_gradient_is_that_of_the_weighted_sum_of_error_and_terms(
    tmp_path: Path, variant: str
) -> None:
    settings, terms = VARIANTS[variant]
    training = watched(tmp_path, with_forces(geometries("molecules"), [0]), settings, terms)
    ((batch, _),) = training.seen
    predicted = training.model["sole_model"](fresh_list(batch, batch[POSITIONS]))["total_energy"]
    error = (predicted - batch["total_energy"]).view(-1) / batch["num_atoms"]
    penalties = sum(p.mean() for p in by_the_core(training, settings, terms).values())
    loss = (error.square().mean() + 0.05 * penalties) / (1.0 + 2 * 0.05)
    named = dict(training.model.named_parameters())
    expected = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    for name, gradient in zip(named, expected, strict=True):
        if gradient is not None:
            found = training.gradients[0][name]
            torch.testing.assert_close(found, gradient, rtol=1e-8, atol=1e-12)


def test_unlabelled_frames_are_anchored_at_the_prediction(tmp_path: Path) -> None:
    settings, frames = {"anchor": "label"}, geometries("molecules")
    training = watched(tmp_path, frames, settings, PAPER_TERMS, unlabelled=True)
    ((batch, output),) = training.seen
    unlabelled = batch["total_energy"].view(-1).isnan()
    assert int(unlabelled.sum()) == 1
    anchored, plain = (by_the_core(training, s, PAPER_TERMS)["taylor"] for s in (settings, {}))
    assert torch.equal(anchored[unlabelled], plain[unlabelled])
    torch.testing.assert_close(output["piwsl_taylor"][0], anchored, rtol=1e-8, atol=1e-18)
    assert all(g.isfinite().all() for g in training.gradients[0].values())


def test_a_step_has_the_cpus_numbers_on_every_device(tmp_path: Path, device: str) -> None:
    frames = with_forces(geometries("crystals"), [0])
    alone, there = (
        watched(tmp_path, frames, {}, PAPER_TERMS, accelerator=accelerator)
        for accelerator in ("cpu", "cpu" if device == "cpu" else "gpu")
    )
    assert alone.gradients[0].keys() == there.gradients[0].keys()
    for name, expected in alone.gradients[0].items():
        found, scale = there.gradients[0][name].cpu(), float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10 * scale)
