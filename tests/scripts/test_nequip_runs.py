"""Runs of nequip-train are followed by their CSV log, and a plain run has nothing of PIWSL."""

from __future__ import annotations

import importlib
import math
import os
import time
from pathlib import Path
from typing import Any

import nequip_runs
import pytest
import yaml
from nequip_runs import (
    CLOCK,
    data_file,
    plain_config,
    plain_loss,
    with_clock,
)

from piwsl_plugins import datasets
from piwsl_plugins.training.nequip_runs import (
    CLOCK_FILE,
    VALIDATION,
    NequipRun,
    write_config,
)
from piwsl_plugins.training.runs import RunFailedError

PROFILE = """
|  Action                         |  Mean duration (s)  |  Num calls  |
|  [Callback]run_training_batches |  9.0                |  1          |
|  run_training_batch             |  0.017992           |  111        |
|  run_training_batch             |  0.5                |  111        |
"""


@pytest.fixture
def run(tmp_path: Path) -> NequipRun:
    (tmp_path / "out" / "a").mkdir(parents=True)
    return NequipRun(
        label="a",
        arguments=["my.yaml", "data.seed=2"],
        folder=Path("out/a"),
        root=tmp_path,
        epochs=3,
    )


@pytest.fixture
def config(repo_root: Path) -> dict[str, Any]:
    return yaml.safe_load((repo_root / "configs" / "piwsl_nequip.yaml").read_text(encoding="utf-8"))


def test_the_command_is_what_a_user_types(run: NequipRun) -> None:
    assert " ".join(run.command) == (
        "nequip-train my.yaml data.seed=2 +trainer.profiler=simple hydra.run.dir=out/a"
    )
    assert run.model == run.root / "out/a/best.ckpt"


def test_epochs_and_errors_are_those_of_whole_lines_with_a_validation(run: NequipRun) -> None:
    log = run.root / "out/a/csv/version_0/metrics.csv"
    run.read_progress()
    assert (run.epoch, run.validation) == (-1, [])
    log.parent.mkdir(parents=True)
    log.write_text("epoch,step,train_loss_step/weighted_sum\n0,9,0.5\n")  # before a validation
    run.read_progress()
    assert (run.epoch, run.validation) == (-1, [])
    head = f"epoch,step,test0_epoch/weighted_sum,train_loss_step/weighted_sum,{VALIDATION}\n"
    log.write_text(head + "0,9,,0.5,\n0,36,,,0.25\n1,39,,0.4,\n1,73,,,0.")
    run.read_progress()
    assert (run.epoch, run.validation) == (0, [0.25])
    log.write_text(head + "0,36,,,0.25\n1,73,,,0.125\n2,111,0.1,,\n")  # the last is the final test
    run.read_progress()
    assert (run.epoch, run.validation) == (1, [0.25, 0.125])


def test_the_time_of_a_step_is_that_of_lightnings_profiler(run: NequipRun) -> None:
    assert math.isnan(run.milliseconds_a_step)
    run.output.write_text("still training\n")
    assert math.isnan(run.milliseconds_a_step)
    run.output.write_text(PROFILE)
    assert run.milliseconds_a_step == pytest.approx(17.992)


def test_the_clock_is_a_callback_beside_the_others(run: NequipRun, config: dict[str, Any]) -> None:
    timed = with_clock(config)
    callbacks = timed["trainer"]["callbacks"]
    assert callbacks.pop()["_target_"] == CLOCK
    assert timed == config
    assert run.epoch_times == []
    (run.root / run.folder / CLOCK_FILE).write_text("10.5\n11.25\n")
    assert run.epoch_times == [10.5, 11.25]


def test_a_plain_config_differs_by_piwsl_alone(config: dict[str, Any]) -> None:
    before = yaml.safe_dump(config)
    plain = plain_config(config)
    assert yaml.safe_dump(config) == before
    module, data = plain["training_module"], plain["data"]
    assert module.pop("_target_") == "nequip.train.EMALightningModule"
    assert module.pop("loss") == {"_target_": "nequip.train.EnergyOnlyLoss"}
    assert data.pop("_target_") == "nequip.data.datamodule.ASEDataModule"
    for block, names in ((config["training_module"], ("_target_", "loss", "piwsl")),):
        for name in names:
            block.pop(name)
    for name in ("_target_", "piwsl"):
        config["data"].pop(name)
    assert plain == config


def test_names_that_nequip_has_otherwise_are_found(config: dict[str, Any]) -> None:
    config["training_module"]["_target_"] = "piwsl_plugins.hosts.nequip.PiwslLightningModule"
    config["data"]["_target_"] = "piwsl_plugins.hosts.nequip.PiwslDataModule"
    plain = plain_config(config)
    assert plain["training_module"]["_target_"] == "nequip.train.NequIPLightningModule"
    assert plain["data"]["_target_"] == "nequip.data.datamodule.NequIPDataModule"
    with pytest.raises(ValueError, match=r"_target_ is nequip\.train\.NequIPLightningModule"):
        plain_config(plain)


def test_the_plain_loss_has_the_same_labels_and_weights() -> None:
    loss = {"terms": ["taylor"], "coeffs": {"forces": 2.0, "piwsl_taylor": 0.1}}
    assert plain_loss(loss) == {
        "_target_": "nequip.train.EnergyForceLoss",
        "coeffs": {"total_energy": 1.0, "forces": 2.0},
    }
    loss = {"per_atom_energy": False, "coeffs": {"total_energy": 3.0, "forces": 2.0, "stress": 1.0}}
    assert plain_loss(loss) == {
        "_target_": "nequip.train.EnergyForceStressLoss",
        "per_atom_energy": False,
        "coeffs": {"total_energy": 3.0, "forces": 2.0, "stress": 1.0},
    }


def test_a_written_config_is_read_as_it_was(tmp_path: Path, config: dict[str, Any]) -> None:
    path = tmp_path / "new" / "plain.yaml"
    write_config(config, path, "what it is")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# what it is\n")
    assert yaml.safe_load(text) == config


def test_a_data_file_is_shipped_or_somebodys_own(tmp_path: Path) -> None:
    name = "formaldehyde_ccsdt_cbs/test.xyz"
    assert data_file(f"${{piwsl_dataset:{name}}}", tmp_path) == datasets.path(name)
    assert data_file("mine.xyz", tmp_path) == tmp_path / "mine.xyz"


@pytest.mark.nequip
@pytest.mark.slow
def test_a_training_that_was_told_to_end_has_failed(config: dict[str, Any], tmp_path: Path) -> None:
    config["trainer"]["max_epochs"] = 10_000
    write_config(config, tmp_path / "config.yaml", "as shipped, without an end")
    run = NequipRun(
        label="endless",
        arguments=["config.yaml"],
        folder=Path("out"),
        root=tmp_path,
        epochs=10_000,
    )
    run.start()
    try:
        while not run.model.exists():
            assert not run.poll()
            time.sleep(0.2)
        run.terminate()
        run._process.wait(60)  # type: ignore[union-attr]
        with pytest.raises(RunFailedError, match="endless failed with exit status"):
            run.poll()
    finally:
        run.stop()


@pytest.mark.nequip
def test_nequip_has_what_the_plain_config_names(config: dict[str, Any]) -> None:
    import nequip.data.datamodule
    import nequip.train

    plain = plain_config(config)
    assert hasattr(nequip.train, plain["training_module"]["_target_"].rpartition(".")[2])
    assert hasattr(nequip.data.datamodule, plain["data"]["_target_"].rpartition(".")[2])
    for name in ("EnergyOnlyLoss", "EnergyForceLoss", "EnergyForceStressLoss"):
        assert hasattr(nequip.train, name)


def test_the_clock_leaves_the_users_own_python_path_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/users/own")
    try:
        path = importlib.reload(nequip_runs).CLOCK_VARIABLES["PYTHONPATH"]
    finally:
        monkeypatch.undo()
        importlib.reload(nequip_runs)
    assert path.split(os.pathsep) == [str(nequip_runs.HERE), "/users/own"]
