"""What a host gets of the teacher: forces and weights, or a reason and nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import ase
import numpy as np
import pytest
from ase.build import molecule
from teacher.teaching import labelled, molecules, rattled, true_forces

from piwsl_plugins.data.frames import Frame
from piwsl_plugins.teacher.settings import TeacherSettings
from piwsl_plugins.teacher.teach import teach


def run(frames: Sequence[Frame], **settings: object) -> tuple[list[Frame] | None, str]:
    said: list[str] = []
    return teach(frames, TeacherSettings(**settings), said.append), "\n".join(said)


def relative_error(frames: Sequence[Frame]) -> float:
    found = np.concatenate([frame.labels["weak_forces"] for frame in frames])
    true = np.concatenate(true_forces(frames))
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


def changed(frame: Frame, **labels: object) -> Frame:
    return dataclasses.replace(frame, labels={**frame.labels, **labels})


def test_energies_alone_give_forces_with_weights_and_a_line_of_numbers() -> None:
    frames = labelled(molecules(60))
    found, said = run(frames)
    assert found is not None
    assert [frame.atoms for frame in found] == [frame.atoms for frame in frames]
    assert relative_error(found) < 0.15
    weights = np.concatenate([frame.labels["weak_forces_weights"] for frame in found])
    assert weights.shape == (60 * 6,)
    assert ((weights > 0.5) & (weights <= 1)).all()
    assert all(frame.labels["energy"] == own.labels["energy"]
               for frame, own in zip(found, frames, strict=True))  # fmt: skip
    for part in (
        "60 energies",
        "416 features",
        "leave-one-out error",
        "expected error of its forces",
    ):
        assert part in said


def test_with_a_cheap_method_its_forces_are_corrected() -> None:
    frames = labelled(molecules(15), low=0.02)
    found, said = run(frames)
    assert found is not None
    assert "differences from the cheap method" in said
    low = np.concatenate([frame.labels["low_forces"] for frame in frames])
    true = np.concatenate(true_forces(frames))
    assert relative_error(found) < 0.5 * np.linalg.norm(low - true) / np.linalg.norm(true)


def test_frames_without_an_energy_are_labelled_too() -> None:
    frames = labelled(molecules(60))
    frames[7] = dataclasses.replace(frames[7], labels={})
    found, _ = run(frames)
    assert found is not None
    assert "weak_forces" in found[7].labels
    assert "energy" not in found[7].labels


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (labelled(molecules(4)), "4 frames have an energy, expected at least 5"),
        (labelled(molecules(1) * 8), "8 energies are of 1 geometries of 1 molecules"),
        (
            labelled([molecule(name) for name in ("H2O", "CH4", "CH3OH", "H2CO", "CO2", "C2H6")]),
            "without a second geometry of one",
        ),
        (
            [changed(frame, energy=np.random.default_rng(i).normal())
             for i, frame in enumerate(labelled(molecules(40)))],
            "does not explain the energies: its leave-one-out error is",
        ),
    ],
    ids=["few", "one geometry", "one of each molecule", "noise"],
)  # fmt: skip
def test_where_energies_say_nothing_of_forces_training_goes_on_plainly(
    frames: list[Frame], reason: str
) -> None:
    found, said = run(frames)
    assert found is None
    assert reason in said
    assert "training goes on without" in said


def test_a_cheap_method_that_anticorrelates_is_left_out() -> None:
    frames = [
        changed(f, low_energy=-f.labels["low_energy"], low_forces=-f.labels["low_forces"])
        for f in labelled(molecules(60), low=0.01)
    ]
    found, said = run(frames)
    assert found is not None
    assert "the cheap method is left out (correlation of its energies -" in said
    assert relative_error(found) < 0.15


def test_a_correction_that_is_not_learnt_leaves_the_cheap_forces_as_they_are() -> None:
    rng = np.random.default_rng(0)
    frames = [
        changed(f, low_energy=f.labels["energy"] + 0.02 * rng.normal(), low_forces=force)
        for f, force in zip(
            labelled(molecules(20)), true_forces(labelled(molecules(20))), strict=True
        )
    ]
    found, said = run(frames)
    assert found is not None
    assert "the cheap method's forces are not corrected" in said
    for frame in found:
        np.testing.assert_array_equal(frame.labels["weak_forces"], frame.labels["low_forces"])


def test_colliding_and_isolated_atoms_get_no_force_and_do_not_spoil_the_fit() -> None:
    frames = labelled(molecules(60))
    squeezed = frames[3].atoms.copy()
    squeezed.positions[1] = squeezed.positions[0] + (0, 0, 0.2)
    frames[3] = dataclasses.replace(frames[3], atoms=squeezed, labels={"energy": 1e4})
    frames.append(Frame(atoms=ase.Atoms("H"), labels={"energy": -13.6}, source="x", number=60))
    found, said = run(frames)
    assert found is not None
    assert "weak_forces" not in found[3].labels
    assert "weak_forces" not in found[-1].labels
    assert "7 atoms of frames that it cannot label" in said
    kept = [frame for frame in found if "weak_forces" in frame.labels]
    assert relative_error(kept) < 0.15


def test_forces_with_a_predicted_error_beyond_the_limit_are_masked_and_counted() -> None:
    found, said = run(labelled(molecules(25)), max_uncertainty=0.01)
    assert found is not None
    weights = np.concatenate([frame.labels["weak_forces_weights"] for frame in found])
    assert (weights == 0).any()
    assert f"not trained on are the forces on {(weights == 0).sum()} of 150 atoms" in said


def test_forces_far_from_the_training_frames_weigh_less() -> None:
    frames = labelled(molecules(60))
    far = [dataclasses.replace(f, labels={}) for f in labelled(rattled(molecule("CH3OH"), 5, 0.25))]
    found, _ = run([*frames, *far])
    assert found is not None
    near, distant = (
        np.mean([frame.labels["weak_forces_weights"].mean() for frame in part])
        for part in (found[:60], found[60:])
    )
    assert distant < near
