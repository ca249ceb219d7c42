"""`nequip-train` on the shipped config, as users start it, and what it leaves behind."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from nequip_commands import EPOCH, NEQUIP_TRAIN, SHIPPED, STEP, train
from processes import execute


def test_the_terms_are_logged_by_name_and_validation_is_the_hosts_own(
    data: dict[str, Any], tmp_path: Path
) -> None:
    changes = {"trainer.max_epochs": 1, "run": "[train,test]", "++training_module.piwsl.every": 1}
    run = train(tmp_path, {**data, **changes}, program=NEQUIP_TRAIN, config=SHIPPED)
    assert {path.name for path in run.output.glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}
    assert list(run.output.glob("tensorboard/version_0/events.*"))
    log = (run.output / "train.log").read_text(encoding="utf-8")
    assert "few.xyz: energy: 'REF_energy' (eV), 16 frames" in log
    assert re.search(r"piwsl-plugins \S+: shares of the loss: .*piwsl_taylor 0\.0476", log)

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


def test_other_words_are_left_to_hydra_and_a_yml_is_refused(tmp_path: Path) -> None:
    done = execute([*NEQUIP_TRAIN, "no_such.yaml", "trainer.max_epochs=1"], tmp_path)
    assert done.returncode != 0
    assert "missing EQUAL" in done.stderr
    (tmp_path / "config.yml").touch()
    done = execute([*NEQUIP_TRAIN, "config.yml"], tmp_path)
    assert done.returncode == 1
    assert "nequip-train: error: config.yml: Hydra reads configs whose names end" in done.stderr
    assert "Traceback" not in done.stderr
