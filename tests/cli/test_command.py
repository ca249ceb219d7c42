"""The other ways to start the same training, and what each of them does."""

from __future__ import annotations

from typing import Any

import pytest
from commands import AUTOLOAD_OFF, MACE_RUN_TRAIN, PIWSL, Trained, train, without_time
from processes import PYTHON

WAYS = {
    "piwsl_without_autoload": ((*PIWSL, "mace-train"), AUTOLOAD_OFF),
    "module_piwsl": ((PYTHON, "-m", "piwsl_plugins", "mace-train"), {}),
    "module_mace": ((PYTHON, "-m", "mace.cli.run_train"), {}),
}


@pytest.fixture(scope="module")
def options(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "loss": "piwsl", "swa": True, "start_swa": 1}


@pytest.fixture(scope="module")
def reference(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The training as `mace_run_train` does it."""
    return train(tmp_path_factory.mktemp("reference"), options, program=MACE_RUN_TRAIN)


@pytest.mark.parametrize("way", WAYS)
def test_the_training_is_the_same_however_it_is_started(
    reference: Trained,
    options: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    way: str,
) -> None:
    program, variables = WAYS[way]
    run = train(tmp_path_factory.mktemp(way), options, program=program, variables=variables)
    assert without_time(run.records) == without_time(reference.records)
    assert all("piwsl_taylor" in step for step in run.steps)
    assert run.models == reference.models
