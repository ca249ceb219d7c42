"""Data for the runs of the real commands: a few energies, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nequip_commands import NEQUIP_PACKAGE, Trained, train
from processes import BareEnvironment, execute

from piwsl_plugins import datasets

TRAINING, VALIDATION = 12, 4


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options that name the first frames of the shipped data, energies only, and their split."""
    path = datasets.path("formaldehyde_ccsdt_cbs/train.xyz")
    lines = path.read_text(encoding="utf-8").splitlines(True)
    count = TRAINING + VALIDATION
    few = tmp_path_factory.mktemp("data") / "few.xyz"
    few.write_text("".join(lines[: count * (int(lines[0]) + 2)]), encoding="utf-8")
    assert "forces" not in few.read_text(encoding="utf-8")
    return {
        "data.split_dataset.file_path": few,
        "data.split_dataset.train": TRAINING,
        "data.split_dataset.val": VALIDATION,
    }


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareEnvironment:
    """An environment with NequIP and without this package."""
    return BareEnvironment(tmp_path_factory.mktemp("environment") / "bare")


@pytest.fixture(scope="session")
def short_run(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A short PIWSL run with both terms."""
    terms = {"training_module.loss.terms": "[taylor,conservative]"}
    return train(tmp_path_factory.mktemp("short"), {**data, **terms})


@pytest.fixture(scope="session")
def package(short_run: Trained) -> Path:
    """The package of that run's model."""
    path = short_run.output / "out.nequip.zip"
    command = [*NEQUIP_PACKAGE, "build", str(short_run.output / "best.ckpt"), str(path)]
    done = execute(command, short_run.output)
    assert done.returncode == 0, done.stderr
    return path
