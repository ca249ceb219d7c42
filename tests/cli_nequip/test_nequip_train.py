"""`nequip-train` on the shipped config, as users start it, and what it leaves behind."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from nequip_commands import EPOCH, NEQUIP_TRAIN, SHIPPED, STEP, train
from processes import execute

from piwsl_plugins import __version__


def test_the_terms_are_logged_by_name_and_validation_is_the_hosts_own(
    data: dict[str, Any], tmp_path: Path
) -> None:
    changes = {"trainer.max_epochs": 1, "run": "[train,test]", "++training_module.piwsl.every": 1}
    run = train(tmp_path, {**data, **changes}, program=NEQUIP_TRAIN, config=SHIPPED)
    assert {path.name for path in run.output.glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}
    assert list(run.output.glob("tensorboard/version_0/events.*"))
    log = (run.output / "train.log").read_text(encoding="utf-8")
    assert "few.xyz: energy: 'REF_energy' (eV), 16 frames" in log
    assert f"piwsl_plugins.hosts.nequip {__version__}\n" in log  # NequIP's own list of versions
    assert re.search(rf"piwsl-plugins {__version__}: shares of .*: .*piwsl_taylor 0\.0476", log)

    steps, (epoch,) = run.steps(), run.rows(f"{EPOCH}weighted_sum")
    assert len(steps) == 3
    for row, prefix in [*((step, STEP) for step in steps), (epoch, EPOCH)]:
        error, taylor = row[f"{prefix}per_atom_energy_mse"], row[f"{prefix}piwsl_taylor"]
        assert taylor > 0.0
        assert row[f"{prefix}weighted_sum"] == pytest.approx((error + 0.05 * taylor) / 1.05)
    names = {name for row in run.rows() for name in row}
    assert {"val0_epoch/total_energy_rmse", "test0_epoch/forces_rmse"} <= names
    terms = {name for name in names if "piwsl" in name}
    assert terms == {f"{STEP}piwsl_taylor", f"{EPOCH}piwsl_taylor"}
    assert all(math.isfinite(value) for row in run.rows() for value in row.values())


def test_a_config_that_is_missing_or_a_yml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yml").touch()
    for words, told in (
        (["no_such.yaml", "trainer.max_epochs=1"], "no_such.yaml: no such file; write"),
        (["config.yml"], "config.yml: Hydra reads configs whose names end"),
    ):
        done = execute([*NEQUIP_TRAIN, *words], tmp_path)
        assert done.returncode == 1
        assert f"nequip-train: error: {told}" in done.stderr
        assert "Traceback" not in done.stderr
