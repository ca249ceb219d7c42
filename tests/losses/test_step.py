"""One training step: structures chosen, weights, schedule, random stream, gradients, devices."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from potentials import Clusters, Recorder, clusters, morse
from tools import (
    ANCHORS,
    SCHEMES,
    TAYLOR,
    all_pairs,
    at,
    close,
    labelled,
    many,
    parameters,
    penalties,
    reference,
    structures_of,
)
from torch import Tensor

from piwsl_plugins.losses import (
    ConsistencyLoss,
    Evaluate,
    Pairs,
    Structures,
    consistency_penalties,
    draw_displacements,
    draw_pair,
    from_energy,
    penalise,
    step_generator,
    step_penalties,
    sum_per_graph,
    weak_force_penalties,
)
from piwsl_plugins.losses.displacements import choose_structures
from piwsl_plugins.settings import DEFAULT_WEIGHT_RATIO, PAPER_TERMS, TERMS, PiwslSettings


class Quartic:
    """Atoms in a field about the origin, on any device; notes how many graphs it evaluated."""

    def __init__(self, structures: Structures, evaluated: list[int] | None = None) -> None:
        self.structures = structures
        self.evaluated: list[int] = [] if evaluated is None else evaluated

    def __call__(self, positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        self.evaluated.append(self.structures.n_graphs)
        index, n_graphs = self.structures.graph_index, self.structures.n_graphs
        atomic = positions.square().sum(-1) + 0.3 * positions.pow(4).sum(-1)
        energy = torch.stack([sum_per_graph(copy, index, n_graphs) for copy in atomic])
        if not forces:
            return energy, None
        (gradient,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
        return energy, -gradient

    def select(self, chosen: Tensor) -> Quartic:
        return Quartic(self.structures.select(chosen), self.evaluated)


def whole(batch: Clusters) -> Structures:
    structures = structures_of(batch, pairs=all_pairs(batch))
    return dataclasses.replace(structures, positions=batch.positions.clone().requires_grad_())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("given", [True, False])
def test_the_chosen_structures_have_the_penalties_that_they_have_alone(
    scheme: str, given: bool
) -> None:
    batch = many()
    settings = PiwslSettings(batch_fraction=0.5, **SCHEMES[scheme])
    structures = whole(batch)
    model = Quartic(structures)
    known = at(model, structures.positions) if given else (None, None)
    model.evaluated.clear()
    found = step_penalties(settings, TERMS, structures, *known, model, step_generator(3, 0))
    assert set(model.evaluated) == {3}
    generator = step_generator(3, 0)
    chosen = choose_structures(6, 0.5, generator)
    part = structures.select(chosen)
    pair = draw_pair(settings, part, None, None, generator)
    expected = consistency_penalties(settings, TERMS, part, None, None, model.select(chosen), pair)
    assert found.keys() == set(TERMS)
    for term, values in found.items():
        close(values[chosen], 2.0 * expected[term], rtol=1e-11)
        close(values.mean(), expected[term].mean(), rtol=1e-11)


def loss_of(
    settings: PiwslSettings, step: int = 0, terms: tuple[str, ...] = PAPER_TERMS, rank: int = 0
) -> tuple[float, dict[str, float]]:
    """The loss of two Morse molecules, and its terms."""
    batch = clusters()
    model = from_energy(morse(batch.graph_index, 2))
    total, means = ConsistencyLoss(settings, terms)(
        structures_of(batch), model, step=step, rank=rank
    )
    return total.item(), {term: mean.item() for term, mean in means.items()}


@pytest.mark.parametrize("displacement", ["ball", "adversarial"])
def test_the_reported_terms_are_means_over_the_structures(displacement: str) -> None:
    batch = clusters()
    structures = structures_of(batch, isolated=torch.tensor([True, False]))
    model = from_energy(morse(batch.graph_index, 2))
    settings = PiwslSettings(seed=4, batch_fraction=1.0, displacement=displacement)
    _, means = ConsistencyLoss(settings, per_atom=False)(structures, model, step=2, rank=1)
    known = at(model, batch.positions.clone().requires_grad_())
    pair = draw_pair(settings, structures, *known, step_generator(4, 2, 1))
    expected = penalties(settings, structures, model, pair, per_atom=False)
    for term in PAPER_TERMS:
        close(means[term], expected[term].mean(), rtol=1e-12)


def test_the_loss_is_the_weighted_sum_of_the_terms_means() -> None:
    total, means = loss_of(PiwslSettings(every=1, taylor_weight=1.3, conservative_weight=0.02))
    assert total == pytest.approx(1.3 * means["taylor"] + 0.02 * means["conservative"], rel=1e-14)
    total, means = loss_of(PiwslSettings(every=1))
    assert total == pytest.approx(DEFAULT_WEIGHT_RATIO["taylor"] * sum(means.values()), rel=1e-14)
    alone, one = loss_of(PiwslSettings(every=1), terms=TAYLOR)
    assert one == {"taylor": pytest.approx(means["taylor"], rel=1e-14)}
    assert 0.0 < alone < total


def test_steps_between_cost_no_evaluation_and_the_others_count_k_fold() -> None:
    batch = clusters()
    recorder = Recorder(from_energy(morse(batch.graph_index, 2)))
    loss = ConsistencyLoss(PiwslSettings(every=3))
    for step in (1, 2, 4, 5):
        total, means = loss(structures_of(batch), recorder, step=step)
        assert (total.item(), total.dtype, means) == (0.0, torch.float64, {})
    assert recorder.calls == []
    once = loss_of(PiwslSettings(every=1), 3)[0]
    assert loss_of(PiwslSettings(every=3), 3)[0] == pytest.approx(3 * once, rel=1e-14)


def test_a_term_that_fades_needs_the_number_of_steps() -> None:
    batch = clusters()
    structures, model = whole(batch), from_energy(morse(batch.graph_index, 2))
    loss = ConsistencyLoss(PiwslSettings(every=1), ("curvature",))
    weight = DEFAULT_WEIGHT_RATIO["curvature"]
    with pytest.raises(ValueError, match=r"steps: got None, and the curvature term fades"):
        loss(structures, model, step=0)
    later, means = loss(structures, model, step=2, steps=8)
    close(later, 0.75 * weight * means["curvature"])
    kept, means = ConsistencyLoss(PiwslSettings(every=1, fade=0), ("curvature",))(
        structures, model, step=2
    )
    close(kept, weight * means["curvature"])


@pytest.mark.parametrize("displacement", ["ball", "shell", "cube", "adversarial"])
@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_loss_depends_on_its_own_stream_and_leaves_the_hosts_and_the_positions_alone(
    displacement: str, fraction: float
) -> None:
    batch = clusters()
    structures, state = structures_of(batch), torch.get_rng_state()
    loss = ConsistencyLoss(
        PiwslSettings(displacement=displacement, fraction=fraction, second_order="hessian")
    )
    model = from_energy(morse(batch.graph_index, 2))
    total, _ = loss(structures, model, step=0)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        assert loss(structures, model, step=0)[0] == total
    assert loss(structures, model, step=2)[0] != total != loss(structures, model, step=0, rank=1)[0]
    assert torch.equal(structures.positions, clusters().positions)
    assert not structures.positions.requires_grad
    assert loss.state_dict() == {}


def everything(structures: Structures, model: Evaluate) -> list[Tensor]:
    """All terms with all kinds of displacement, and the loss on weak forces."""
    results = []
    for displacement in ("ball", "shell", "cube", "adversarial"):
        for fraction, scheme in ((0.5, "hessian"), (1.0, "trapezoid")):
            settings = PiwslSettings(
                displacement=displacement,
                fraction=fraction,
                batch_fraction=0.5,
                anchor="label_and_forces",
                tolerance=0.1,
                penalty="huber",
                **SCHEMES[scheme],
            )
            known = at(model, structures.positions)
            found = step_penalties(settings, TERMS, structures, *known, model, step_generator(0, 0))
            results += found.values()
    _, forces = at(model, structures.positions)
    index, mask = structures.graph_index, structures.labelled("forces")
    assert structures.forces is not None
    penalties = weak_force_penalties(forces, structures.forces, index, 2, has_weak_forces=mask)
    return [*results, penalties]


def moved_to(device: str, dtype: torch.dtype = torch.float64) -> tuple[Structures, Evaluate]:
    """Two labelled clusters on a device, their counts on the CPU, and a model that can select."""
    batch = clusters()
    labels = labelled(batch, *reference(batch), [True, False], [True, False])
    counts = torch.tensor([3, 4])

    def there(owner: Any, *names: str) -> dict[str, Tensor]:
        tensors = {name: getattr(owner, name) for name in names}
        return {
            name: tensor.to(device, dtype if tensor.is_floating_point() else None)
            for name, tensor in tensors.items()
        }

    pairs = Pairs(
        **there(all_pairs(batch), "index", "shifts", "radii"), counts=counts * (counts - 1)
    )
    of_labels = there(labels, "graph_index", "energy", "has_energy", "forces", "has_forces")
    structures = Structures(
        positions=there(batch, "positions")["positions"].requires_grad_(),
        n_graphs=2,
        counts=counts,
        isolated=torch.tensor([True, False], device=device),
        pairs=pairs,
        **of_labels,
    )
    return structures, Quartic(structures)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_follows_the_positions_dtype_and_device(dtype: torch.dtype, device: str) -> None:
    found, expected = everything(*moved_to(device, dtype)), everything(*moved_to("cpu"))
    for value, exact in zip(found, expected, strict=True):
        assert (value.dtype, value.device.type, value.shape) == (dtype, device, (2,))
        close(value.double().cpu(), exact, rtol=2e-2, atol=1e-6)


def test_no_tensor_is_made_on_the_default_device() -> None:
    # a tensor made without an explicit device would be on meta and meet those on the CPU
    expected = everything(*moved_to("cpu"))
    structures, model = moved_to("cpu")
    with torch.device("meta"):
        found = everything(structures, model)
    for value, exact in zip(found, expected, strict=True):
        assert torch.equal(value, exact)


def test_no_value_on_the_device_is_waited_for() -> None:
    # on meta there are no values: whatever would make the CPU wait for a GPU raises
    for value in everything(*moved_to("meta")):
        assert (value.device.type, value.shape) == ("meta", (2,))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("tolerance", [0.0, 2.0])
def test_the_losss_gradients_are_those_of_finite_differences(
    scheme: str, anchor: str, tolerance: float
) -> None:
    batch = clusters()
    structures = labelled(batch, *reference(batch), [True, False], [True, False])
    penalty = "huber" if tolerance else "squared"
    loss = ConsistencyLoss(
        PiwslSettings(
            anchor=anchor,
            taylor_weight=1.0,
            conservative_weight=0.7,
            penalty=penalty,
            tolerance=tolerance,
            **SCHEMES[scheme],
        )
    )

    def function(depth: Tensor, steepness: Tensor) -> Tensor:
        model = from_energy(morse(batch.graph_index, 2, depth, steepness))
        total: Tensor = loss(structures, model, step=2)[0]
        return total

    assert torch.autograd.gradcheck(function, parameters(4.5, 1.8), atol=1e-8, rtol=1e-5)


def test_from_energy_gives_minus_the_gradient_that_can_be_trained_through_on_demand() -> None:
    (k,) = parameters(3.0)
    model = from_energy(lambda r: 0.5 * k * r.square().sum().reshape(1))
    positions = torch.tensor([[[0.3, -2.0, 1.0]]] * 2, dtype=torch.float64, requires_grad=True)
    energy, forces = model(positions, forces=True)
    close(energy, 1.5 * positions.square().sum((1, 2)).unsqueeze(-1))
    assert forces is not None
    close(forces, -3.0 * positions)
    (gradient,) = torch.autograd.grad(forces.sum(), k)
    close(gradient, -positions.sum())
    assert model(positions, forces=False)[1] is None


def test_calls_that_make_no_sense_are_refused_with_what_was_expected() -> None:
    batch = clusters()
    model = from_energy(morse(batch.graph_index, 2))
    structures = whole(batch)
    zeros, generator = torch.zeros(7, 3), step_generator(0, 0)

    def step(terms: tuple[str, ...], **values: str) -> None:
        settings = PiwslSettings(**values)  # type: ignore[arg-type]
        step_penalties(settings, terms, structures, None, None, model, generator)

    with pytest.raises(ValueError, match=r"adversarial displacements need .* got None"):
        step(PAPER_TERMS, displacement="adversarial")
    for terms in ((), ("taylor", "pitc")):
        with pytest.raises(ValueError, match=r"terms: got .*, expected some of \('taylor', 'cons"):
            step(terms)
    with pytest.raises(ValueError, match="kind: got 'sphere', expected 'ball', 'shell' or 'cube'"):
        draw_displacements(structures, kind="sphere", max_displacement=1.0, generator=generator)
    with pytest.raises(ValueError, match="penalty: got 'cubed', expected 'squared', 'absolute'"):
        penalise(zeros, "cubed")
    with pytest.raises(ValueError, match=r"got shape \(2, 3\), expected that of the forces"):
        weak_force_penalties(zeros, zeros[:2], batch.graph_index, 2)
