"""The module for a training loop: weights, schedule, random stream and gradients."""

from __future__ import annotations

import doctest
import itertools

import pytest
import torch
from consistency_tools import (
    ANCHORS,
    CONSERVATIVE,
    SCHEMES,
    TAYLOR,
    labelled,
    penalties,
    reference,
    steps_of,
    structures_of,
)
from potentials import Recorder, clusters, exact_forces, harmonic, morse
from torch import Tensor

from piwsl_plugins.losses import ConsistencyLoss, Structures, from_energy, step_generator
from piwsl_plugins.losses.step import draw_pair
from piwsl_plugins.settings import DEFAULT_WEIGHT_RATIO, PAPER_TERMS, PiwslSettings

DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


# weights and schedule


def loss_of(
    settings: PiwslSettings, step: int, terms: tuple[str, ...] = PAPER_TERMS
) -> tuple[float, dict[str, float]]:
    """The loss of two Morse molecules, and its terms."""
    batch = clusters()
    model = from_energy(morse(batch.graph_index, 2))
    total, means = ConsistencyLoss(settings, terms)(structures_of(batch), model, step=step)
    return total.item(), {term: mean.item() for term, mean in means.items()}


@pytest.mark.parametrize("per_atom", [True, False])
@pytest.mark.parametrize("isolated", [True, False])
def test_the_reported_terms_are_means_over_the_structures(per_atom: bool, isolated: bool) -> None:
    batch = clusters()
    structures = structures_of(batch, isolated=torch.tensor([isolated, False]))
    model = from_energy(morse(batch.graph_index, 2))
    settings = PiwslSettings(seed=4)
    _, means = ConsistencyLoss(settings, per_atom=per_atom)(structures, model, step=2, rank=1)
    energy, forces = exact_forces(morse(batch.graph_index, 2), batch.positions)
    pair = draw_pair(settings, structures, energy, forces, step_generator(4, 2, 1))
    expected = penalties(settings, structures, model, pair, per_atom=per_atom)
    for term in PAPER_TERMS:
        assert means[term].item() == pytest.approx(expected[term].sum().item() / 2, rel=1e-12)


def test_the_loss_is_the_weighted_sum_of_the_terms_means() -> None:
    settings = PiwslSettings(every=1, taylor_weight=1.3, conservative_weight=0.02)
    total, means = loss_of(settings, 0)
    assert total == pytest.approx(1.3 * means["taylor"] + 0.02 * means["conservative"], rel=1e-14)


def test_a_weight_left_out_is_a_fixed_share_of_an_energy_weight_of_one() -> None:
    total, means = loss_of(PiwslSettings(every=1), 0)
    assert total == pytest.approx(DEFAULT_WEIGHT_RATIO["taylor"] * sum(means.values()), rel=1e-14)


@pytest.mark.parametrize("term", PAPER_TERMS)
def test_a_term_left_out_adds_nothing(term: str) -> None:
    settings = PiwslSettings(every=1, taylor_weight=1.3, conservative_weight=0.02)
    total, means = loss_of(settings, 0, terms=(term,))
    _, both = loss_of(settings, 0)
    assert means == {term: pytest.approx(both[term], rel=1e-14)}
    assert total == pytest.approx(settings.weight(term, 1.0) * both[term], rel=1e-14)


def test_a_weight_of_zero_reports_its_term_and_adds_nothing() -> None:
    total, means = loss_of(PiwslSettings(taylor_weight=0.0, conservative_weight=0.0), 0)
    assert total == 0.0
    assert all(mean > 0 for mean in means.values())


@pytest.mark.parametrize("step", [0, 1, 7])
def test_the_warm_up_scales_the_loss_and_not_the_reported_terms(step: int) -> None:
    ramped, means = loss_of(PiwslSettings(warmup=4, every=1), step)
    full, same_means = loss_of(PiwslSettings(every=1), step)
    assert ramped == pytest.approx(min(1.0, (step + 1) / 4) * full, rel=1e-14)
    assert means == same_means


def test_steps_between_cost_no_evaluation_and_the_others_count_k_fold() -> None:
    batch = clusters()
    recorder = Recorder(from_energy(morse(batch.graph_index, 2)))
    loss = ConsistencyLoss(PiwslSettings(every=3))
    for step in (1, 2, 4, 5):
        total, means = loss(structures_of(batch), recorder, step=step)
        assert (total.item(), total.dtype, means) == (0.0, torch.float64, {})
    assert recorder.calls == []
    assert loss_of(PiwslSettings(every=3), 3)[0] == pytest.approx(
        3 * loss_of(PiwslSettings(every=1), 3)[0], rel=1e-14
    )


# random stream and side effects


def test_the_loss_depends_on_seed_step_and_rank_alone() -> None:
    batch = clusters()
    structures = structures_of(batch)
    model = from_energy(morse(batch.graph_index, 2))

    def at(seed: int, step: int, rank: int) -> float:
        loss = ConsistencyLoss(PiwslSettings(seed=seed, every=1))
        total: Tensor = loss(structures, model, step=step, rank=rank)[0]
        return total.item()

    torch.manual_seed(0)
    first = at(0, 5, 0)
    torch.manual_seed(1)
    assert at(0, 5, 0) == first
    assert len({first, at(1, 5, 0), at(0, 6, 0), at(0, 5, 1)}) == 4


@pytest.mark.parametrize("displacement", ["ball", "shell", "cube", "adversarial"])
@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_hosts_random_stream_is_left_alone(displacement: str, fraction: float) -> None:
    before = torch.get_rng_state()
    loss_of(PiwslSettings(displacement=displacement, fraction=fraction), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_users_positions_are_neither_changed_nor_tracked() -> None:
    batch = clusters()
    structures = structures_of(batch)
    before = batch.positions.clone()
    loss = ConsistencyLoss(PiwslSettings(second_order="hessian"))
    loss(structures, from_energy(morse(batch.graph_index, 2)), step=0)
    assert torch.equal(structures.positions, before)
    assert not structures.positions.requires_grad
    assert structures.positions.grad is None


def test_the_loss_leaves_nothing_in_a_checkpoint() -> None:
    loss = ConsistencyLoss(PiwslSettings())
    assert loss.state_dict() == {}
    assert list(loss.parameters()) == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("device", DEVICES)
def test_the_loss_follows_the_positions_dtype_and_device(
    scheme: str, dtype: torch.dtype, device: str
) -> None:
    batch = clusters()
    index = batch.graph_index.to(device)
    e_ref, f_ref = (label.to(device, dtype) for label in reference(batch))
    structures = Structures(
        positions=batch.positions.to(device, dtype),
        graph_index=index,
        n_graphs=2,
        isolated=torch.tensor([True, False], device=device),
        energy=e_ref,
        has_energy=torch.tensor([True, False], device=device),
        forces=f_ref,
        has_forces=torch.tensor([True, False], device=device),
    )
    for anchor, displacement in itertools.product(ANCHORS, ("ball", "adversarial")):
        settings = PiwslSettings(
            anchor=anchor, displacement=displacement, tolerance=0.1, **SCHEMES[scheme]
        )
        total, means = ConsistencyLoss(settings)(structures, from_energy(morse(index, 2)), step=0)
        for value in (total, *means.values()):
            assert (value.dtype, value.device.type, value.shape) == (dtype, device, ())


# gradients


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("terms", [TAYLOR, CONSERVATIVE])
def test_training_pulls_on_the_curvature_alone_and_through_every_term(
    scheme: str, terms: tuple[str, ...]
) -> None:
    # dR/dk = 1/2 |step|^2 at first order and 0 at second, only if no energy or force is detached
    batch = clusters()
    k = torch.tensor(12.0, dtype=torch.float64, requires_grad=True)
    anywhere = 0.7 * batch.positions
    model = from_energy(
        harmonic(k * torch.eye(21, dtype=torch.float64), anywhere, batch.graph_index, 2)
    )
    displacement, other = steps_of(batch)
    settings = PiwslSettings(penalty="absolute", tolerance=0.0, **SCHEMES[scheme])
    (value,) = penalties(
        settings, structures_of(batch), model, (displacement, other), terms, per_atom=False
    ).values()
    (gradient,) = torch.autograd.grad(value.sum(), k)
    step = displacement if terms == TAYLOR else displacement - other
    expected = 0.5 * float(step.square().sum()) if scheme == "first" else 0.0
    assert gradient.item() == pytest.approx(expected, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_the_losss_gradients_are_those_of_finite_differences(scheme: str, anchor: str) -> None:
    batch = clusters()
    structures = labelled(batch, *reference(batch), [True, False], [True, False])
    settings = PiwslSettings(
        anchor=anchor, taylor_weight=1.0, conservative_weight=0.7, **SCHEMES[scheme]
    )
    loss = ConsistencyLoss(settings)

    def function(depth: Tensor, steepness: Tensor, length: Tensor) -> Tensor:
        model = from_energy(morse(batch.graph_index, 2, depth, steepness, length))
        total: Tensor = loss(structures, model, step=3)[0]
        return total

    parameters = tuple(
        torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (4.5, 1.8, 1.15)
    )
    assert torch.autograd.gradcheck(function, parameters, atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_second_derivatives_of_the_loss_are_exact(scheme: str) -> None:
    batch = clusters().graph(0)
    settings = PiwslSettings(
        taylor_weight=100.0,
        conservative_weight=100.0,
        max_displacement=0.3,
        **SCHEMES[scheme],
    )
    loss = ConsistencyLoss(settings)

    def function(depth: Tensor, steepness: Tensor) -> Tensor:
        model = from_energy(morse(batch.graph_index, 1, depth, steepness))
        total: Tensor = loss(structures_of(batch), model, step=0)[0]
        return total

    parameters = tuple(
        torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (4.5, 1.8)
    )
    assert torch.autograd.gradgradcheck(function, parameters)


@pytest.mark.parametrize("displacement", ["huber", "absolute"])
@pytest.mark.parametrize("tolerance", [0.0, 2.0])
def test_gradients_hold_for_every_penalty_and_a_tolerance(
    displacement: str, tolerance: float
) -> None:
    batch = clusters()
    settings = PiwslSettings(order=1, penalty=displacement, huber_delta=0.005, tolerance=tolerance)
    loss = ConsistencyLoss(settings)

    def function(depth: Tensor, steepness: Tensor) -> Tensor:
        model = from_energy(morse(batch.graph_index, 2, depth, steepness))
        total: Tensor = loss(structures_of(batch), model, step=0)[0]
        return total

    parameters = tuple(
        torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (4.5, 1.8)
    )
    assert torch.autograd.gradcheck(function, parameters, atol=1e-9, rtol=1e-5)


def test_displacements_handed_in_are_taken_as_fixed() -> None:
    batch = clusters()
    depth = torch.tensor(4.5, dtype=torch.float64, requires_grad=True)
    model = from_energy(morse(batch.graph_index, 2, depth))
    gradients = []
    for detach in (True, False):
        positions = batch.positions.clone().requires_grad_()
        _, forces = model(positions, forces=True)
        assert forces is not None
        steps = (0.05 * forces, -0.03 * forces)
        values = penalties(
            PiwslSettings(),
            structures_of(batch),
            model,
            (steps[0].detach(), steps[1].detach()) if detach else steps,
        )
        total = values["taylor"].sum() + values["conservative"].sum()
        gradients.append(torch.autograd.grad(total, depth)[0])
    assert torch.equal(gradients[0], gradients[1])
    assert gradients[0].item() != 0.0


def test_a_term_within_its_tolerance_pulls_nowhere() -> None:
    batch = clusters()
    depth = torch.tensor(4.5, dtype=torch.float64, requires_grad=True)
    model = from_energy(morse(batch.graph_index, 2, depth))
    loss = ConsistencyLoss(PiwslSettings(order=1, tolerance=1e3))
    total, _ = loss(structures_of(batch), model, step=0)
    (gradient,) = torch.autograd.grad(total, depth)
    assert (total.item(), gradient.item()) == (0.0, 0.0)


def test_the_example_in_the_documentation_runs() -> None:
    (example,) = (
        test
        for test in doctest.DocTestFinder().find(ConsistencyLoss, globs={})
        if test.name == "ConsistencyLoss"
    )
    result = doctest.DocTestRunner().run(example, clear_globs=False)
    assert (result.failed, result.attempted) == (0, len(example.examples))
    # the potential |r|^2 has the residual |d|^2, which is at most 0.1^2 an atom
    total, terms = example.globs["total"], example.globs["terms"]
    assert set(terms) == {"taylor"}
    assert 0.0 < total.item() == terms["taylor"].item() <= 0.1**4
