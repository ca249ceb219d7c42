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
    fingerprint,
    plain_config,
    train,
)
from processes import BareEnvironment


def test_nequip_trains_as_where_the_package_is_not_installed(
    data: dict[str, Any], bare: BareEnvironment, tmp_path: Path
) -> None:
    config = plain_config(tmp_path, data)
    options = {key: value for key, value in data.items() if not key.endswith("file_path")}
    form = ("-cp", str(config.parent), "-cn", config.stem)
    program = [bare.python, *MODULE, *form]
    without = train(tmp_path / "without", options, program=program, config=None)
    run = train(tmp_path / "with", options, program=NEQUIP_TRAIN, config=config)
    assert run.rows() == without.rows()
    assert fingerprint(run) == fingerprint(without)
    assert len(run.steps()) == 6
    assert "piwsl_plugins" in run.stdout  # among the versions
    assert "piwsl_plugins" not in without.stdout
    assert "No module named 'piwsl_plugins'" in bare.run("-c", "import piwsl_plugins").stderr
    assert "PIWSL" not in run.stdout + run.stderr

    # a PIWSL run starts from the same weights and data
    scales = {f"training_module.model.{name}": value for name, value in PLAIN_SCALES.items()}
    ours, error = train(tmp_path / "ours", {**data, **scales}).steps(), f"{STEP}per_atom_energy_mse"
    assert ours[0][error] == pytest.approx(run.steps()[0][error], rel=1e-12)
    assert ours[1][error] != run.steps()[1][error]
