"""The training modules: NequIP's own, with the terms in training steps and nowhere else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nequip.train
import pytest
import torch
from nequip.train.callbacks import (
    LinearLossCoefficientScheduler,
    LossCoefficientMonitor,
    LossCoefficientScheduler,
    SoftAdapt,
)
from small_nequip import (
    PLAIN_LOSS,
    R_MAX,
    History,
    data_config,
    fit,
    loss_config,
    many_molecules,
    model_config,
    module,
    module_config,
    with_forces,
    write_frames,
)

from piwsl_plugins.hosts.nequip import PiwslASEDataModule, seams

SCHEDULE_FREE = {"optimizer": {"_target_": "schedulefree.AdamWScheduleFree", "lr": 0.01}}
CLASSES: dict[str, tuple[type, dict[str, Any]]] = {
    "PiwslLightningModule": (nequip.train.NequIPLightningModule, {}),
    "PiwslEMALightningModule": (nequip.train.EMALightningModule, {"ema_decay": 0.9}),
    "PiwslScheduleFreeLightningModule": (
        nequip.train.ScheduleFreeLightningModule,
        SCHEDULE_FREE,
    ),
    "PiwslConFIGLightningModule": (nequip.train.ConFIGLightningModule, {}),
    "PiwslEMAConFIGLightningModule": (nequip.train.EMAConFIGLightningModule, {"ema_decay": 0.9}),
}
STEPS_AN_EPOCH = 3


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Six molecules with energies alone."""
    return write_frames(tmp_path / "train.xyz", many_molecules())


def data_of(file: Path, settings: dict[str, Any] | None = None, **changes: Any) -> Any:
    return PiwslASEDataModule(piwsl=settings or {}, **data_config(file, **changes))


def weights_of(training: Any) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in training.model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("kind", ["nequip", "allegro"])
def test_each_class_trains_with_both_terms_and_logs_them(file: Path, name: str, kind: str) -> None:
    host, options = CLASSES[name]
    training = module(name, {"every": 1}, model=model_config(kind), **options)
    assert isinstance(training, host)
    before = weights_of(training)
    history = fit(training, data_of(file), epochs=2)
    assert not same(before, weights_of(training))
    assert len(history.steps) == 2 * STEPS_AN_EPOCH
    for row in history.steps:
        assert row.keys() == {
            "per_atom_energy_mse",
            "piwsl_taylor",
            "piwsl_conservative",
            "weighted_sum",
        }
        assert row["piwsl_taylor"] > 0.0
        assert row["piwsl_conservative"] > 0.0
        assert all(math.isfinite(value) for value in row.values())
    last = history.steps[-STEPS_AN_EPOCH:]
    for term in ("piwsl_taylor", "piwsl_conservative"):
        mean = sum(row[term] for row in last) / STEPS_AN_EPOCH
        assert history.epochs[0][f"train_loss_epoch/{term}"] == pytest.approx(mean)


def plain(name: str = "NequIPLightningModule", **changes: Any) -> Any:
    return getattr(nequip.train, name)(**module_config(None, loss=PLAIN_LOSS, **changes))


def test_validation_is_the_hosts_own_on_the_same_weights(tmp_path: Path) -> None:
    file = write_frames(tmp_path / "train.xyz", with_forces(many_molecules(), range(6)))
    how = {"learning_rate": 0.0, "val_forces": True}
    piwsl = fit(module("PiwslLightningModule", {}, **how), data_of(file))
    host = fit(plain(**how), data_of(file))
    names = {name for name in host.epochs[0] if name.startswith("val0_epoch/")}
    assert {"val0_epoch/per_atom_energy_rmse", "val0_epoch/forces_rmse"} <= names
    for name in names:
        assert piwsl.epochs[0][name] == host.epochs[0][name]
    assert not [name for name in piwsl.epochs[0] if "piwsl" in name and "train" not in name]


def test_weights_data_order_and_random_stream_are_those_of_a_plain_run(file: Path) -> None:
    seen: list[tuple[list[torch.Tensor], History, torch.Tensor]] = []
    for training in (module(), plain()):
        weights = weights_of(training)
        torch.manual_seed(5)
        history = fit(training, data_of(file), epochs=2)
        seen.append((weights, history, torch.get_rng_state()))
    (weights, history, stream), (plain_weights, plain_history, plain_stream) = seen
    assert same(weights, plain_weights)
    assert same(history.positions, plain_history.positions)
    assert torch.equal(stream, plain_stream)
    first, second = (h.steps[0]["per_atom_energy_mse"] for h in (history, plain_history))
    assert first == pytest.approx(second, rel=1e-10)
    epochs = history.positions[:STEPS_AN_EPOCH], history.positions[STEPS_AN_EPOCH:]
    assert not same(*epochs)  # shuffled anew


def taylor(file: Path, settings: dict[str, Any], epochs: int = 2, **options: Any) -> list[float]:
    """The Taylor term of every step of a run that does not change the weights."""
    training = module("PiwslLightningModule", settings, learning_rate=0.0)
    history = fit(training, data_of(file, settings), epochs=epochs, **options)
    return [row["piwsl_taylor"] for row in history.steps]


def test_warmup_and_every_are_factors_on_the_terms(file: Path) -> None:
    full = taylor(file, {"every": 1, "batch_fraction": 1.0})
    cases = {"warmup": (4, [0.25, 0.5, 0.75, 1, 1, 1]), "every": (3, [3, 0, 0, 3, 0, 0])}
    for name, (steps, factors) in cases.items():
        expected = [factor * value for factor, value in zip(factors, full, strict=True)]
        settings = {"every": 1, "batch_fraction": 1.0, name: steps}
        assert taylor(file, settings) == pytest.approx(expected)


def test_batches_of_one_optimiser_step_have_different_displacements(tmp_path: Path) -> None:
    # the same structure in every batch, so that the term is a function of the displacements
    frames = [atoms for atoms in many_molecules(1) for _ in range(4)]
    file = write_frames(tmp_path / "train.xyz", frames)
    values = taylor(file, {"warmup": 2, "every": 1}, accumulate_grad_batches=2)
    assert len(set(values)) == len(values) == 4
    assert len(set(taylor(file, {"every": 1}))) == 4


@pytest.mark.parametrize("name", ["PiwslConFIGLightningModule", "PiwslEMAConFIGLightningModule"])
def test_config_has_every_term_in_every_step_unless_told_otherwise(file: Path, name: str) -> None:
    training = module(name, {}, **CLASSES[name][1])
    history = fit(training, data_of(file), epochs=1)
    assert all(row["piwsl_taylor"] > 0.0 for row in history.steps)
    with pytest.raises(ValueError, match=r"every 2: ConFIG weighs"):
        module(name, {"every": 2}, **CLASSES[name][1])


def test_forces_that_nothing_reads_are_left_out_where_that_is_cheaper(file: Path) -> None:
    for settings, computed in (({}, False), ({"batch_fraction": 1.0}, True)):
        training = module("PiwslLightningModule", {"every": 1, **settings})
        outputs: list[bool] = []
        training.model["sole_model"].register_forward_hook(
            lambda _, __, output, outputs=outputs: outputs.append("forces" in output)
        )
        fit(training, data_of(file), limit_train_batches=1, limit_val_batches=0)
        assert outputs == [computed, True]  # the batch's own, and all displaced points in one call
        assert seams.force_outputs(training.model)[0].do_derivatives
    with_forces = module(
        "PiwslLightningModule", {}, loss=loss_config("taylor", forces=1.0), val_forces=True
    )
    assert not with_forces._leaves_out_forces(1.0, 0.0)


def test_steps_between_every_cost_no_model_call(file: Path) -> None:
    settings = {"every": 3}
    training = module("PiwslLightningModule", settings)
    calls: list[int] = []
    seen: list[int] = []
    training.model["sole_model"].register_forward_hook(lambda *_: calls.append(1))

    class Count(History):
        def on_train_batch_start(self, *_: Any) -> None:
            calls.clear()

        def on_train_batch_end(self, *_: Any) -> None:
            seen.append(len(calls))

    fit(training, data_of(file, settings), Count(), epochs=2)
    assert seen[1:3] == seen[4:] == [1, 1]
    assert seen[0] == seen[3] > 1


def test_the_hosts_schedulers_find_the_terms_by_name(file: Path) -> None:
    schedule = {1: {"per_atom_energy_mse": 1.0, "piwsl_taylor": 3.0, "piwsl_conservative": 0.0}}
    training = module()
    monitor = LossCoefficientMonitor(interval="batch", frequency=1)
    history = fit(training, data_of(file), LossCoefficientScheduler(schedule), monitor, epochs=2)
    coefficients = {name: entry.coeff for name, entry in training.loss.entries.items()}
    assert coefficients == {
        "per_atom_energy_mse": 0.25,
        "piwsl_taylor": 0.75,
        "piwsl_conservative": 0.0,
    }
    row = history.steps[-1]
    expected = 0.25 * row["per_atom_energy_mse"] + 0.75 * row["piwsl_taylor"]
    assert row["weighted_sum"] == pytest.approx(expected)
    assert history.epochs[0]["loss_coeff/piwsl_taylor"] == 0.75


def test_a_linear_schedule_brings_a_term_in_by_and_by(file: Path) -> None:
    training = module(loss=loss_config("taylor", piwsl_taylor=0.0))
    final = {"per_atom_energy_mse": 1.0, "piwsl_taylor": 1.0}
    fit(
        training,
        data_of(file),
        LinearLossCoefficientScheduler(final, transition_epochs=4),
        epochs=3,
    )
    # half of the way from 0 to 1/2
    assert training.loss.entries["piwsl_taylor"].coeff == pytest.approx(0.25)


@pytest.mark.parametrize("interval", ["batch", "epoch"])
def test_softadapt_adapts_the_coefficients_of_the_terms(file: Path, interval: str) -> None:
    training = module(learning_rate=0.01)
    before = {name: entry.coeff for name, entry in training.loss.entries.items()}
    adapt = SoftAdapt(beta=1.1, interval=interval, frequency=2)
    fit(training, data_of(file), adapt, epochs=6)
    after = {name: entry.coeff for name, entry in training.loss.entries.items()}
    assert after.keys() == before.keys()
    assert sum(after.values()) == pytest.approx(1.0)
    assert after != before


def test_a_saved_module_comes_back_with_its_settings(file: Path, tmp_path: Path) -> None:
    import lightning

    settings = {"taylor_weight": 0.3, "seed": 4, "order": 1}
    training = module("PiwslEMALightningModule", settings, ema_decay=0.9)
    keep = lightning.pytorch.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept", filename="kept")
    fit(training, data_of(file, settings), keep, enable_checkpointing=True)
    again = type(training).load_from_checkpoint(tmp_path / "kept" / "kept.ckpt", weights_only=False)
    assert again.piwsl_settings == training.piwsl_settings
    assert again.piwsl_terms == ("taylor", "conservative")
    assert same(weights_of(again), weights_of(training))
    assert {name: entry.coeff for name, entry in again.loss.entries.items()} == {
        name: entry.coeff for name, entry in training.loss.entries.items()
    }


REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "unknown_key": (
        "PiwslLightningModule",
        {"max_displacment": 0.1},
        {},
        r"training_module\.piwsl: unknown key 'max_displacment'; did you mean 'max_displacement'",
    ),
    "anchor_without_taylor": (
        "PiwslLightningModule",
        {"anchor": "label"},
        {"loss": loss_config("conservative")},
        r"training_module\.piwsl\.anchor '?label'? acts on the Taylor term",
    ),
    "no_derivatives": (
        "PiwslLightningModule",
        {},
        {"model": model_config(do_derivatives=False)},
        r"do_derivatives: false.*need the model's forces; leave it out",
    ),
    "hessian_of_a_compiled_model": (
        "PiwslLightningModule",
        {"second_order": "hessian"},
        {"model": model_config(compile_mode="compile")},
        r"second_order 'hessian' .* use second_order: trapezoid",
    ),
    "every_with_config": (
        "PiwslConFIGLightningModule",
        {"every": 2},
        {},
        r"training_module\.piwsl\.every 2: ConFIG .* use every: 1",
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_loss_without_a_term_is_told_the_hosts_own_class(name: str) -> None:
    host, options = CLASSES[name]
    with pytest.raises(ValueError, match=rf"no PIWSL term.* use nequip\.train\.{host.__name__}$"):
        module(name, loss=PLAIN_LOSS, **options)


@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_itself_is_refused_when_it_is_made(case: str) -> None:
    name, settings, changes, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        module(name, settings, **changes)


def test_an_anchor_without_any_label_is_refused_before_the_first_step(file: Path) -> None:
    settings = {"anchor": "label_and_forces"}
    history = History()
    with pytest.raises(ValueError, match=r"no training frame has any; use anchor: label"):
        fit(module("PiwslLightningModule", settings), data_of(file, settings), history)
    assert not history.steps


def test_the_hosts_module_with_our_loss_is_refused_in_its_first_step(file: Path) -> None:
    host = nequip.train.NequIPLightningModule(**module_config(None))
    before = weights_of(host)
    with pytest.raises(ValueError, match=r"needs a PIWSL training module.*training_module\._targ"):
        fit(host, data_of(file))
    assert same(before, weights_of(host))


def test_hidden_settings_of_the_data_module_are_judged_by_the_trainings_own(file: Path) -> None:
    # a longer displacement in the training than the data's skin was made for
    with pytest.raises(ValueError, match=rf"{R_MAX:g} \+ 0\.4 = 2\.9 angstrom"):
        fit(module("PiwslLightningModule", {"max_displacement": 0.2}), data_of(file))
