"""Without a PIWSL config NequIP is bit for bit what it is without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nequip_commands import (
    MODULE,
    NEQUIP_TRAIN,
    PLAIN_SCALES,
    STEP,
    Trained,
    fingerprint,
    plain_config,
    train,
)
from processes import BareEnvironment


@pytest.fixture(scope="module")
def config(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain_config(tmp_path_factory.mktemp("config"), data)


@pytest.fixture(scope="module")
def options(data: dict[str, Any], config: Path) -> dict[str, Any]:
    return {key: value for key, value in data.items() if not key.endswith("file_path")}


@pytest.fixture(scope="module")
def without_package(
    options: dict[str, Any],
    config: Path,
    bare: BareEnvironment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    """The training in an environment that does not have this package."""
    form = ("-cp", str(config.parent), "-cn", config.stem)
    folder = tmp_path_factory.mktemp("without")
    return train(folder, options, program=[bare.python, *MODULE, *form], config=None)


def test_nequip_trains_as_where_the_package_is_not_installed(
    without_package: Trained, options: dict[str, Any], config: Path, tmp_path: Path
) -> None:
    run = train(tmp_path, options, program=NEQUIP_TRAIN, config=config)
    assert run.rows() == without_package.rows()
    assert fingerprint(run) == fingerprint(without_package)
    assert len(run.steps()) == 6
    assert "piwsl_plugins" in run.stdout
    assert "piwsl_plugins" not in without_package.stdout
    assert "PIWSL" not in run.stdout + run.stderr


def test_the_piwsl_run_starts_from_the_same_weights_and_data(
    without_package: Trained, data: dict[str, Any], tmp_path: Path
) -> None:
    scales = {f"training_module.model.{name}": value for name, value in PLAIN_SCALES.items()}
    first, second, *_ = train(tmp_path, {**data, **scales}).steps()
    error = f"{STEP}per_atom_energy_mse"
    plain = without_package.steps()
    assert first[error] == pytest.approx(plain[0][error], rel=1e-12)
    assert second[error] != plain[1][error]


def test_the_package_is_not_there_without_it(
    without_package: Trained, bare: BareEnvironment
) -> None:
    assert "No module named 'piwsl_plugins'" in bare.run("-c", "import piwsl_plugins").stderr
    assert without_package.status == 0  # where NequIP is
