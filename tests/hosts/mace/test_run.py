"""A run's combinations: what cannot work is refused, what MACE decides stays MACE's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_mace import arguments, make_batch, make_model, molecules

from piwsl_plugins.data.checks import Counts
from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.loss import PiwslLoss

Start = Callable[..., run.Run]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--lbfgs"], "no fixed value to minimise"),
        (["--model", "AtomicDipolesMACE"], "needs a model that gives an energy"),
        (["--model", "AtomicDielectricMACE"], "needs a model that gives an energy"),
        (["--model", "EnergyDipolesMACE"], "EnergyDipolesMACE is trained with"),
        (["--piwsl_base_loss", "energy_forces_dipole"], "does not go with --model"),
        (["--compute_forces", "False"], "needs forces"),
        (
            ["--energy_unit", "hartree", "--piwsl_base_loss", "virials"],
            "does not act on virials",
        ),
        (["--piwsl_taylor_weight", "-1"], "--piwsl_taylor_weight"),
    ],
)
def test_what_cannot_work_is_refused_before_training(
    start: Start, words: list[str], expected: str
) -> None:
    with pytest.raises(SystemExit, match=expected):
        start("--loss", "piwsl_taylor", *words)


def test_mace_sees_the_base_loss_and_nothing_else(start: Start) -> None:
    active = start("--loss", "piwsl", "--piwsl_base_loss", "stress")
    assert active.args.loss == "stress"
    assert active.terms == ("taylor", "conservative")


def test_without_a_piwsl_loss_no_run_is_active_and_the_loss_is_maces() -> None:
    import mace.tools
    from mace.modules import WeightedEnergyForcesLoss
    from mace.tools.scripts_utils import get_loss_fn

    args, messages = mace.tools.check_args(arguments("--loss", "weighted"))
    assert run.active() is None
    assert messages == []
    assert type(get_loss_fn(args, False, False)) is WeightedEnergyForcesLoss


def test_flags_that_the_chosen_loss_does_not_read_are_named() -> None:
    import mace.tools

    _, messages = mace.tools.check_args(arguments("--loss", "weighted", "--piwsl_order", "1"))
    assert [level for _, level in messages] == [logging.WARNING]
    assert "--piwsl_order" in messages[0][0]


@pytest.mark.parametrize(
    "base", ["weighted", "ef", "universal", "huber", "stress", "virials", "l1l2energyforces"]
)
def test_every_base_loss_of_mace_stays_the_supervised_part(start: Start, base: str) -> None:
    from mace.tools.scripts_utils import get_loss_fn

    active = start("--loss", "piwsl", "--piwsl_base_loss", base, "--energy_weight", "8")
    loss = get_loss_fn(active.args, False, False)
    assert isinstance(loss, PiwslLoss)
    run._active = None
    plain = get_loss_fn(arguments("--loss", base, "--energy_weight", "8"), False, False)
    assert repr(loss.base) == repr(plain)
    expected = 0.05 * (1.0 if base == "ef" else 8.0)
    assert loss.weights == {"taylor": expected, "conservative": expected}


@pytest.mark.parametrize(("weight", "forces", "warned"), [(1, 0, 1), (1, 4, 0), (1000, 0, 0)])
def test_an_energy_weight_that_hardly_learns_is_pointed_out(
    start: Start, caplog: pytest.LogCaptureFixture, weight: int, forces: int, warned: int
) -> None:
    from mace.tools.scripts_utils import get_loss_fn

    active = start("--loss", "piwsl", "--energy_weight", str(weight))
    counted(active, 4, 4, forces)
    get_loss_fn(active.args, False, False)
    assert [r.levelno for r in caplog.records].count(logging.WARNING) == warned


def test_given_weights_are_taken_as_they_are(start: Start) -> None:
    from mace.tools.scripts_utils import get_loss_fn

    active = start("--loss", "piwsl", "--piwsl_taylor_weight", "2", "--energy_weight", "100")
    assert get_loss_fn(active.args, False, False).weights == {"taylor": 2.0, "conservative": 5.0}


def test_stage_two_keeps_the_terms_at_its_own_energy_weight(start: Start) -> None:
    from mace.tools.scripts_utils import get_swa

    active = start(
        "--loss", "piwsl", "--swa", "--swa_energy_weight", "500", "--max_num_epochs", "8"
    )
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    swa, swas = get_swa(active.args, model, optimizer, [False])
    assert isinstance(swa.loss_fn, PiwslLoss)
    assert swa.loss_fn.weights["taylor"] == 25.0
    assert swas == [False, True]


def counted(active: run.Run, frames: int, energies: int, forces: int) -> None:
    active.counts.add(Counts(frames, energies, forces))


def test_rms_scaling_without_any_forces_is_refused(start: Start) -> None:
    active = start("--loss", "piwsl", "--scaling", "rms_forces_scaling")
    counted(active, 10, 10, 0)
    with pytest.raises(ValueError, match=r"10 of 10 training frames.*--scaling std_scaling"):
        active.check_statistics()


def test_rms_scaling_with_some_forces_or_given_statistics_is_not(start: Start) -> None:
    active = start("--loss", "piwsl", "--scaling", "rms_forces_scaling")
    counted(active, 10, 9, 3)
    active.check_statistics()
    words = ["--scaling", "rms_forces_scaling", "--mean", "0", "--std", "1"]
    active = start("--loss", "piwsl", *words)
    counted(active, 10, 10, 0)
    active.check_statistics()


def test_a_key_of_weak_forces_that_no_frame_has_names_those_that_are_there(start: Start) -> None:
    active = start("--loss", "piwsl", "--piwsl_weak_forces_key", "gfn2")
    counted(active, 10, 10, 0)
    active.names.update({"REF_energy", "xtb_forces"})
    with pytest.raises(ValueError, match=r"'gfn2': no training .* are REF_energy, xtb_forces"):
        active.check_statistics()
    active.weak_frames = 1
    active.check_statistics()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "no terms with displacements; MACE's 'weighted'"),
        (
            ["--piwsl_weak_forces_key", "gfn2"],
            "falls to zero over the first 50 % of --max_num_epochs",
        ),
        (
            ["--piwsl_weak_forces_key", "gfn2", "--piwsl_weak_forces_fade", "0"],
            "to the end, and with",
        ),
        (["--piwsl_low_energy_key", "hf"], "predicts the difference 'REF_energy' minus 'hf'"),
    ],
)
def test_the_user_is_told_what_the_supervised_loss_trains_on(
    words: list[str], expected: str
) -> None:
    import mace.tools

    _, messages = mace.tools.check_args(arguments("--loss", "piwsl_supervised", *words))
    assert any(expected in text for text, _ in messages)


def test_lbfgs_goes_with_a_loss_whose_value_is_fixed(start: Start) -> None:
    words = ["--loss", "piwsl_supervised", "--lbfgs", "--piwsl_weak_forces_key", "gfn2"]
    assert start(*words, "--piwsl_weak_forces_fade", "0").terms == ()
    with pytest.raises(SystemExit, match=r"must not change; --piwsl_weak_forces_fade 0\.5 lets"):
        start(*words)


def test_an_anchor_on_forces_without_any_forces_is_refused(start: Start) -> None:
    active = start("--loss", "piwsl_taylor", "--piwsl_anchor", "label_and_forces")
    counted(active, 10, 10, 0)
    with pytest.raises(ValueError, match="no training frame has any"):
        active.check_statistics()


def test_train_binds_model_step_and_logger(start: Start) -> None:
    from mace.tools.scripts_utils import get_loss_fn

    active = start("--loss", "piwsl")
    counted(active, 4, 4, 0)
    model = make_model()
    seen: dict[str, Any] = {}

    class Loader:
        dataset = type("Concatenated", (), {"datasets": [[]]})

        def __len__(self) -> int:
            return 6

    def train(
        model: Any,
        loss_fn: Any,
        train_loader: Any,
        logger: Any,
        start_epoch: int,
        max_num_epochs: int,
    ) -> None:
        progress = active.progress
        seen.update(step=progress.step, steps=progress.steps, logger=logger, model=progress.model)

    logger = type("Logger", (), {"log": lambda self, record: seen.update(record=record)})()
    loss = get_loss_fn(active.args, False, False)
    run.wrap_train(
        train,
        model=model,
        loss_fn=loss,
        train_loader=Loader(),
        logger=logger,
        start_epoch=5,
        max_num_epochs=8,
    )
    assert seen["model"] is model
    assert (seen["step"], seen["steps"]) == (30, 48)
    batch = make_batch(molecules(), labels=[{"energy": -1.0}, {"energy": -2.0}])
    loss(pred=model(batch.to_dict(), training=True), ref=batch)
    seen["logger"].log({"mode": "opt", "epoch": 5, "loss": 1.0})
    assert {"base_loss", "piwsl_taylor", "piwsl_conservative_weight"} <= set(seen["record"])
    seen["logger"].log({"mode": "eval", "epoch": 5})
    assert {"train_base_loss", "train_piwsl_taylor"} <= set(seen["record"])


def test_a_loss_without_the_terms_never_trains_silently(start: Start) -> None:
    from mace.modules import WeightedEnergyForcesLoss

    start("--loss", "piwsl")
    loss = WeightedEnergyForcesLoss()

    def train(model: Any, loss_fn: Any, train_loader: Any, logger: Any) -> None:
        raise AssertionError("trained")

    with pytest.raises(SystemExit, match="without the PIWSL terms"):
        run.wrap_train(train, model=None, loss_fn=loss, train_loader=None, logger=None)
