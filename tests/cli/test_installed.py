"""What installing brings, however a training is started; plain MACE stays as it is without it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import MACE_RUN_TRAIN, PIWSL, Trained, base_losses, train, without_time
from processes import PYTHON, BareEnvironment, digest

from piwsl_plugins.hosts.mace.flags import DATA_FLAGS, LOSSES
from piwsl_plugins.settings import MaceSettings
from piwsl_plugins.teacher.settings import TeacherSettings

RUN_TRAIN = ("-m", "mace.cli.run_train")
WAYS = {
    "piwsl_without_autoload": ((*PIWSL, "mace-train"), {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}),
    "module": ((PYTHON, *RUN_TRAIN), {}),
}


def help_text(bare: BareEnvironment) -> str:
    done = bare.run(*RUN_TRAIN, "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_help_lists_every_loss_and_flag_while_the_package_is_installed(
    bare: BareEnvironment, repo_root: Path
) -> None:
    bare.install(repo_root / "piwsl_plugins")
    try:
        text = help_text(bare)
    finally:
        bare.uninstall()
    listed = re.search(r"--loss \{([^}]*)\}", text)
    assert listed is not None
    assert set(LOSSES) <= set(re.split(r",\s*", listed.group(1)))
    teacher = {f"piwsl_teacher_{name}" for name in TeacherSettings.model_fields}
    terms = {f"piwsl_{name}" for name in MaceSettings.model_fields}
    assert set(re.findall(r"^  --(piwsl_\w+)", text, re.MULTILINE)) == {
        *(terms | teacher | set(DATA_FLAGS))
    }
    after = help_text(bare)
    assert "--loss" in after
    assert "piwsl" not in after.lower()


@pytest.fixture(scope="module")
def with_terms(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training with the terms by `mace_run_train`."""
    return train(tmp_path_factory.mktemp("reference"), {**data, "loss": "piwsl"})


@pytest.mark.parametrize("way", WAYS)
def test_the_training_is_the_same_however_it_is_started(
    with_terms: Trained, data: dict[str, Any], tmp_path: Path, way: str
) -> None:
    program, variables = WAYS[way]
    options = {**data, "loss": "piwsl"}
    run = train(tmp_path, options, program=program, variables=variables)
    assert without_time(run.records) == without_time(with_terms.records)
    assert all("piwsl_taylor" in step for step in run.steps)
    assert run.models == with_terms.models


@pytest.fixture(scope="module")
def without_package(
    data: dict[str, Any], bare: BareEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Plain MACE in an environment that does not have this package."""
    options = {**data, "loss": "weighted"}
    program = [bare.python, *RUN_TRAIN]
    return train(tmp_path_factory.mktemp("without"), options, program=program)


def fingerprint(run: Trained) -> str:
    """Digest of the last checkpoint: weights and the optimiser's moments."""
    saved = torch.load(run.checkpoints[-1], weights_only=False, map_location="cpu")
    return digest({name: saved[name] for name in ("model", "optimizer")})


def test_plain_mace_trains_to_the_bit_as_where_the_package_is_not_installed(
    without_package: Trained, data: dict[str, Any], tmp_path: Path
) -> None:
    run = train(tmp_path, {**data, "loss": "weighted"}, program=MACE_RUN_TRAIN)
    assert without_time(run.records) == without_time(without_package.records)
    assert fingerprint(run) == fingerprint(without_package)
    assert "PIWSL" not in run.log


def test_terms_of_no_weight_leave_data_order_initial_weights_and_every_step_as_they_are(
    without_package: Trained, data: dict[str, Any], tmp_path: Path
) -> None:
    zero = {"piwsl_taylor_weight": 0, "piwsl_conservative_weight": 0}
    run = train(tmp_path, {**data, "loss": "piwsl", **zero})
    assert base_losses(run) == base_losses(without_package)
    assert all(step["piwsl_taylor"] > 0.0 for step in run.steps)
    assert [x["loss"] for x in run.validations] == [x["loss"] for x in without_package.validations]
    assert fingerprint(run) == fingerprint(without_package)
