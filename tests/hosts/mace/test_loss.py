"""The adapter's loss is the core's loss on the same numbers, in training steps only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from small_mace import crystals, make_batch, make_model, molecules

from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.loss import PiwslLoss, interaction_energy
from piwsl_plugins.losses import ConsistencyLoss, Pairs, Structures

LABELS: list[dict[str, Any]] = [
    {"energy": -1000.0, "forces": np.full((6, 3), 0.1)},
    {"energy": -2000.0},
]


def base_loss() -> Any:
    from mace.modules import WeightedEnergyForcesLoss

    return WeightedEnergyForcesLoss(energy_weight=1000.0, forces_weight=10.0)


def make_loss(active: run.Run, model: Any, step: int = 0) -> PiwslLoss:
    loss = active.wrap(base_loss())
    active.progress.bind(model, active.terms, step=step, rank=0)
    return loss


def predict(model: Any, batch: Any, *, training: bool = True) -> Any:
    return model(batch.to_dict(), training=training, compute_force=True)


def core_means(
    active: run.Run,
    model: Any,
    frames: Sequence[ase.Atoms],
    batch: Any,
    step: int,
    **options: Any,
) -> dict[str, torch.Tensor]:
    """The same terms from the core alone: every geometry gets a neighbour list of its own."""
    isolated = [not atoms.pbc.any() for atoms in frames]
    pairs = pairs_by_hand(active, frames) if "curvature" in active.terms else None
    structures = Structures(
        positions=batch.positions.detach(),
        graph_index=batch.batch,
        n_graphs=len(frames),
        isolated=torch.tensor(isolated),
        energy=batch.energy,
        has_energy=batch.energy_weight > 0,
        forces=batch.forces,
        has_forces=batch.forces_weight > 0,
        pairs=pairs,
    )
    core = ConsistencyLoss(active.settings, active.terms)
    return core(structures, model_on(model, frames, **options), step=step)[1]


def model_on(model: Any, frames: Sequence[ase.Atoms], **options: Any) -> Any:
    """MACE's model on displaced copies of frames, or of some of them; options of the batch."""

    def evaluate(
        positions: torch.Tensor, *, forces: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        moved = [atoms.copy() for atoms in frames]
        begin = 0
        for atoms in moved:
            atoms.positions = positions.detach()[begin : begin + len(atoms)].numpy()
            begin += len(atoms)
        fresh = make_batch(moved, **options).to_dict()
        fresh["positions"] = positions
        output = model(fresh, training=True, compute_force=True)
        return output["energy"], output["forces"]

    def select(chosen: torch.Tensor) -> Any:
        some = [frames[int(number)] for number in chosen.nonzero()]
        return model_on(model, some, **options)

    evaluate.select = select  # type: ignore[attr-defined]
    return evaluate


def pairs_by_hand(active: run.Run, frames: Sequence[ase.Atoms]) -> Pairs:
    """All pairs within the cutoff and the skin, found by ASE."""
    index, shifts, begin = [], [], 0
    for atoms in frames:
        i, j, vectors = neighbor_list("ijD", atoms, 4.0 + active.settings.skin)
        index.append(np.stack([i, j]) + begin)
        shifts.append(vectors - (atoms.positions[j] - atoms.positions[i]))
        begin += len(atoms)
    numbers = np.concatenate([atoms.numbers for atoms in frames])
    return Pairs(
        index=torch.tensor(np.concatenate(index, axis=1)),
        shifts=torch.tensor(np.concatenate(shifts)),
        radii=torch.tensor(covalent_radii[numbers]),
    )


VARIANTS = [
    ("piwsl", "--piwsl_order", "1"),
    ("piwsl",),
    ("piwsl", "--piwsl_second_order", "hessian"),
    ("piwsl_taylor", "--piwsl_anchor", "label"),
    ("piwsl_taylor", "--piwsl_anchor", "label_and_forces"),
    ("piwsl", "--piwsl_displacement", "adversarial", "--piwsl_penalty", "absolute"),
    ("piwsl_conservative", "--piwsl_displacement", "cube", "--piwsl_tolerance", "1.0"),
    ("piwsl", "--piwsl_fraction", "0.5", "--piwsl_penalty", "huber"),
    ("piwsl", "--piwsl_batch_fraction", "0.5"),
    ("piwsl", "--piwsl_batch_fraction", "0.5", "--piwsl_second_order", "hessian"),
    ("piwsl_taylor", "--piwsl_batch_fraction", "0.3", "--piwsl_order", "1"),
]


@pytest.mark.parametrize("words", VARIANTS)
@pytest.mark.parametrize("make_frames", [molecules, crystals])
def test_each_term_equals_the_core_on_the_same_numbers(
    start: Callable[..., run.Run],
    make_frames: Callable[[], list[ase.Atoms]],
    words: tuple[str, ...],
) -> None:
    active = start("--piwsl_every", "1", "--loss", *words)
    frames, model = make_frames(), make_model()
    labels = [{"energy": -700.0 * len(atoms)} for atoms in frames]
    labels[0]["forces"] = np.full((len(frames[0]), 3), 0.1)
    batch = make_batch(frames, labels=labels)
    loss = make_loss(active, model, step=7)
    total = loss(pred=predict(model, batch), ref=batch)
    expected = core_means(active, model, frames, batch, step=7)
    weighted = total.new_zeros(())
    assert expected.keys() == set(active.terms)
    for term, mean in expected.items():
        found = active.progress.values[f"piwsl_{term}"]
        torch.testing.assert_close(found, mean.detach(), rtol=1e-7, atol=1e-18)
        weighted = weighted + loss.weights[term] * mean
    base = active.progress.values["base_loss"]
    torch.testing.assert_close(total, base + weighted, rtol=1e-10, atol=0)


@pytest.mark.parametrize("words", [(), ("--piwsl_batch_fraction", "0.5")])
def test_the_curvature_term_equals_the_core(
    start: Callable[..., run.Run], words: tuple[str, ...]
) -> None:
    active = start("--piwsl_every", "1", "--loss", "piwsl_curvature", *words)
    elements = (1, 6, 8)
    chain = ase.Atoms("CH2", [[0, 0, 0], [0.0, 0.9, 0.7], [0.0, -0.9, 0.7]])
    chain.set_cell([1.7, 9.0, 9.0])
    chain.pbc = (True, False, False)
    frames = [*molecules(), chain]
    model = make_model(num_elements=3, atomic_numbers=list(elements), atomic_energies=np.zeros(3))
    batch = make_batch(frames, elements=elements)
    loss = make_loss(active, model, step=3)
    active.progress.steps = 4  # so that a quarter of the run, and of the weight, is left
    total = loss(pred=predict(model, batch), ref=batch)
    (mean,) = core_means(active, model, frames, batch, 3, elements=elements).values()
    assert mean > 0
    found = active.progress.values["piwsl_curvature"]
    torch.testing.assert_close(found, mean.detach(), rtol=1e-7, atol=1e-18)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    weight = 0.25 * loss.weights["curvature"]
    assert active.progress.values["piwsl_curvature_weight"] == weight
    expected = torch.autograd.grad(weight * mean, parameters, allow_unused=True)
    for gradient, right in zip(gradients, expected, strict=True):
        if right is not None:
            torch.testing.assert_close(gradient, right, rtol=1e-7, atol=1e-12)


def test_curvature_is_refused_for_elements_whose_bonds_it_does_not_know(
    start: Callable[..., run.Run],
) -> None:
    active = start("--piwsl_every", "1", "--loss", "piwsl_curvature")
    with pytest.raises(ValueError, match=r"the model has Na, Mg, Cl; use the taylor"):
        make_loss(active, make_model())


def test_gradients_equal_the_cores(start: Callable[..., run.Run]) -> None:
    active = start("--piwsl_every", "1", "--loss", "piwsl")
    frames, model = molecules(), make_model()
    batch = make_batch(frames, labels=LABELS)
    loss = make_loss(active, model)
    prediction = predict(model, batch)
    extra = loss(pred=prediction, ref=batch) - loss.base(pred=prediction, ref=batch)
    found = torch.autograd.grad(extra, list(model.parameters()), allow_unused=True)
    means = core_means(active, model, frames, batch, step=0)
    total = torch.stack([loss.weights[term] * mean for term, mean in means.items()]).sum()
    expected = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-12)


def test_evaluation_is_the_base_loss_alone(start: Callable[..., run.Run]) -> None:
    from mace.tools.train import evaluate

    active = start("--piwsl_every", "1", "--loss", "piwsl")
    model = make_model()
    loss = make_loss(active, model)
    output_args = {"energy": True, "forces": True, "virials": False, "stress": False}
    batch = make_batch(molecules(), labels=LABELS)
    found, _ = evaluate(model, loss, [batch], output_args, torch.device("cpu"))
    plain, _ = evaluate(model, base_loss(), [batch], output_args, torch.device("cpu"))
    assert found == plain
    assert active.progress.step == 0


def test_single_precision_residuals_survive_large_total_energies(
    start: Callable[..., run.Run],
) -> None:
    active = start(
        "--piwsl_every", "1", "--loss", "piwsl_taylor", "--piwsl_max_displacement", "0.05"
    )
    frames = molecules()
    double = make_model(atomic_energies=np.full(6, -1000.0))
    exact_batch = make_batch(frames, labels=LABELS)
    make_loss(active, double)(pred=predict(double, exact_batch), ref=exact_batch)
    exact = float(active.progress.values["piwsl_taylor"])
    torch.set_default_dtype(torch.float32)
    single = make_model(atomic_energies=np.full(6, -1000.0))
    single.load_state_dict({name: value.clone() for name, value in double.state_dict().items()})
    batch = make_batch(frames, labels=LABELS)
    make_loss(active, single)(pred=predict(single, batch), ref=batch)
    assert float(active.progress.values["piwsl_taylor"]) == pytest.approx(exact, rel=0.05)


def test_frame_weights_scale_the_terms(start: Callable[..., run.Run]) -> None:
    active = start("--piwsl_every", "1", "--loss", "piwsl_taylor")
    model, values = make_model(), []
    for weight in (1.0, 3.0):
        labels = [{**label, "weight": weight} for label in LABELS]
        batch = make_batch(molecules(), labels=labels)
        make_loss(active, model)(pred=predict(model, batch), ref=batch)
        values.append(active.progress.values["piwsl_taylor"])
    torch.testing.assert_close(values[1], 3.0 * values[0])


def test_the_hosts_random_stream_is_left_alone(start: Callable[..., run.Run]) -> None:
    active = start("--piwsl_every", "1", "--loss", "piwsl")
    model = make_model()
    batch = make_batch(molecules(), labels=LABELS)
    loss = make_loss(active, model)
    before = torch.get_rng_state()
    loss(pred=predict(model, batch), ref=batch).backward()
    assert torch.equal(before, torch.get_rng_state())


def test_steps_between_every_cost_no_model_call(start: Callable[..., run.Run]) -> None:
    active = start("--piwsl_every", "1", "--loss", "piwsl", "--piwsl_every", "3")
    model = make_model()
    batch = make_batch(molecules(), labels=LABELS)
    loss, calls, seen = make_loss(active, model), [], []
    model.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(6):
        prediction = predict(model, batch)
        before = len(calls)
        loss(pred=prediction, ref=batch)
        seen.append(len(calls) - before)
    assert [count > 0 for count in seen] == [True, False, False, True, False, False]
    assert active.progress.step == 6


def test_both_stages_share_one_stream_of_displacements(start: Callable[..., run.Run]) -> None:
    active = start("--piwsl_every", "1", "--loss", "piwsl_taylor")
    model = make_model()
    batch = make_batch(molecules(), labels=LABELS)
    first = make_loss(active, model)
    second = active.wrap(base_loss())
    first(pred=predict(model, batch), ref=batch)
    second(pred=predict(model, batch), ref=batch)
    assert active.progress.step == 2


def test_interaction_energy_leaves_the_atoms_energies_out() -> None:
    batch = make_batch(molecules())
    for kind in ("MACE", "ScaleShiftMACE"):
        low = make_model(kind)
        high = make_model(kind, atomic_energies=np.zeros(6))
        a, b = (predict(model, batch, training=False) for model in (low, high))
        torch.testing.assert_close(interaction_energy(a), interaction_energy(b))
        torch.testing.assert_close(interaction_energy(b), b["energy"])


def test_dipole_models_have_the_terms_too(start: Callable[..., run.Run]) -> None:
    from e3nn import o3

    active = start(
        "--loss", "piwsl", "--model", "EnergyDipolesMACE",
        "--piwsl_base_loss", "energy_forces_dipole",
    )  # fmt: skip
    model = make_model("EnergyDipolesMACE", MLP_irreps=o3.Irreps("8x0e + 8x1o"))
    batch = make_batch(molecules(), labels=LABELS)
    make_loss(active, model)(pred=predict(model, batch), ref=batch).backward()
    assert float(active.progress.values["piwsl_taylor"]) > 0


def test_an_unbound_loss_says_so(start: Callable[..., run.Run]) -> None:
    loss = start("--piwsl_every", "1", "--loss", "piwsl").wrap(base_loss())
    model = make_model()
    batch = make_batch(molecules(), labels=LABELS)
    with pytest.raises(RuntimeError, match=r"before mace\.tools\.train"):
        loss(pred=predict(model, batch), ref=batch)
