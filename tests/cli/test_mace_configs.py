"""The shipped config with weak forces trains by MACE's own command."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from commands import train

from piwsl_plugins import datasets

SHIPPED = "formaldehyde_ccsdt_cbs"


@pytest.mark.slow
def test_weak_forces_count_beside_the_energies_until_they_have_faded(
    repo_root: Path, tmp_path: Path
) -> None:
    config = repo_root / "configs" / "piwsl_mace_weak_forces.yaml"
    full = yaml.safe_load(config.read_text(encoding="utf-8"))["piwsl_weak_forces_weight"]
    options = {
        "config": config,
        "name": "weak",
        "work_dir": ".",
        "train_file": datasets.path(f"{SHIPPED}/train_weak_forces.xyz"),
        "test_file": datasets.path(f"{SHIPPED}/test.xyz"),
        "batch_size": 10,
        "max_num_epochs": 2,
    }
    run = train(tmp_path, options)
    # 181 frames, ten a step, the incomplete last batch left out
    assert [len(run.steps), run.validations[-1]["epoch"]] == [36, 1]
    for number, step in enumerate(run.steps):
        added = 0.0
        if number < 18:
            weight = step["piwsl_weak_forces_weight"]
            assert weight == pytest.approx(full * (1.0 - number / 18))
            added = weight * step["piwsl_weak_forces"]
            assert added > 0.0
        assert step["loss"] == pytest.approx(step["base_loss"] + added, rel=1e-5)
    assert "RMSE F" in run.log
