"""The penalties of both terms: values, symmetries, labels, and what is asked of the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
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
    random_steps,
)
from tools import (
    ANCHORS,
    CONSERVATIVE,
    N_ATOMS,
    SCHEMES,
    TAYLOR,
    at,
    close,
    labelled,
    parameters,
    penalties,
    reference,
    residual_by_hand,
    steps_of,
    structures_of,
)
from torch import Tensor

from piwsl_plugins.losses import (
    ConsistencyLoss,
    Evaluate,
    consistency_penalties,
    from_energy,
    penalise,
)
from piwsl_plugins.settings import PAPER_TERMS, PiwslSettings


def of_morse(batch: Clusters) -> Evaluate:
    return from_energy(morse(batch.graph_index, batch.n_graphs))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("potential", [morse, lennard_jones])
@pytest.mark.parametrize("penalty", ["squared", "absolute", "huber"])
@pytest.mark.parametrize("per_atom", [True, False])
def test_the_penalties_are_those_of_the_residuals_written_out_by_hand(
    scheme: str, potential: Callable[[Tensor, int], Energy], penalty: str, per_atom: bool
) -> None:
    batch = clusters()
    energy, (d, other) = potential(batch.graph_index, 2), steps_of(batch)
    settings = PiwslSettings(penalty=penalty, huber_delta=0.02, **SCHEMES[scheme])
    model, structures = from_energy(energy), structures_of(batch)
    values = penalties(settings, structures, model, (d, other), per_atom=per_atom)
    origin, end, start = (batch.positions + shift for shift in (0.0, d, other))
    for term, begin in (("taylor", origin), ("conservative", start)):
        residual = residual_by_hand(energy, batch, begin, end, scheme)
        residual = residual / N_ATOMS if per_atom else residual
        close(values[term], penalise(residual, penalty, 0.02), rtol=1e-8)


@pytest.mark.parametrize(("tolerance", "left"), [(0.0, 25.0), (10.0, 15.0), (25.0, 0.0)])
def test_the_tolerance_is_curvature_that_is_free(tolerance: float, left: float) -> None:
    batch = clusters()
    hessian = 25.0 * torch.eye(21, dtype=torch.float64)
    model = from_energy(harmonic(hessian, 0.8 * batch.positions, batch.graph_index, 2))
    d, other = steps_of(batch)
    settings = PiwslSettings(order=1, tolerance=tolerance, penalty="absolute")
    values = penalties(settings, structures_of(batch), model, (d, other))
    for term, step in (("taylor", d), ("conservative", d - other)):
        expected = 0.5 * left * per_graph(step.square(), batch) / N_ATOMS
        close(values[term], expected, atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_penalties_do_not_change_under_rotation_translation_and_renumbering(scheme: str) -> None:
    batch = clusters()
    settings, structures = PiwslSettings(**SCHEMES[scheme]), structures_of(batch)
    steps = steps_of(batch)
    here = penalties(settings, structures, of_morse(batch), steps)
    turn, _ = torch.linalg.qr(random_steps(torch.zeros(3, 3), 1.0, seed=5))
    order = torch.tensor([2, 0, 1, 6, 4, 3, 5])
    moved = batch.positions @ turn.T + torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    for positions, others in (
        (moved, (steps[0] @ turn.T, steps[1] @ turn.T)),
        (batch.positions[order], (steps[0][order], steps[1][order])),
    ):
        changed = dataclasses.replace(structures, positions=positions)
        there = penalties(settings, changed, of_morse(batch), others)
        for term in PAPER_TERMS:
            close(here[term], there[term], atol=1e-18)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_nothing_of_the_second_graph_reaches_the_first_ones_penalty(
    scheme: str, anchor: str
) -> None:
    batch = clusters()
    (e_ref, f_ref), steps = reference(batch), steps_of(batch)
    second = (batch.graph_index == 1).unsqueeze(-1)
    settings = PiwslSettings(anchor=anchor, tolerance=0.5, **SCHEMES[scheme])
    model = of_morse(batch)
    usual = penalties(settings, labelled(batch, e_ref, f_ref, [True] * 2, [True] * 2), model, steps)
    elsewhere = torch.where(second, 1.1 * batch.positions, batch.positions)
    structures = labelled(
        dataclasses.replace(batch, positions=elsewhere),
        e_ref + torch.tensor([0.0, 9.0], dtype=torch.float64),
        torch.where(second, -f_ref, f_ref),
        [True, False],
        [True, True],
    )
    others = (torch.where(second, 0.2, steps[0]), torch.where(second, -0.1, steps[1]))
    changed = penalties(settings, structures, model, others)
    for term in PAPER_TERMS:
        assert usual[term][0] == changed[term][0]
        assert usual[term][1] != changed[term][1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_label_anchor_adds_the_energy_error_to_the_residual(scheme: str) -> None:
    batch = clusters()
    energy, (e_ref, f_ref) = morse(batch.graph_index, 2), reference(batch)
    structures = labelled(batch, e_ref, f_ref, [True, True], [False, False])
    steps = steps_of(batch)
    settings = PiwslSettings(anchor="label", penalty="absolute", **SCHEMES[scheme])
    values = penalties(settings, structures, from_energy(energy), steps, TAYLOR, per_atom=False)
    end = batch.positions + steps[0]
    residual = residual_by_hand(energy, batch, batch.positions, end, scheme)
    close(values["taylor"], (residual + energy(batch.positions) - e_ref).abs())


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("has_energy", [[False, True], [True, False]])
@pytest.mark.parametrize("has_forces", [[False, True], [True, False]])
def test_nan_in_missing_labels_reaches_neither_values_nor_gradients(
    scheme: str, anchor: str, has_energy: list[bool], has_forces: list[bool]
) -> None:
    batch = clusters()
    structures = labelled(batch, *reference(batch), has_energy, has_forces)
    labels = {name: getattr(structures, name).nan_to_num(1e3) for name in ("energy", "forces")}
    filled = dataclasses.replace(structures, **labels)
    for displacement, tolerance in (("ball", 0.0), ("adversarial", 0.5)):
        settings = PiwslSettings(
            anchor=anchor, displacement=displacement, tolerance=tolerance, **SCHEMES[scheme]
        )
        results = []
        for some in (structures, filled):
            (depth,) = parameters(4.5)
            model = from_energy(morse(batch.graph_index, 2, depth))
            total, means = ConsistencyLoss(settings)(some, model, step=0)
            (gradient,) = torch.autograd.grad(total, depth)
            results.append(torch.stack([total, *means.values(), gradient]).detach())
        assert torch.isfinite(results[0]).all()
        assert torch.equal(*results)


def test_in_a_batch_with_some_labels_each_structure_takes_its_own_anchor() -> None:
    batch = clusters()
    conservative = []

    def taylor(anchor: str, has_energy: list[bool], has_forces: list[bool]) -> list[float]:
        structures = labelled(batch, *reference(batch), has_energy, has_forces)
        settings = PiwslSettings(order=1, anchor=anchor)
        values = penalties(settings, structures, of_morse(batch), steps_of(batch))
        conservative.append(values["conservative"].tolist())
        return values["taylor"].tolist()

    nothing, both = [False, False], [True, True]
    prediction, label = taylor("prediction", both, both), taylor("label", both, nothing)
    assert taylor("label", [True, False], nothing) == [label[0], prediction[1]]
    assert taylor("label", nothing, both) == prediction
    full = taylor("label_and_forces", both, both)
    # reference energy and forces, or no penalty at all
    assert taylor("label_and_forces", [True, False], both) == [full[0], 0.0]
    assert taylor("label_and_forces", both, [False, True]) == [0.0, full[1]]
    assert taylor("label_and_forces", nothing, nothing) == [0.0, 0.0]
    assert all(values == conservative[0] for values in conservative)  # it takes no labels


@pytest.mark.parametrize(
    ("scheme", "terms", "calls"),
    [
        *[(s, TAYLOR, [(1, False)]) for s in ("first", "hessian")],
        *[
            (s, t, [(1, False), (1, True)])
            for s in ("first", "hessian")
            for t in (CONSERVATIVE, PAPER_TERMS)
        ],
        ("trapezoid", TAYLOR, [(1, True)]),
        *[("trapezoid", t, [(2, True)]) for t in (CONSERVATIVE, PAPER_TERMS)],
    ],
)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_the_model_is_asked_for_as_little_and_as_seldom_as_the_mathematics_allows(
    scheme: str, terms: tuple[str, ...], calls: list[tuple[int, bool]], anchor: str
) -> None:
    batch = clusters()
    structures = labelled(batch, *reference(batch), [True, True], [True, False])
    recorder, steps = Recorder(of_morse(batch)), steps_of(batch)
    positions = batch.positions.clone().requires_grad_()
    structures = dataclasses.replace(structures, positions=positions)
    known = at(of_morse(batch), positions)
    settings = PiwslSettings(anchor=anchor, **SCHEMES[scheme])
    values = consistency_penalties(settings, terms, structures, *known, recorder, steps)
    assert tuple(values) == terms
    assert recorder.calls == calls
    for seen in recorder.positions:
        assert any(torch.equal(seen, batch.positions + step) for step in steps)


def test_missing_forces_and_wrong_shapes_are_refused_instead_of_broadcast() -> None:
    batch = clusters()
    value, forces = exact_forces(morse(batch.graph_index, 2), batch.positions)

    def ask(returned: Any, forces: Tensor) -> None:
        model = Recorder(lambda positions, forces: returned)
        consistency_penalties(
            PiwslSettings(), TAYLOR, structures_of(batch), value, forces, model, steps_of(batch)
        )

    with pytest.raises(ValueError, match=r"evaluate: forces: got None, expected shape \(1, 7, 3\)"):
        ask((value.unsqueeze(0), None), forces)
    with pytest.raises(ValueError, match=r"evaluate: energy: got shape \(1, 2, 1\), expected"):
        ask((value.view(1, 2, 1), None), forces)
    with pytest.raises(ValueError, match=r"^forces: got shape \(1, 3\), expected shape \(7, 3\)"):
        ask(None, forces[:1])
