"""Without a PIWSL loss MACE is bit for bit what it is without this package."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from commands import AUTOLOAD_OFF, MACE_RUN_TRAIN, Trained, base_losses, train, without_time
from processes import BareEnvironment, digest


@pytest.fixture(scope="module")
def without_package(
    data: dict[str, Any], bare: BareEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Plain MACE in an environment that does not have this package."""
    return train(
        tmp_path_factory.mktemp("without"),
        {**data, "loss": "weighted"},
        program=[bare.python, "-m", "mace.cli.run_train"],
    )


def fingerprint(run: Trained) -> str:
    """Digest of the last checkpoint: weights, the optimiser's moments, the scheduler."""
    saved = torch.load(run.checkpoints[-1], weights_only=False, map_location="cpu")
    assert any(isinstance(value, torch.Tensor) for value in saved["model"].values())
    return digest({name: saved[name] for name in ("model", "optimizer")})


@pytest.mark.parametrize("variables", [{}, AUTOLOAD_OFF], ids=["loaded", "autoload_off"])
def test_plain_mace_trains_as_where_the_package_is_not_installed(
    without_package: Trained,
    data: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    variables: dict[str, str],
) -> None:
    run = train(
        tmp_path_factory.mktemp("with"),
        {**data, "loss": "weighted"},
        program=MACE_RUN_TRAIN,
        variables=variables,
    )
    assert without_time(run.records) == without_time(without_package.records)
    assert fingerprint(run) == fingerprint(without_package)
    assert "PIWSL" not in run.log


def test_terms_of_no_weight_leave_data_order_initial_weights_and_every_step_as_they_are(
    without_package: Trained, data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    zero = {"piwsl_taylor_weight": 0, "piwsl_conservative_weight": 0}
    run = train(tmp_path_factory.mktemp("zero"), {**data, "loss": "piwsl", **zero})
    assert base_losses(run) == base_losses(without_package)
    assert [step["loss"] for step in run.steps] == base_losses(run)
    assert all(step["piwsl_taylor"] > 0.0 for step in run.steps)
    assert [x["loss"] for x in run.validations] == [x["loss"] for x in without_package.validations]
    assert fingerprint(run) == fingerprint(without_package)
