"""The adapter's loss is the core's loss on the same numbers, in training steps only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.data import covalent_radii
from small_mace import crystals, make_batch, make_model, molecules

from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.geometry import DisplacedModel
from piwsl_plugins.hosts.mace.loss import IGNORES_FRAME_WEIGHTS, PiwslLoss, without_missing_labels
from piwsl_plugins.losses import Structures, step_generator, step_penalties, weak_force_penalties

Start = Callable[..., run.Run]
LABELS: list[dict[str, Any]] = [
    {"energy": -1000.0, "forces": np.full((6, 3), 0.1)},
    {"energy": -2000.0},
]
WEAK = ["--piwsl_weak_forces_key", "gfn2_forces"]


def base_loss() -> Any:
    from mace.modules import WeightedEnergyForcesLoss

    return WeightedEnergyForcesLoss(energy_weight=1000.0, forces_weight=10.0)


def make_loss(active: run.Run, model: Any, step: int = 0) -> PiwslLoss:
    active.model, active.cutoff, active.step = model, 4.0, step
    if "curvature" in active.terms:
        active.radii = torch.tensor([covalent_radii[int(z)] for z in model.atomic_numbers])
    return PiwslLoss(base_loss(), active)


def predict(model: Any, batch: Any) -> Any:
    return model(batch.to_dict(), training=True, compute_force=True)


class FreshModel:
    """MACE's model on displaced copies of frames, each with a neighbour list of its own."""

    def __init__(self, model: Any, frames: Sequence[ase.Atoms]) -> None:
        self.model, self.frames = model, list(frames)

    def select(self, chosen: torch.Tensor) -> FreshModel:
        return FreshModel(self.model, [self.frames[number] for number in chosen.tolist()])

    def __call__(
        self, positions: torch.Tensor, *, forces: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        found = []
        for copy in positions:
            moved, sizes = [], [len(atoms) for atoms in self.frames]
            for atoms, part in zip(self.frames, copy.detach().split(sizes), strict=True):
                moved.append(atoms.copy())
                moved[-1].positions = part.numpy()
            batch = {**make_batch(moved).to_dict(), "positions": copy}
            output = self.model(batch, training=True)
            found.append((output["energy"], output["forces"]))
        energies, gradients = zip(*found, strict=True)
        return torch.stack(energies), torch.stack(gradients)


def core_penalties(
    active: run.Run, model: Any, frames: Sequence[ase.Atoms], batch: Any, step: int
) -> dict[str, torch.Tensor]:
    """The same terms from the core alone."""
    radii = torch.tensor([covalent_radii[int(z)] for z in model.atomic_numbers])
    pairs = DisplacedModel.of(model, 4.0, batch).pairs(radii)
    structures = Structures(
        positions=batch.positions.detach(),
        graph_index=batch.batch,
        n_graphs=len(frames),
        isolated=torch.tensor([not atoms.pbc.any() for atoms in frames]),
        energy=batch.energy,
        has_energy=batch.energy_weight > 0,
        forces=batch.forces,
        has_forces=batch.forces_weight > 0,
        pairs=None if active.radii is None else pairs,
    )
    output = predict(model, make_batch(frames))
    return step_penalties(
        active.settings,
        active.terms,
        structures,
        *(output["energy"], output["forces"]),
        FreshModel(model, frames),
        step_generator(active.settings.seed, step),
    )


VARIANTS = [
    ("piwsl", "--piwsl_order", "1"),
    ("piwsl", "--piwsl_batch_fraction", "1"),
    ("piwsl", "--piwsl_batch_fraction", "0.5", "--piwsl_second_order", "hessian"),
    ("piwsl_taylor", "--piwsl_anchor", "label_and_forces"),
    ("piwsl", "--piwsl_displacement", "adversarial", "--piwsl_penalty", "absolute"),
    ("piwsl_conservative", "--piwsl_displacement", "cube", "--piwsl_tolerance", "1.0"),
    ("piwsl", "--piwsl_fraction", "0.5", "--piwsl_penalty", "huber"),
    ("piwsl_curvature", "--piwsl_fade", "0"),
]


@pytest.mark.parametrize("words", VARIANTS)
def test_terms_and_gradients_equal_the_cores_on_the_same_numbers(
    start: Start, words: tuple[str, ...]
) -> None:
    active = start("--piwsl_every", "1", "--loss", *words)
    chain = ase.Atoms("CH2", [[0, 0, 0], [0.0, 0.9, 0.7], [0.0, -0.9, 0.7]])
    chain.set_cell([1.7, 9.0, 9.0])
    chain.pbc = (True, False, False)
    frames, model = [*molecules(), chain], make_model()
    labels = [{"energy": -700.0 * len(atoms)} for atoms in frames]
    labels[0]["forces"] = np.full((len(frames[0]), 3), 0.1)
    batch = make_batch(frames, labels=labels)
    loss = make_loss(active, model, step=7)
    prediction = predict(model, batch)
    extra = loss(pred=prediction, ref=batch) - loss.base(pred=prediction, ref=batch)
    penalties = core_penalties(active, model, frames, batch, step=7)
    assert penalties.keys() == set(active.terms)
    for term, values in penalties.items():
        found = active.values[f"piwsl_{term}"]
        torch.testing.assert_close(found, values.mean().detach(), rtol=1e-7, atol=1e-18)
    total = torch.stack([loss.weights[term] * values.mean() for term, values in penalties.items()])
    found, expected = (
        torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
        for value in (extra, total.sum())
    )
    scale = max(float(other.abs().max()) for other in expected if other is not None)
    for one, other in zip(found, expected, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9 * scale)


def test_a_step_has_the_cpus_numbers_on_every_device(start: Start, device: str) -> None:
    found = []
    for where in ("cpu", device):
        active = start("--loss", "piwsl", "--piwsl_every", "1", "--piwsl_max_displacement", "0.1")
        model = make_model().to(where)
        batch = make_batch([*molecules(), *crystals()], labels=LABELS).to(where)
        total = make_loss(active, model)(pred=predict(model, batch), ref=batch)
        gradients = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
        numbers = [total.detach(), *(values for values in gradients if values is not None)]
        found.append([values.cpu() for values in numbers])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10 * float(other.abs().max()))


def test_single_precision_residuals_survive_large_total_energies(start: Start) -> None:
    active = start(
        "--piwsl_every", "1", "--loss", "piwsl_taylor", "--piwsl_max_displacement", "0.05"
    )
    frames = molecules()
    double = make_model(atomic_energies=np.full(6, -1000.0))
    exact_batch = make_batch(frames, labels=LABELS)
    make_loss(active, double)(pred=predict(double, exact_batch), ref=exact_batch)
    exact = float(active.values["piwsl_taylor"])
    torch.set_default_dtype(torch.float32)
    single = make_model(atomic_energies=np.full(6, -1000.0))
    single.load_state_dict({name: value.clone() for name, value in double.state_dict().items()})
    batch = make_batch(frames, labels=LABELS)
    make_loss(active, single)(pred=predict(single, batch), ref=batch)
    assert float(active.values["piwsl_taylor"]) == pytest.approx(exact, rel=0.05)


def test_steps_between_every_cost_no_model_call_and_no_random_number(start: Start) -> None:
    active = start("--loss", "piwsl", "--piwsl_every", "3")
    model = make_model()
    batch = make_batch(molecules(), labels=LABELS)
    loss, calls, seen = make_loss(active, model), [], []
    model.register_forward_hook(lambda *_: calls.append(1))
    stream = torch.get_rng_state()
    for _ in range(6):
        prediction = predict(model, batch)
        before = len(calls)
        loss(pred=prediction, ref=batch).backward()
        seen.append(len(calls) - before)
    assert [count > 0 for count in seen] == [True, False, False, True, False, False]
    assert torch.equal(stream, torch.get_rng_state())


def test_dipole_models_have_the_terms_too(start: Start) -> None:
    from e3nn import o3

    active = start(
        "--loss", "piwsl", "--model", "EnergyDipolesMACE",
        "--piwsl_base_loss", "energy_forces_dipole",
    )  # fmt: skip
    model = make_model("EnergyDipolesMACE", MLP_irreps=o3.Irreps("8x0e + 8x1o"))
    batch = make_batch(molecules(), labels=LABELS)
    make_loss(active, model)(pred=predict(model, batch), ref=batch).backward()
    assert float(active.values["piwsl_taylor"]) > 0


def test_weak_forces_are_the_cores_mean_over_structures_with_their_weights(start: Start) -> None:
    words = ["--piwsl_weak_forces_weight", "7"]
    active = start("--loss", "piwsl_supervised", *WEAK, *words)
    weak = {"weak_forces": np.full((6, 3), 0.2), "weak_weights": np.linspace(0.0, 1.0, 6)}
    labels = [{"energy": -100.0, "weight": 2.0, **weak}, {"energy": -200.0}]
    batch, model = make_batch(molecules(), labels=labels), make_model()
    assert bool((batch.forces_weight == 0).all())
    pred, loss = predict(model, batch), make_loss(active, model)
    total = loss(pred=pred, ref=batch)
    expected = weak_force_penalties(
        pred["forces"],
        torch.full_like(pred["forces"], 0.2),
        batch.batch,
        2,
        has_weak_forces=torch.tensor([True, False]),
        weights=torch.cat([torch.linspace(0.0, 1.0, 6), torch.ones(4)]),
    )
    mean = (expected * torch.tensor([2.0, 1.0])).mean()
    assert mean > 0
    torch.testing.assert_close(total, loss.base(pred=pred, ref=batch) + 7.0 * mean)
    total.backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


BASES = ["WeightedEnergyForcesLoss", "UniversalLoss", *sorted(IGNORES_FRAME_WEIGHTS)]


@pytest.mark.parametrize("name", BASES)
def test_a_missing_label_has_no_error_and_no_gradient(start: Start, name: str) -> None:
    from mace import modules

    start("--loss", "piwsl_supervised")
    labels = [{**LABELS[0], "stress": np.zeros((3, 3))}, {}]
    batch = make_batch(molecules(), labels=labels)
    batch.dipole_weight[0] = 1.0
    pred = dict(predict(make_model(), batch))
    pred["stress"] = torch.ones(2, 3, 3, requires_grad=True)
    pred["dipole"] = torch.ones(2, 3, requires_grad=True)
    base = getattr(modules, name)(energy_weight=1000.0, forces_weight=10.0)
    loss = base(ref=without_missing_labels(base, batch, pred), pred=pred)
    read = {"energy": torch.arange(2), "forces": batch.batch}
    if "Stress" in name or name == "UniversalLoss":
        read["stress"] = torch.arange(2)
    if "Dipole" in name:
        read["dipole"] = torch.arange(2)
    for label, graph in read.items():
        (gradient,) = torch.autograd.grad(loss, pred[label], retain_graph=True)
        assert bool((gradient[graph == 0] != 0).any()), label
        assert bool((gradient[graph == 1] == 0).all()), label
    # whatever stands in the place of the missing label
    batch.forces[batch.batch == 1] = 7.0
    batch.energy[1] = 3.0
    again = base(ref=without_missing_labels(base, batch, pred), pred=pred)
    torch.testing.assert_close(again, loss, rtol=0, atol=0)


def test_maces_placeholder_zeros_never_have_a_weight(start: Start) -> None:
    from mace.data import AtomicData, Configuration
    from mace.tools import AtomicNumberTable

    start("--loss", "piwsl_supervised")
    config = Configuration(
        atomic_numbers=molecules()[1].numbers,
        positions=molecules()[1].positions,
        properties={"energy": np.nan, "forces": np.full((4, 3), np.nan), "stress": None},
        property_weights={"energy": 1.0, "forces": 1.0, "stress": 1.0},
    )
    item = AtomicData.from_config(config, z_table=AtomicNumberTable([1, 6, 8]), cutoff=3.0)
    for label in ("energy", "forces", "stress", "virials"):
        assert float(item[f"{label}_weight"]) == 0.0
        assert bool((item[label] == 0).all())
