"""The training modules: NequIP's own, with the terms in training steps and nowhere else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nequip.train
import pytest
import torch
from nequip.train.callbacks import LossCoefficientMonitor, LossCoefficientScheduler, SoftAdapt
from small_nequip import (
    PLAIN_LOSS,
    History,
    data_of,
    fit,
    formaldehydes,
    host_data,
    loss_config,
    model_config,
    module,
    module_config,
    write_frames,
)

from piwsl_plugins.hosts.nequip import seams

SCHEDULE_FREE = {"optimizer": {"_target_": "schedulefree.AdamWScheduleFree", "lr": 0.01}}
CLASSES: dict[str, tuple[type, dict[str, Any]]] = {
    "": (nequip.train.NequIPLightningModule, {}),
    "EMA": (nequip.train.EMALightningModule, {"ema_decay": 0.9}),
    "ScheduleFree": (nequip.train.ScheduleFreeLightningModule, SCHEDULE_FREE),
    "ConFIG": (nequip.train.ConFIGLightningModule, {}),
    "EMAConFIG": (nequip.train.EMAConFIGLightningModule, {"ema_decay": 0.9}),
}
STEPS = 3  # an epoch


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six molecules with energies alone."""
    return write_frames(tmp_path_factory.mktemp("frames") / "train.xyz", formaldehydes())


def weights_of(training: Any) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in training.model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_trains_with_both_terms_and_logs_them(file: Path, name: str) -> None:
    host, options = CLASSES[name]
    settings = {} if "ConFIG" in name else {"every": 1}
    kind = "allegro" if name == "EMA" else "nequip"
    options = {"learning_rate": 1e-3, "model": model_config(kind), **options}
    training = module(settings, name=name, **options)
    assert isinstance(training, host)
    before = weights_of(training)
    history = fit(training, data_of(file))
    assert not same(before, weights_of(training))
    terms = ("piwsl_taylor", "piwsl_conservative")
    assert len(history.steps) == STEPS
    for row in history.steps:
        assert row.keys() == {"per_atom_energy_mse", *terms, "weighted_sum"}
        assert all(math.isfinite(value) for value in row.values())
        assert min(row[term] for term in terms) > 0.0
    for term in terms:
        mean = sum(row[term] for row in history.steps) / STEPS
        assert history.epoch[f"train_loss_epoch/{term}"] == pytest.approx(mean)


def test_weights_data_order_and_random_stream_are_those_of_a_plain_run(file: Path) -> None:
    seen: list[tuple[list[torch.Tensor], History, torch.Tensor]] = []
    config = module_config(None, loss=PLAIN_LOSS)
    for training in (module(), nequip.train.NequIPLightningModule(**config)):
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
    assert not same(history.positions[:STEPS], history.positions[STEPS:])  # shuffled anew


def test_without_terms_training_is_the_hosts_own_by_energies(file: Path) -> None:
    changes: dict[str, Any] = {"learning_rate": 0.1, "model": model_config(do_derivatives=False)}
    host = nequip.train.NequIPLightningModule(**module_config(None, loss=PLAIN_LOSS, **changes))
    ours = module(loss=loss_config(), **changes)
    rows, others = (fit(t, data_of(file), limit_val_batches=0).steps for t in (ours, host))
    for row, other in zip(rows, others, strict=True):
        assert row == pytest.approx(other, rel=1e-10)
    for a, b in zip(weights_of(ours), weights_of(host), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-14)


def taylor(file: Path, settings: dict[str, Any], **options: Any) -> History:
    """The steps of a run that does not change the weights."""
    training = module(settings, loss=loss_config("taylor"))
    return fit(training, data_of(file), limit_val_batches=0, **options)


def test_schedules_are_factors_on_the_weight_and_not_on_the_logged_term(file: Path) -> None:
    always = {"every": 1, "batch_fraction": 1.0}
    full = [row["piwsl_taylor"] for row in taylor(file, always, epochs=2).steps]
    cases = {
        "warmup": (4, [0.25, 0.5, 0.75, 1, 1, 1]),
        "every": (3, [3, 0, 0, 3, 0, 0]),
        "fade": (0.5, [1, 2 / 3, 1 / 3, 0, 0, 0]),
    }
    for name, (value, factors) in cases.items():
        history = taylor(file, always | {name: value}, epochs=2)
        for row, term, factor in zip(history.steps, full, factors, strict=True):
            logged = row["piwsl_taylor"]
            assert math.isnan(logged) if factor == 0 else logged == pytest.approx(term)
            expected = (row["per_atom_energy_mse"] + 0.05 * factor * term) / 1.05
            assert row["weighted_sum"] == pytest.approx(expected)
        known = [t for t, f in zip(full[3:], factors[3:], strict=True) if f]
        epoch = history.epoch["train_loss_epoch/piwsl_taylor"]
        assert math.isnan(epoch) if not known else epoch == pytest.approx(sum(known) / len(known))


def test_batches_of_one_optimiser_step_have_different_displacements(tmp_path: Path) -> None:
    # the same structure in every batch, so that the term is a function of the displacements
    frames = [atoms for atoms in formaldehydes(1) for _ in range(4)]
    file = write_frames(tmp_path / "train.xyz", frames)
    history = taylor(file, {"every": 1}, accumulate_grad_batches=2, epochs=2)
    assert len({row["piwsl_taylor"] for row in history.steps}) == len(history.steps) == 4


@pytest.mark.parametrize(("share", "computed"), [(0.3, False), (1.0, True)])
def test_forces_and_calls_that_nothing_reads_are_left_out(
    file: Path, share: float, computed: bool
) -> None:
    settings = {"every": 3, "batch_fraction": share}
    training, outputs = module(settings), list[bool]()
    training.model["sole_model"].register_forward_hook(
        lambda _, __, output: outputs.append("forces" in output)
    )
    fit(training, data_of(file), limit_val_batches=0)
    # the batch's own and all displaced points in one call; then steps without the terms
    assert outputs == [computed, True, False, False]
    assert seams.force_outputs(training.model)[0].do_derivatives


def test_the_hosts_schedulers_find_the_terms_by_name(file: Path) -> None:
    schedule = {1: {"per_atom_energy_mse": 1.0, "piwsl_taylor": 3.0, "piwsl_conservative": 0.0}}
    training = module({"every": 1})
    monitor = LossCoefficientMonitor(interval="batch", frequency=1)
    history = fit(training, data_of(file), LossCoefficientScheduler(schedule), monitor, epochs=2)
    row = history.steps[-1]
    expected = 0.25 * row["per_atom_energy_mse"] + 0.75 * row["piwsl_taylor"]
    assert row["weighted_sum"] == pytest.approx(expected)
    assert history.epoch["loss_coeff/piwsl_taylor"] == 0.75


@pytest.mark.parametrize("interval", ["batch", "epoch"])
def test_steps_without_the_terms_leave_the_hosts_adaptive_weights_finite(
    file: Path, interval: str
) -> None:
    training = module({"every": 2}, learning_rate=1e-3)
    adapt = SoftAdapt(beta=1.1, interval=interval, frequency=1 if interval == "epoch" else 2)
    history = fit(training, data_of(file), adapt, epochs=3, limit_val_batches=0)
    coefficients = [entry.coeff for entry in training.loss.entries.values()]
    assert all(math.isfinite(coefficient) for coefficient in coefficients)
    assert all(math.isfinite(row["weighted_sum"]) for row in history.steps)
    epoch = {n: v for n, v in history.epoch.items() if n.startswith("train_loss_epoch/")}
    assert len(epoch) == 4
    assert all(math.isfinite(value) for value in epoch.values())


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no_derivatives": (
        {},
        {"model": model_config(do_derivatives=False)},
        r"do_derivatives: false.*needs the model's forces; leave it out",
    ),
    "hessian_of_a_compiled_model": (
        {"second_order": "hessian"},
        {"model": model_config(compile_mode="compile")},
        r"second_order 'hessian' .* use second_order: trapezoid",
    ),
    "weight_in_the_settings": (
        {"taylor_weight": 0.3},
        {},
        r"piwsl\.taylor_weight: .* as training_module\.loss\.coeffs\.piwsl_taylor",
    ),
    "fade_without_the_term": (
        {"weak_forces_fade": 0.25},
        {},
        r"weak_forces_fade acts on the weak forces, which the loss lacks: add 'weak_forces'",
    ),
    "weak_forces_of_two_origins": (
        {},
        {"loss": loss_config("weak_forces", "teacher")},
        r"loss\.terms: keep one of 'weak_forces' and 'teacher'",
    ),
    "every_of_config": ({"every": 2}, {"name": "ConFIG"}, "ConFIG weighs .* use every: 1"),
    "fade_of_config": ({"fade": 0.5}, {"name": "ConFIG"}, "ConFIG weighs .* leave out fade"),
    **{
        f"no_term_{name}": (
            {},
            {"name": name, "loss": PLAIN_LOSS, **options},
            rf"no term of ours.* use nequip\.train\.{host.__name__}$",
        )
        for name, (host, options) in CLASSES.items()
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_contradicts_itself_is_refused_when_it_is_made(case: str) -> None:
    settings, changes, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        module(settings, **changes)


@pytest.mark.parametrize(("terms", "reach"), [(("taylor",), 2.7), ((), 2.5)])
def test_only_training_lists_get_the_skin_with_any_data_module_of_the_hosts(
    file: Path, terms: tuple[str, ...], reach: float
) -> None:
    rows = []
    for data in (data_of(file), host_data(file)):
        history = fit(module(loss=loss_config(*terms)), data)
        assert history.reach == pytest.approx({"train": reach, "val": 2.5})
        rows.append(history.steps)
    for row, other in zip(*rows, strict=True):
        assert row == pytest.approx(other, rel=1e-12, nan_ok=True)
