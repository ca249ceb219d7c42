"""The penalties of both terms: their values, symmetries, and what is asked of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

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
    residual_by_hand,
    steps_of,
    structures_of,
)
from potentials import (
    Clusters,
    Energy,
    Recorder,
    clusters,
    exact_forces,
    harmonic,
    lennard_jones,
    morse,
    per_graph,
    random_hessian,
    swirl_work,
    with_swirl,
)
from torch import Tensor

from piwsl_plugins.losses import ConsistencyLoss, consistency_penalties, from_energy, penalise
from piwsl_plugins.settings import PAPER_TERMS, PiwslSettings


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("potential", [morse, lennard_jones])
def test_the_penalties_are_those_written_out_by_hand(
    scheme: str, potential: Callable[[Tensor, int], Energy]
) -> None:
    batch = clusters()
    energy = potential(batch.graph_index, 2)
    displacement, other = steps_of(batch)
    settings = PiwslSettings(penalty="squared", **SCHEMES[scheme])
    values = penalties(settings, structures_of(batch), from_energy(energy), (displacement, other))
    origin, end, start = (batch.positions + d for d in (0.0, displacement, other))
    n_atoms = torch.tensor([3.0, 4.0], dtype=torch.float64)
    taylor = (residual_by_hand(energy, batch, origin, end, scheme) / n_atoms).square()
    conservative = (residual_by_hand(energy, batch, start, end, scheme) / n_atoms).square()
    torch.testing.assert_close(values["taylor"].detach(), taylor, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(values["conservative"].detach(), conservative, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("penalty", ["squared", "absolute", "huber"])
def test_the_penalty_acts_on_the_residual_per_atom(penalty: str) -> None:
    batch = clusters()
    energy = morse(batch.graph_index, 2)
    displacement, other = steps_of(batch)
    settings = PiwslSettings(order=1, penalty=penalty, huber_delta=0.02)
    residual = residual_by_hand(
        energy, batch, batch.positions, batch.positions + displacement, "first"
    )
    n_atoms = torch.tensor([3.0, 4.0], dtype=torch.float64)
    for per_atom in (True, False):
        values = penalties(
            settings,
            structures_of(batch),
            from_energy(energy),
            (displacement, other),
            per_atom=per_atom,
        )
        expected = penalise(residual / n_atoms if per_atom else residual, penalty, 0.02)
        torch.testing.assert_close(values["taylor"].detach(), expected, rtol=1e-11, atol=0.0)


def test_a_structure_repeated_costs_the_same_per_atom() -> None:
    once = clusters().graph(0)
    far = torch.tensor([50.0, 0.0, 0.0], dtype=torch.float64)
    twice = Clusters(
        positions=torch.cat([once.positions, once.positions + far]),
        graph_index=torch.zeros(6, dtype=torch.int64),
        n_graphs=1,
    )
    settings = PiwslSettings(order=1)
    d, other = steps_of(once)
    small, large = (
        penalties(
            settings,
            structures_of(batch),
            from_energy(lennard_jones(batch.graph_index, 1)),
            (d.repeat(copies, 1), other.repeat(copies, 1)),
        )
        for batch, copies in ((once, 1), (twice, 2))
    )
    for term in PAPER_TERMS:
        torch.testing.assert_close(small[term], large[term], rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("term", PAPER_TERMS)
def test_a_tolerance_equal_to_the_curvature_frees_a_harmonic_potential(term: str) -> None:
    batch = clusters()
    hessian = 25.0 * torch.eye(21, dtype=torch.float64)
    model = from_energy(harmonic(hessian, 0.8 * batch.positions, batch.graph_index, 2))
    steps = steps_of(batch)
    free, charged = (
        penalties(
            PiwslSettings(order=1, tolerance=tolerance, penalty="absolute"),
            structures_of(batch),
            model,
            steps,
        )[term]
        for tolerance in (25.0, 0.0)
    )
    torch.testing.assert_close(free, torch.zeros_like(free), rtol=0.0, atol=1e-12)
    assert (charged > 1e-2).all()


def test_the_tolerance_is_taken_off_before_the_division_by_the_number_of_atoms() -> None:
    batch = clusters()
    hessian = 25.0 * torch.eye(21, dtype=torch.float64)
    model = from_energy(harmonic(hessian, batch.positions, batch.graph_index, 2))
    displacement, other = steps_of(batch)
    settings = PiwslSettings(order=1, tolerance=10.0, penalty="absolute")
    values = penalties(settings, structures_of(batch), model, (displacement, other))
    n_atoms = torch.tensor([3.0, 4.0], dtype=torch.float64)
    expected = 0.5 * (25.0 - 10.0) * per_graph(displacement.square(), batch) / n_atoms
    torch.testing.assert_close(values["taylor"].detach(), expected, rtol=1e-11, atol=0.0)


@pytest.mark.parametrize("scheme", ["first", "trapezoid"])
def test_a_swirl_costs_its_work_between_the_displaced_points(scheme: str) -> None:
    batch = clusters()
    omega = torch.tensor([0.4, -1.1, 0.7], dtype=torch.float64)
    hessian = random_hessian(batch.graph_index)
    energy = harmonic(hessian, batch.positions, batch.graph_index, 2)
    displacement, other = steps_of(batch)
    settings = PiwslSettings(penalty="absolute", **SCHEMES[scheme])
    values = penalties(
        settings,
        structures_of(batch),
        with_swirl(from_energy(energy), omega),
        (displacement, other),
        per_atom=False,
    )
    origin, end, start = (batch.positions + d for d in (0.0, displacement, other))
    for term, begin in (("taylor", origin), ("conservative", start)):
        work = swirl_work(omega, begin, end, batch.graph_index, 2)
        expected = (residual_by_hand(energy, batch, begin, end, scheme) + work).abs()
        torch.testing.assert_close(values[term].detach(), expected, rtol=1e-9, atol=1e-13)


def test_a_graph_without_atoms_costs_nothing() -> None:
    batch = clusters()
    index = 2 * batch.graph_index  # graphs 0 and 2; graph 1 is empty
    padded = Clusters(positions=batch.positions, graph_index=index, n_graphs=3)
    depth = torch.tensor(4.5, dtype=torch.float64, requires_grad=True)
    model = from_energy(morse(index, 3, depth))
    for settings in (PiwslSettings(order=1), PiwslSettings(penalty="absolute")):
        values = penalties(settings, structures_of(padded), model, steps_of(batch))
        for value in values.values():
            assert value[1].item() == 0.0
            (gradient,) = torch.autograd.grad(value.sum(), depth, retain_graph=True)
            assert torch.isfinite(gradient)


# symmetry


def rotation(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    matrix, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    proper: Tensor = matrix * torch.linalg.det(matrix).sign()
    return proper


@pytest.mark.parametrize("scheme", SCHEMES)
def test_penalties_do_not_change_under_rotation_and_translation(scheme: str) -> None:
    batch = clusters()
    model, steps = from_energy(morse(batch.graph_index, 2)), steps_of(batch)
    turn, shift = rotation(), torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    moved = dataclasses.replace(batch, positions=batch.positions @ turn.T + shift)
    settings = PiwslSettings(**SCHEMES[scheme])
    here = penalties(settings, structures_of(batch), model, steps)
    there = penalties(settings, structures_of(moved), model, (steps[0] @ turn.T, steps[1] @ turn.T))
    for term in PAPER_TERMS:
        torch.testing.assert_close(here[term], there[term], rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_penalties_do_not_change_when_atoms_are_renumbered(scheme: str) -> None:
    batch = clusters()
    order = torch.tensor([2, 0, 1, 6, 4, 3, 5])
    renumbered = dataclasses.replace(batch, positions=batch.positions[order])
    model = from_energy(lennard_jones(batch.graph_index, 2))
    steps = steps_of(batch)
    settings = PiwslSettings(**SCHEMES[scheme])
    here = penalties(settings, structures_of(batch), model, steps)
    there = penalties(
        settings, structures_of(renumbered), model, (steps[0][order], steps[1][order])
    )
    for term in PAPER_TERMS:
        torch.testing.assert_close(here[term], there[term], rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_penalties_follow_their_graphs_when_the_batch_is_reordered(scheme: str) -> None:
    batch = clusters()
    order = torch.tensor([3, 4, 5, 6, 0, 1, 2])
    swapped = Clusters(
        positions=batch.positions[order], graph_index=1 - batch.graph_index[order], n_graphs=2
    )
    steps = steps_of(batch)
    settings = PiwslSettings(**SCHEMES[scheme])
    here = penalties(
        settings, structures_of(batch), from_energy(morse(batch.graph_index, 2)), steps
    )
    there = penalties(
        settings,
        structures_of(swapped),
        from_energy(morse(swapped.graph_index, 2)),
        (steps[0][order], steps[1][order]),
    )
    for term in PAPER_TERMS:
        torch.testing.assert_close(here[term], there[term].flip(0), rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_nothing_of_the_second_graph_reaches_the_first_ones_penalty(
    scheme: str, anchor: str
) -> None:
    batch = clusters()
    e_ref, f_ref = reference(batch)
    steps = steps_of(batch)
    second = (batch.graph_index == 1).unsqueeze(-1)
    settings = PiwslSettings(anchor=anchor, tolerance=0.5, **SCHEMES[scheme])
    model = from_energy(morse(batch.graph_index, 2))
    usual = penalties(
        settings, labelled(batch, e_ref, f_ref, [True, True], [True, True]), model, steps
    )
    changed = penalties(
        settings,
        labelled(
            dataclasses.replace(
                batch, positions=torch.where(second, 1.1 * batch.positions, batch.positions)
            ),
            e_ref + torch.tensor([0.0, 9.0], dtype=torch.float64),
            torch.where(second, -f_ref, f_ref),
            [True, False],
            [True, True],
        ),
        model,
        (torch.where(second, 0.2, steps[0]), torch.where(second, -0.1, steps[1])),
    )
    for term in PAPER_TERMS:
        assert usual[term][0] == changed[term][0]
        assert usual[term][1] != changed[term][1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_graph_has_the_penalty_in_a_batch_that_it_has_alone(scheme: str) -> None:
    batch = clusters()
    steps = steps_of(batch)
    settings = PiwslSettings(**SCHEMES[scheme])
    together = penalties(
        settings, structures_of(batch), from_energy(morse(batch.graph_index, 2)), steps
    )
    for number in range(2):
        own = batch.graph_index == number
        alone = batch.graph(number)
        values = penalties(
            settings,
            structures_of(alone),
            from_energy(morse(alone.graph_index, 1)),
            (steps[0][own], steps[1][own]),
        )
        for term in PAPER_TERMS:
            torch.testing.assert_close(values[term][0], together[term][number], rtol=1e-9, atol=0.0)


# what is asked of the model


@pytest.mark.parametrize(
    ("scheme", "terms", "calls"),
    [
        ("first", TAYLOR, [False]),
        ("first", CONSERVATIVE, [False, True]),
        ("first", PAPER_TERMS, [False, True]),
        ("trapezoid", TAYLOR, [True]),
        ("trapezoid", CONSERVATIVE, [True, True]),
        ("trapezoid", PAPER_TERMS, [True, True]),
        ("hessian", TAYLOR, [False]),
        ("hessian", CONSERVATIVE, [False, True]),
        ("hessian", PAPER_TERMS, [False, True]),
    ],
)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_the_model_is_asked_for_as_little_as_the_mathematics_needs(
    scheme: str, terms: tuple[str, ...], calls: list[bool], anchor: str
) -> None:
    batch = clusters()
    structures = labelled(batch, *reference(batch), [True, True], [True, False])
    model = from_energy(morse(batch.graph_index, 2))
    recorder = Recorder(model)
    positions = batch.positions.clone().requires_grad_()
    energy, forces = model(positions, forces=True)
    assert forces is not None
    displacements = steps_of(batch)
    settings = PiwslSettings(anchor=anchor, **SCHEMES[scheme])
    values = consistency_penalties(
        settings,
        terms,
        dataclasses.replace(structures, positions=positions),
        energy,
        forces,
        recorder,
        displacements,
    )
    assert tuple(values) == terms
    assert recorder.calls == calls
    assert all(recorder.fresh)
    for seen, displacement in zip(recorder.positions, displacements, strict=False):
        assert torch.equal(seen, batch.positions + displacement)


def test_the_module_evaluates_the_undisplaced_structures_once_more() -> None:
    batch = clusters()
    recorder = Recorder(from_energy(morse(batch.graph_index, 2)))
    ConsistencyLoss(PiwslSettings(order=1))(structures_of(batch), recorder, step=0)
    assert recorder.calls == [True, False, True]
    assert torch.equal(recorder.positions[0], batch.positions)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_model_without_forces_at_displaced_points_is_refused(scheme: str) -> None:
    batch = clusters()
    energy = morse(batch.graph_index, 2)

    def forceless(positions: Tensor, *, forces: bool) -> tuple[Tensor, Tensor | None]:
        return energy(positions), None

    with pytest.raises(ValueError, match=r"evaluate: forces: got None, expected shape \(7, 3\)"):
        ConsistencyLoss(PiwslSettings(**SCHEMES[scheme]))(structures_of(batch), forceless, step=0)
    value, forces = exact_forces(energy, batch.positions)
    with pytest.raises(ValueError, match=r"evaluate: forces: got None, expected shape \(7, 3\)"):
        consistency_penalties(
            PiwslSettings(order=1),
            CONSERVATIVE,
            structures_of(batch),
            value,
            forces,
            forceless,
            steps_of(batch),
        )


def test_energies_as_a_column_are_refused_instead_of_broadcast_to_a_matrix() -> None:
    batch = clusters()
    energy = morse(batch.graph_index, 2)
    column = from_energy(lambda r: energy(r).unsqueeze(-1))
    with pytest.raises(
        ValueError, match=r"^evaluate: energy: got shape \(2, 1\), expected shape \(2,\)"
    ):
        ConsistencyLoss(PiwslSettings())(structures_of(batch), column, step=0)
    value, forces = exact_forces(energy, batch.positions)
    with pytest.raises(ValueError, match=r"evaluate: energy: got shape \(2, 1\)"):
        consistency_penalties(
            PiwslSettings(),
            TAYLOR,
            structures_of(batch),
            value,
            forces,
            column,
            steps_of(batch),
        )


def test_forces_of_another_batch_are_refused() -> None:
    batch = clusters()
    value, forces = exact_forces(morse(batch.graph_index, 2), batch.positions)
    with pytest.raises(ValueError, match=r"^forces: got shape \(1, 3\), expected shape \(7, 3\)"):
        consistency_penalties(
            PiwslSettings(),
            TAYLOR,
            structures_of(batch),
            value,
            forces[:1],
            from_energy(morse(batch.graph_index, 2)),
            steps_of(batch),
        )


@pytest.mark.parametrize("terms", [(), ("stress",), ("taylor", "pitc"), "taylor"])
def test_unknown_terms_are_refused_with_the_known_ones(terms: tuple[str, ...]) -> None:
    batch = clusters()
    loss = ConsistencyLoss(PiwslSettings(), terms)
    with pytest.raises(ValueError, match=r"terms: got .*, expected some of \('taylor', 'conserv"):
        loss(structures_of(batch), from_energy(morse(batch.graph_index, 2)), step=0)
