"""Anchors: labels act where they are, and a missing one reaches nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from consistency_tools import (
    ANCHORS,
    SCHEMES,
    TAYLOR,
    labelled,
    penalties,
    reference,
    residual_by_hand,
    steps_of,
    structures_of,
)
from potentials import clusters, exact_forces, morse, per_graph
from torch import Tensor

from piwsl_plugins.losses import ConsistencyLoss, from_energy
from piwsl_plugins.settings import PAPER_TERMS, PiwslSettings


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_label_anchor_adds_the_energy_error_to_the_residual(scheme: str) -> None:
    batch = clusters()
    energy = morse(batch.graph_index, 2)
    e_ref, f_ref = reference(batch)
    structures = labelled(batch, e_ref, f_ref, [True, True], [False, False])
    displacement, other = steps_of(batch)
    settings = PiwslSettings(anchor="label", penalty="absolute", **SCHEMES[scheme])
    values = penalties(
        settings, structures, from_energy(energy), (displacement, other), TAYLOR, per_atom=False
    )
    end = batch.positions + displacement
    error = energy(batch.positions) - e_ref
    expected = residual_by_hand(energy, batch, batch.positions, end, scheme) + error
    torch.testing.assert_close(values["taylor"].detach(), expected.abs(), rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("scheme", ["first", "trapezoid"])
def test_an_anchor_of_energy_and_forces_extrapolates_from_the_reference_alone(scheme: str) -> None:
    batch = clusters()
    energy = morse(batch.graph_index, 2)
    e_ref, f_ref = reference(batch)
    structures = labelled(batch, e_ref, f_ref, [True, True], [True, True])
    displacement, other = steps_of(batch)
    settings = PiwslSettings(anchor="label_and_forces", penalty="absolute", **SCHEMES[scheme])
    values = penalties(
        settings, structures, from_energy(energy), (displacement, other), TAYLOR, per_atom=False
    )
    e_end, f_end = exact_forces(energy, batch.positions + displacement)
    slope = f_ref if scheme == "first" else 0.5 * (f_ref + f_end)
    expected = (e_end - e_ref + per_graph(displacement * slope, batch)).abs()
    torch.testing.assert_close(values["taylor"].detach(), expected, rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_for_a_model_that_meets_its_labels_all_anchors_agree(scheme: str, anchor: str) -> None:
    batch = clusters()
    energy = morse(batch.graph_index, 2)
    structures = labelled(batch, *exact_forces(energy, batch.positions), [True, True], [True, True])
    model, steps = from_energy(energy), steps_of(batch)
    anchored, usual = (
        penalties(PiwslSettings(anchor=a, **SCHEMES[scheme]), structures, model, steps)
        for a in (anchor, "prediction")
    )
    for term in PAPER_TERMS:
        torch.testing.assert_close(anchored[term], usual[term], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("has_energy", [[False, True], [True, False], [False, False]])
@pytest.mark.parametrize("has_forces", [[False, True], [True, False]])
def test_nan_in_missing_labels_reaches_neither_values_nor_gradients(
    scheme: str, anchor: str, has_energy: list[bool], has_forces: list[bool]
) -> None:
    batch = clusters()
    e_ref, f_ref = reference(batch)
    structures = labelled(batch, e_ref, f_ref, has_energy, has_forces)
    assert structures.energy is not None
    assert structures.forces is not None
    filled = dataclasses.replace(
        structures, energy=structures.energy.nan_to_num(1e3), forces=structures.forces.nan_to_num(7)
    )
    results = []
    for labels in (structures, filled):
        depth = torch.tensor(4.5, dtype=torch.float64, requires_grad=True)
        for displacement, tolerance in (("ball", 0.0), ("adversarial", 0.5)):
            settings = PiwslSettings(
                anchor=anchor, displacement=displacement, tolerance=tolerance, **SCHEMES[scheme]
            )
            model = from_energy(morse(batch.graph_index, 2, depth))
            total, means = ConsistencyLoss(settings)(labels, model, step=0)
            (gradient,) = torch.autograd.grad(total, depth)
            results.append(torch.stack([total, *means.values(), gradient]).detach())
    assert torch.isfinite(torch.stack(results)).all()
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[3])


def test_in_a_batch_with_some_labels_each_structure_takes_its_own_anchor() -> None:
    batch = clusters()
    energy = morse(batch.graph_index, 2)
    e_ref, f_ref = reference(batch)
    model, steps = from_energy(energy), steps_of(batch)

    def taylor(anchor: str, has_energy: list[bool], has_forces: list[bool]) -> Tensor:
        structures = labelled(batch, e_ref, f_ref, has_energy, has_forces)
        settings = PiwslSettings(order=1, anchor=anchor)
        return penalties(settings, structures, model, steps, TAYLOR)["taylor"].detach()

    nothing, both = [False, False], [True, True]
    prediction = taylor("prediction", both, both)
    label = taylor("label", both, nothing)
    assert taylor("label", [True, False], nothing).tolist() == [label[0], prediction[1]]
    assert taylor("label", nothing, both).tolist() == prediction.tolist()
    full = taylor("label_and_forces", both, both)
    # reference energy and forces, or no penalty at all
    assert taylor("label_and_forces", [True, False], both).tolist() == [full[0], 0.0]
    assert taylor("label_and_forces", both, [False, True]).tolist() == [0.0, full[1]]
    assert taylor("label_and_forces", [True, False], [False, True]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("anchor", ANCHORS)
def test_without_any_labels_the_anchor_is_the_prediction_or_nothing(anchor: str) -> None:
    batch = clusters()
    model, steps = from_energy(morse(batch.graph_index, 2)), steps_of(batch)
    bare = penalties(PiwslSettings(anchor=anchor), structures_of(batch), model, steps)
    usual = penalties(PiwslSettings(), structures_of(batch), model, steps)
    taylor = (
        torch.zeros(2, dtype=torch.float64) if anchor == "label_and_forces" else usual["taylor"]
    )
    assert torch.equal(bare["taylor"], taylor)
    assert torch.equal(bare["conservative"], usual["conservative"])


def test_the_conservative_term_takes_no_labels() -> None:
    batch = clusters()
    structures = labelled(batch, *reference(batch), [True, True], [True, True])
    model, steps = from_energy(morse(batch.graph_index, 2)), steps_of(batch)
    values = [
        penalties(PiwslSettings(anchor=anchor), structures, model, steps)["conservative"]
        for anchor in ANCHORS
    ]
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])
