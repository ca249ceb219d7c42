"""Forces of a cheaper method beside the energies, and a loss without terms that displace atoms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nequip.train import NequIPLightningModule
from small_nequip import (
    PLAIN_LOSS,
    POSITIONS,
    R_MAX,
    History,
    data_config,
    fit,
    fresh_list,
    loss_config,
    many_molecules,
    model_config,
    module,
    module_config,
    with_forces,
    with_weak_forces,
    write_frames,
)

from piwsl_plugins.hosts.nequip import PartialLabelsASEDataset, PiwslASEDataModule

IN_ORDER = {"train_dataloader": {"_target_": "torch.utils.data.DataLoader", "batch_size": 2}}
WEAK = (0, 3)
"""Frames with weak forces: one in the first batch of two, one in the second, none in the third."""
CLASSES: dict[str, dict[str, Any]] = {
    "PiwslLightningModule": {},
    "PiwslEMALightningModule": {"ema_decay": 0.9},
    "PiwslScheduleFreeLightningModule": {
        "optimizer": {"_target_": "schedulefree.AdamWScheduleFree", "lr": 0.01}
    },
    "PiwslConFIGLightningModule": {},
    "PiwslEMAConFIGLightningModule": {"ema_decay": 0.9},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Six molecules with energies, two of them with weak forces."""
    return write_frames(tmp_path / "train.xyz", with_weak_forces(many_molecules(), WEAK))


def data_of(file: Path, settings: Any = False, **changes: Any) -> Any:
    return PiwslASEDataModule(piwsl=settings, **data_config(file, **changes))


def steps(file: Path, settings: dict[str, Any], *terms: str, **changes: Any) -> History:
    """Steps in the file's order that leave the model's weights alone."""
    settings = {"weak_forces_fade": 0} | settings
    training = module("PiwslLightningModule", settings, loss=loss_config(*terms), learning_rate=0.0)
    return fit(training, data_of(file, settings, **IN_ORDER), **changes)


def errors_by_hand(file: Path, model: Any, penalty: str) -> list[float]:
    """Mean error of the model's forces against the weak ones in each frame that has them."""
    dataset = PartialLabelsASEDataset(
        file_path=str(file), key_mapping=data_config(file)["key_mapping"]
    )
    found = []
    for number in WEAK:
        data = dict(dataset.data_list[number])
        types = torch.tensor([{1: 0, 6: 1, 8: 2}[int(z)] for z in data["atomic_numbers"]])
        data |= {"atom_types": types, "batch": torch.zeros_like(types)}
        data["num_atoms"] = torch.tensor([len(types)])
        forces = model(fresh_list(data, data[POSITIONS], R_MAX))["forces"]
        error = (forces - data["weak_forces"]).norm(dim=-1)
        found.append(float((error.square() / 3 if penalty == "squared" else error).mean().detach()))
    return found


@pytest.mark.parametrize("penalty", ["squared", "length"])
def test_the_error_is_the_mean_over_the_structures_that_have_weak_forces(
    file: Path, penalty: str
) -> None:
    settings = {"weak_forces_penalty": penalty}
    history = steps(file, settings, "weak_forces", epochs=1)
    model = module("PiwslLightningModule", settings, loss=loss_config("weak_forces")).model
    first, second = errors_by_hand(file, model["sole_model"], penalty)
    found = [row["piwsl_weak_forces"] for row in history.steps]
    assert found[:2] == pytest.approx([first, second], rel=1e-9)
    assert math.isnan(found[2])
    epoch = history.epochs[0]["train_loss_epoch/piwsl_weak_forces"]
    assert epoch == pytest.approx((first + second) / 2, rel=1e-9)
    for row, error in zip(history.steps, (first, second, 0.0), strict=True):
        expected = (row["per_atom_energy_mse"] + 0.1 * error) / 1.1
        assert row["weighted_sum"] == pytest.approx(expected, rel=1e-9)


def test_weak_forces_fade_over_half_the_run(file: Path) -> None:
    full = steps(file, {}, "weak_forces", epochs=2).steps
    faded = steps(file, {"weak_forces_fade": None}, "weak_forces", epochs=2).steps
    for number, factor in ((0, 1.0), (1, 2 / 3), (3, 0.0), (4, 0.0)):
        expected = factor * full[number]["piwsl_weak_forces"]
        assert faded[number]["piwsl_weak_forces"] == pytest.approx(expected)


def test_forces_are_left_out_again_once_the_weak_ones_have_faded(file: Path) -> None:
    training = module("PiwslLightningModule", {}, loss=loss_config("weak_forces"))
    outputs: list[bool] = []
    training.model["sole_model"].register_forward_hook(
        lambda _, __, output: outputs.append("forces" in output)
    )
    fit(training, data_of(file), limit_val_batches=0)
    assert outputs == [True, True, False]


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("kind", ["nequip", "allegro"])
def test_each_class_learns_weak_forces_beside_a_term(file: Path, name: str, kind: str) -> None:
    seen = []
    for weight in (0.0, 1.0):
        loss = loss_config("taylor", "weak_forces", piwsl_weak_forces=weight)
        training = module(name, {}, loss=loss, model=model_config(kind), **CLASSES[name])
        torch.manual_seed(3)
        history = fit(training, data_of(file, {}), epochs=2)
        values = [row["piwsl_weak_forces"] for row in history.steps]
        assert any(value > 0.0 for value in values)
        assert all(math.isfinite(row["weighted_sum"]) for row in history.steps)
        seen.append([p.detach().clone() for p in training.model.parameters()])
    assert all(weights.isfinite().all() for run in seen for weights in run)
    assert any(not torch.equal(a, b) for a, b in zip(*seen, strict=True))


def test_training_by_weak_forces_brings_the_models_forces_nearer(file: Path) -> None:
    loss = loss_config("weak_forces", piwsl_weak_forces=1.0)
    settings = {"weak_forces_fade": 0}
    training = module("PiwslLightningModule", settings, loss=loss, learning_rate=3e-3)
    history = fit(training, data_of(file, **IN_ORDER), epochs=20)
    first, last = (history.steps[i]["piwsl_weak_forces"] for i in (0, -3))
    assert last < 0.7 * first


def test_weak_forces_never_stand_for_forces(tmp_path: Path) -> None:
    logged = []
    for weak in (False, True):
        frames = with_forces(many_molecules(), [0, 1])
        if weak:
            for atoms in frames:
                atoms.arrays["GFN2_forces"] = np.full_like(atoms.positions, 7.0)
        path = write_frames(tmp_path / f"{weak}.xyz", frames)
        terms = ["weak_forces"] if weak else ["none"]
        loss = loss_config(*terms, forces=1.0)
        training = module(loss=loss, learning_rate=0.0, val_forces=True)
        stats = {
            "_target_": "piwsl_plugins.hosts.nequip.EnergyStatisticsManager",
            "type_names": model_config()["type_names"],
            "forces": True,
        }
        data = data_of(path, stats_manager=stats, **IN_ORDER)
        rms = data.get_statistics("train")["forces_rms"]
        history = fit(training, data)
        validation = history.epochs[0]["val0_epoch/forces_rmse"]
        logged.append((history.steps[0]["forces_mse"], validation, rms))
        assert math.isnan(history.steps[1]["forces_mse"])
    assert logged[0] == logged[1]


def test_an_anchor_at_forces_does_not_take_weak_ones(file: Path) -> None:
    settings = {"anchor": "label_and_forces"}
    loss = loss_config("taylor", "weak_forces")
    with pytest.raises(ValueError, match="no training frame has any; use anchor: label"):
        fit(module("PiwslLightningModule", settings, loss=loss), data_of(file, settings))


def test_validation_knows_no_weak_forces(file: Path) -> None:
    history = fit(module(loss=loss_config("weak_forces")), data_of(file))
    names = [name for name in history.epochs[0] if "weak" in name]
    assert names
    assert all(name.startswith("train_loss_") for name in names)


def test_a_loss_on_weak_forces_without_any_is_refused(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "none.xyz", many_molecules())
    expected = r"none of the 6 training frames has weak forces; .*labels: \{weak_forces: KEY\}"
    with pytest.raises(ValueError, match=expected):
        fit(module(loss=loss_config("weak_forces")), data_of(path))


def test_weak_forces_that_are_nan_in_part_are_refused(tmp_path: Path) -> None:
    frames = with_weak_forces(many_molecules(3), [0, 1])
    frames[1].arrays["GFN2_forces"][2, 0] = np.nan
    path = write_frames(tmp_path / "part.xyz", frames)
    with pytest.raises(ValueError, match=r"part\.xyz, frame 1, weak_forces: forces of atom 2 are"):
        PartialLabelsASEDataset(file_path=str(path), key_mapping={"GFN2_forces": "weak_forces"})


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "fade_without_the_term": (
        "PiwslLightningModule",
        {"weak_forces_fade": 0.25},
        {},
        r"weak_forces_fade 0\.25 acts on the weak forces, which the loss lacks: add 'weak_forces'",
    ),
    "weight_without_the_term": (
        "PiwslLightningModule",
        {"weak_forces_weight": 0.1},
        {},
        r"weak_forces_weight 0\.1 is given, and the loss has no weak_forces term",
    ),
    "fade_with_config": (
        "PiwslConFIGLightningModule",
        {"weak_forces_fade": 0.5},
        {"loss": loss_config("weak_forces")},
        r"weak_forces_fade 0\.5: ConFIG reads the direction",
    ),
    "no_derivatives": (
        "PiwslLightningModule",
        {},
        {"loss": loss_config("weak_forces"), "model": model_config(do_derivatives=False)},
        r"do_derivatives: false.*the weak forces need the model's forces",
    ),
    "no_derivatives_for_the_error_of_forces": (
        "PiwslLightningModule",
        {},
        {"loss": loss_config("none", forces=1.0), "model": model_config(do_derivatives=False)},
        r"do_derivatives: false.*the errors of forces and stress in the loss need",
    ),
    "anchor_without_a_term": (
        "PiwslLightningModule",
        {"anchor": "label"},
        {"loss": loss_config("none")},
        r"anchor label acts on the Taylor term, which a loss with terms: \[\] lacks",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_itself_is_refused(case: str) -> None:
    name, settings, changes, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        module(name, settings, **changes)


# ---- a loss without terms ------------------------------------------------------------------------


def test_without_terms_training_is_the_hosts_own_by_energies(file: Path) -> None:
    seen = []
    host = NequIPLightningModule(**module_config(None, loss=PLAIN_LOSS, learning_rate=0.1))
    for training in (module(loss=loss_config("none"), learning_rate=0.1), host):
        outputs: list[bool] = []
        training.model["sole_model"].register_forward_hook(
            lambda _, __, output, outputs=outputs: outputs.append("forces" in output)
        )
        history = fit(training, data_of(file), epochs=2, limit_val_batches=0)
        weights = [p.detach().clone() for p in training.model.parameters()]
        seen.append((history, weights, outputs))
    (ours, weights, forces), (hosts, host_weights, _) = seen
    assert not any(forces)
    for row, other in zip(ours.steps, hosts.steps, strict=True):
        assert row == pytest.approx(other, rel=1e-10)
    for a, b in zip(weights, host_weights, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)


def test_without_terms_the_model_needs_no_derivatives_and_the_data_no_skin(file: Path) -> None:
    training = module(loss=loss_config("none"), model=model_config(do_derivatives=False))
    data = data_of(file)
    assert len(fit(training, data).steps) == 3
    data.setup("fit")
    assert data.train_dataset[0].transforms[-1].r_max == R_MAX


@pytest.mark.parametrize("terms", ["none", "weak_forces"])
def test_a_skin_that_nothing_needs_changes_nothing(file: Path, terms: str) -> None:
    with_skin, without = (
        fit(module(loss=loss_config(terms), learning_rate=0.1), data_of(file, settings)).steps
        for settings in ({}, False)
    )
    for row, other in zip(with_skin, without, strict=True):
        assert row == pytest.approx(other, rel=1e-9, nan_ok=True)


def test_data_without_the_skin_are_refused_where_a_term_displaces_atoms(file: Path) -> None:
    with pytest.raises(ValueError, match=r"piwsl: \$\{training_module\.piwsl\}, which widens"):
        fit(module(), data_of(file))
    with pytest.raises(ValueError, match=r"data\.piwsl: got true"):
        data_of(file, True)
