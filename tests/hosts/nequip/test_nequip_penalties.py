"""The adapter's penalties and their gradients are the core's on the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.build
import ase.io
import pytest
import torch
from ase.data import atomic_numbers, covalent_radii
from nequip.data import AtomicDataDict
from small_nequip import (
    FRAMES,
    POSITIONS,
    R_MAX,
    Batch,
    data_config,
    fit,
    fresh_list,
    loss_config,
    many_molecules,
    model_config,
    module_config,
    with_forces,
    write_frames,
)

from piwsl_plugins.hosts.nequip import PiwslASEDataModule, PiwslLightningModule
from piwsl_plugins.losses import Pairs, Structures, step_generator, step_penalties
from piwsl_plugins.settings import PAPER_TERMS, PiwslSettings

NAN = float("nan")
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
        if self.training:
            self.seen.append((before, output))
        return output

    def on_after_backward(self) -> None:
        named = self.model.named_parameters()
        self.gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})


def watched(
    path: Path, frames: list[Any], settings: dict[str, Any], terms: tuple[str, ...], **changes: Any
) -> Watched:
    """One epoch, one step a structure, in which the weights stay what they are."""
    write_frames(path / "train.xyz", frames)
    config = data_config(path / "train.xyz", **changes.pop("data", {}))
    training = Watched(
        **module_config(ALL | settings, loss=loss_config(*terms), learning_rate=0.0, **changes)
    )
    fit(training, PiwslASEDataModule(piwsl=ALL | settings, **config))
    return training


def by_the_core(
    training: Watched, batch: Batch, settings: PiwslSettings, terms: tuple[str, ...], step: int
) -> dict[str, torch.Tensor]:
    """The penalties from the core alone; every geometry gets a neighbour list of its own."""
    energy_label, forces_label = batch["total_energy"].view(-1), batch.get("forces")
    index, n_graphs = batch["batch"], len(batch["num_atoms"])
    evaluate = model_on(training.model["sole_model"], batch)

    has_forces = None
    if forces_label is not None:
        has_forces = torch.tensor(
            [not forces_label[index == graph].isnan().any() for graph in range(n_graphs)]
        )
    structures = Structures(
        positions=batch[POSITIONS].detach().requires_grad_(),
        graph_index=index,
        n_graphs=n_graphs,
        isolated=~batch["pbc"].any(dim=-1),
        energy=energy_label.nan_to_num(),
        has_energy=~energy_label.isnan(),
        forces=None if forces_label is None else forces_label.nan_to_num(),
        has_forces=has_forces,
        pairs=pairs_by_hand(training, batch) if "curvature" in terms else None,
    )
    energy, forces = evaluate(structures.positions, forces=True)
    generator = step_generator(settings.seed, step, 0)
    return step_penalties(settings, terms, structures, energy, forces, evaluate, generator)


def model_on(model: Any, batch: Batch) -> Any:
    """NequIP's model on structures, or on some of them taken out of the batch by NequIP."""

    def evaluate(positions: torch.Tensor, *, forces: bool) -> tuple[torch.Tensor, torch.Tensor]:
        output = model(fresh_list(batch, positions))
        return output["total_energy"].view(-1), output["forces"]

    def select(chosen: torch.Tensor) -> Any:
        bare = fresh_list(batch, batch[POSITIONS])
        frames = [AtomicDataDict.frame_from_batched(bare, int(k)) for k in chosen.nonzero()]
        return model_on(model, AtomicDataDict.batched_from_list(frames))

    evaluate.select = select  # type: ignore[attr-defined]
    return evaluate


def pairs_by_hand(training: Watched, batch: Batch) -> Pairs:
    """All pairs within the training data's cutoff, from a neighbour list of the structures' own."""
    listed = fresh_list(batch, batch[POSITIONS], R_MAX + training.piwsl_settings.skin)
    first, second = listed["edge_index"]
    cells = listed["cell"].view(-1, 3, 3)[batch["batch"][first]]
    images = listed["edge_cell_shift"].to(cells)
    symbols = training.model["sole_model"].type_names
    radii = [covalent_radii[atomic_numbers[symbols[int(k)]]] for k in batch["atom_types"].view(-1)]
    return Pairs(
        index=torch.stack([first, second]),
        shifts=torch.einsum("pi,pij->pj", images, cells),
        radii=torch.tensor(radii),
    )


VARIANTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "first": ({"order": 1}, PAPER_TERMS),
    "trapezoid": ({}, PAPER_TERMS),
    "hessian": ({"second_order": "hessian"}, PAPER_TERMS),
    "taylor_alone": ({}, ("taylor",)),
    "conservative_alone": ({"displacement": "cube", "tolerance": 1e-4}, ("conservative",)),
    "label": ({"anchor": "label"}, PAPER_TERMS),
    "label_first": ({"anchor": "label", "order": 1}, ("taylor",)),
    "label_and_forces": ({"anchor": "label_and_forces"}, PAPER_TERMS),
    "label_and_forces_hessian": (
        {"anchor": "label_and_forces", "second_order": "hessian"},
        ("conservative", "taylor"),
    ),
    "adversarial": ({"displacement": "adversarial", "penalty": "absolute"}, PAPER_TERMS),
    "shell": ({"displacement": "shell", "max_displacement": 0.02, "seed": 7}, PAPER_TERMS),
    "fraction": ({"fraction": 0.5, "penalty": "huber"}, PAPER_TERMS),
    "some": ({"batch_fraction": 0.5}, PAPER_TERMS),
    "some_first": ({"batch_fraction": 0.4, "order": 1, "seed": 1}, PAPER_TERMS),
    "some_hessian": ({"batch_fraction": 0.6, "second_order": "hessian"}, PAPER_TERMS),
    "some_adversarial": ({"batch_fraction": 0.5, "displacement": "adversarial"}, PAPER_TERMS),
    "some_conservative": ({"batch_fraction": 0.5}, ("conservative",)),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("frames", ["molecules", "crystals"])
def test_each_structures_penalty_equals_the_cores(
    tmp_path: Path, frames: str, variant: str
) -> None:
    settings, terms = VARIANTS[variant]
    training = watched(tmp_path, with_forces(FRAMES[frames](), [1]), settings, terms)
    ((batch, output),) = training.seen
    expected = by_the_core(training, batch, PiwslSettings(**(ALL | settings)), terms, step=0)
    assert expected.keys() == set(terms)
    assert {key for key in output if key.startswith("piwsl_")} == {f"piwsl_{t}" for t in terms}
    for term, values in expected.items():
        found = output[f"piwsl_{term}"]
        assert found.shape == (2,)
        assert values.max() > 0
        torch.testing.assert_close(found, values, rtol=1e-8, atol=1e-18)


CURVATURE = [{}, {"batch_fraction": 0.5}, {"batch_fraction": 0.5, "penalty": "absolute"}]


@pytest.mark.parametrize("settings", CURVATURE)
def test_the_curvature_penalty_equals_the_cores(tmp_path: Path, settings: dict[str, Any]) -> None:
    terms = ("taylor", "curvature")
    chain = FRAMES["layers"]()[1]
    frames = [ase.build.molecule("CH3CH2OH"), chain, *many_molecules(2)]
    names = ["C", "O", "H"]  # in an order of their own
    shifts = dict.fromkeys(names, -10.0)
    model = model_config(type_names=names, per_type_energy_shifts=shifts)
    data = data_config(tmp_path)["transforms"]
    data[0]["model_type_names"] = names
    training = watched(tmp_path, frames, settings, terms, model=model, data={"transforms": data})
    chosen, steps = PiwslSettings(**(ALL | settings)), len(training.seen)
    for step, (batch, output) in enumerate(training.seen):
        expected = by_the_core(training, batch, chosen, terms, step)
        for term, values in expected.items():
            assert values.max() > 0
            wanted = values * chosen.falling(term, step, steps)
            torch.testing.assert_close(output[f"piwsl_{term}"], wanted, rtol=1e-6, atol=1e-18)


@pytest.mark.parametrize("kind", ["nequip", "allegro"])
@pytest.mark.parametrize("frames", FRAMES)
def test_the_same_with_either_model_in_any_cell(tmp_path: Path, frames: str, kind: str) -> None:
    training = watched(tmp_path, FRAMES[frames](), {}, PAPER_TERMS, model=model_config(kind))
    ((batch, output),) = training.seen
    for term, values in by_the_core(
        training, batch, PiwslSettings(**ALL), PAPER_TERMS, step=0
    ).items():
        torch.testing.assert_close(output[f"piwsl_{term}"], values, rtol=1e-8, atol=1e-18)


def test_every_step_draws_the_displacements_of_its_number(tmp_path: Path) -> None:
    training = watched(tmp_path, many_molecules(6), {"seed": 5}, PAPER_TERMS)
    assert len(training.seen) == 3
    for step, (batch, output) in enumerate(training.seen):
        expected = by_the_core(training, batch, PiwslSettings(**ALL, seed=5), PAPER_TERMS, step)
        for term, values in expected.items():
            torch.testing.assert_close(output[f"piwsl_{term}"], values, rtol=1e-8, atol=1e-18)


@pytest.mark.parametrize("variant", ["first", "trapezoid", "hessian", "label_and_forces"])
def test_the_gradient_is_that_of_the_weighted_sum_of_error_and_terms(
    tmp_path: Path, variant: str
) -> None:
    settings, terms = VARIANTS[variant]
    training = watched(tmp_path, with_forces(FRAMES["molecules"](), [0]), settings, terms)
    ((batch, _),) = training.seen
    penalties = by_the_core(training, batch, PiwslSettings(**(ALL | settings)), terms, step=0)
    predicted = training.model["sole_model"](fresh_list(batch, batch[POSITIONS]))["total_energy"]
    error = (predicted - batch["total_energy"]).view(-1) / batch["num_atoms"]
    weights = {"error": 1.0, "taylor": 0.05, "conservative": 0.05}
    parts = {"error": error.square().mean()} | {t: p.mean() for t, p in penalties.items()}
    loss = sum(weights[name] * part for name, part in parts.items()) / sum(weights.values())
    named = dict(training.model.named_parameters())
    expected = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    (found,) = training.gradients
    for name, gradient in zip(named, expected, strict=True):
        if gradient is not None:
            torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-12)


def test_the_output_beside_the_terms_is_that_of_the_host(tmp_path: Path) -> None:
    training = watched(tmp_path, FRAMES["crystals"](), {}, PAPER_TERMS)
    ((batch, output),) = training.seen
    plain = training.model["sole_model"](fresh_list(batch, batch[POSITIONS]))
    for key in ("total_energy", "forces", "stress", "atomic_energy"):
        torch.testing.assert_close(output[key], plain[key], rtol=1e-12, atol=1e-12)


def test_unlabelled_frames_are_anchored_at_the_prediction(tmp_path: Path) -> None:
    frames = FRAMES["molecules"]()
    write_frames(tmp_path / "train.xyz", frames)
    del frames[0].info["REF_energy"]
    data = {"train_file_path": str(tmp_path / "partial.xyz")}
    ase.io.write(tmp_path / "partial.xyz", frames)
    settings = {"anchor": "label"}
    training = watched(tmp_path, frames, settings, PAPER_TERMS, data=data)
    ((batch, output),) = training.seen
    assert int(batch["total_energy"].isnan().sum()) == 1
    anchored = by_the_core(training, batch, PiwslSettings(**(ALL | settings)), PAPER_TERMS, step=0)
    plain = by_the_core(training, batch, PiwslSettings(**ALL), PAPER_TERMS, step=0)
    unlabelled = batch["total_energy"].view(-1).isnan()
    assert torch.equal(anchored["taylor"][unlabelled], plain["taylor"][unlabelled])
    torch.testing.assert_close(output["piwsl_taylor"], anchored["taylor"], rtol=1e-8, atol=1e-18)
    assert all(g.isfinite().all() for g in training.gradients[0].values())
