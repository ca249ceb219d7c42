"""Forces of a cheaper method beside the energies, and a loss without terms that displace atoms."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_nequip import (
    IN_ORDER,
    POSITIONS,
    History,
    data_of,
    fit,
    formaldehydes,
    loss_config,
    make_batch,
    module,
    write_frames,
)

from piwsl_plugins.data.frames import Frame
from piwsl_plugins.hosts.nequip import datamodule
from piwsl_plugins.hosts.nequip.extension import WEAK_FORCES_WEIGHTS as WEIGHTS
from piwsl_plugins.settings import WEAK_FORCES
from piwsl_plugins.teacher.settings import TeacherSettings

WEAK = (0, 3)
"""Frames with weak forces: one in the first batch of two, one in the second, none in the third."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six molecules with energies, two of them with weak forces."""
    path = tmp_path_factory.mktemp("frames") / "train.xyz"
    return write_frames(path, formaldehydes(weak_forces=WEAK))


def weak_module(settings: dict[str, Any] | None = None, *terms: str) -> Any:
    """A module for steps that leave the model's weights alone."""
    return module(settings, loss=loss_config(*(terms or ("weak_forces",))))


def steps(file: Path, settings: dict[str, Any]) -> History:
    training = weak_module({"weak_forces_fade": 0} | settings)
    return fit(training, data_of(file, **IN_ORDER))


def test_the_error_is_the_mean_over_the_structures_that_have_weak_forces(file: Path) -> None:
    history = steps(file, {})
    model, errors = weak_module().model["sole_model"], []
    for atoms in (formaldehydes(weak_forces=WEAK)[number] for number in WEAK):
        forces = model(make_batch([atoms]))["forces"].detach().numpy()
        error = np.linalg.norm(forces - atoms.arrays["GFN2_forces"], axis=1)
        errors.append(float(np.mean(error**2 / 3)))
    found = [row["piwsl_weak_forces"] for row in history.steps]
    assert found[:2] == pytest.approx(errors, rel=1e-6)
    assert math.isnan(found[2])
    epoch = history.epoch["train_loss_epoch/piwsl_weak_forces"]
    assert epoch == pytest.approx(sum(errors) / 2, rel=1e-6)
    for row, error in zip(history.steps, (*found[:2], 0.0), strict=True):
        expected = (row["per_atom_energy_mse"] + 0.1 * error) / 1.1
        assert row["weighted_sum"] == pytest.approx(expected, rel=1e-9)
    names = [name for name in history.epoch if "weak" in name]
    assert all(name.startswith("train_loss_") for name in names)  # none in validation


def test_weak_forces_fade_over_half_the_run_and_the_models_forces_are_left_out_then(
    file: Path,
) -> None:
    training, outputs = weak_module(), list[bool]()
    training.model["sole_model"].register_forward_hook(
        lambda _, __, output: outputs.append("forces" in output)
    )
    full = steps(file, {}).steps
    faded = fit(training, data_of(file, **IN_ORDER), epochs=2, limit_val_batches=0).steps
    assert outputs == [True, True, True, False, False, False]
    for number, factor in ((0, 1.0), (1, 2 / 3), (3, 0.0), (4, 0.0)):
        row, error = faded[number], full[number % 3]["piwsl_weak_forces"]
        logged = row["piwsl_weak_forces"]
        assert logged == pytest.approx(error) if factor else math.isnan(logged)
        expected = (row["per_atom_energy_mse"] + 0.1 * factor * error) / 1.1
        assert row["weighted_sum"] == pytest.approx(expected)


def test_weak_forces_never_stand_for_forces(tmp_path: Path) -> None:
    logged = []
    for weak in ((), range(6)):
        path = write_frames(tmp_path / "frames.xyz", formaldehydes(6, (0, 1), weak))
        terms = ["weak_forces"] if weak else []
        loss = loss_config(*terms, forces=1.0)
        training = module(loss=loss, metrics="EnergyForceMetrics")
        history = fit(training, data_of(path, **IN_ORDER))
        logged.append((history.steps[0]["forces_mse"], history.epoch["val0_epoch/forces_rmse"]))
        assert math.isnan(history.steps[1]["forces_mse"])
    assert logged[0] == logged[1]


def test_labels_that_are_not_there_are_asked_for(file: Path, tmp_path: Path) -> None:
    path = write_frames(tmp_path / "none.xyz", formaldehydes())
    expected = r"none of the 6 .* weak_forces label; .*\{weak_forces: KEY"
    with pytest.raises(ValueError, match=expected):
        fit(weak_module(), data_of(path))
    settings = {"anchor": "label_and_forces"}
    with pytest.raises(ValueError, match=r"has a forces label; .* use anchor: label"):
        fit(weak_module(settings, "taylor", "weak_forces"), data_of(file))
    with pytest.raises(ValueError, match=r"weak_forces contradicts the term 'teacher'"):
        fit(weak_module({}, "teacher"), data_of(file))


def test_the_teachers_forces_are_weak_forces_with_a_weight_for_each_atom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_frames(tmp_path / "energies.xyz", formaldehydes())
    val = write_frames(tmp_path / "val.xyz", formaldehydes(2))
    taught: list[int] = []

    def teach(frames: Sequence[Frame], settings: TeacherSettings, say: Any) -> list[Frame]:
        assert settings.body_order == 2
        taught.append(len(frames))
        forces = [0.3 * np.cos(5.0 * frame.atoms.positions) for frame in frames]
        weights = np.array([1.0, 0.0, 0.0, 0.0])
        return [
            dataclasses.replace(f, labels={**f.labels, WEAK_FORCES: a, WEIGHTS: weights})
            for f, a in zip(frames, forces, strict=True)
        ]

    training = weak_module({}, "teacher")
    monkeypatch.setattr(datamodule, "teach", teach)
    data = data_of(file, val, teacher={"body_order": 2}, **IN_ORDER)
    found = fit(training, data).steps[0]["piwsl_teacher"]
    assert taught == [6]  # the training frames alone
    batch = make_batch(formaldehydes(2))
    forces = training.model["sole_model"](dict(batch))["forces"]
    error = forces - 0.3 * torch.cos(5.0 * batch[POSITIONS])
    expected = error.view(2, 4, 3)[:, 0].square().sum() / 3 / 4 / 2
    assert found == pytest.approx(float(expected.detach()), rel=1e-6)

    monkeypatch.setattr(datamodule, "teach", lambda *_: None)  # it steps aside: plain training
    plain = fit(training, data_of(file, val, **IN_ORDER)).steps
    assert all(math.isnan(row["piwsl_teacher"]) for row in plain)
    assert plain[0]["weighted_sum"] == pytest.approx(plain[0]["per_atom_energy_mse"] / 1.1)
