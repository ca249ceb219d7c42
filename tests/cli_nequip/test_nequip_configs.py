"""Every config that the package ships trains, each beside the one for NequIP and energies alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from nequip_commands import EPOCH, SHIPPED, STEP, TINY, Trained, train

HERE = {name: value for name, value in TINY.items() if not name.startswith("training_module")}
ONE_EPOCH = {**HERE, "run": "[train,test]", "trainer.max_epochs": 1}


def run_config(name: str, folder: Path, options: dict[str, Any] | None = None) -> Trained:
    """One epoch of a shipped config as it stands, its model included."""
    model = {key: None for key in TINY if key not in HERE}
    config = SHIPPED.with_name(f"piwsl_{name}.yaml")
    return train(folder, {**model, **ONE_EPOCH, **(options or {})}, config=config)


def check(run: Trained, *entries: str) -> None:
    (epoch,) = run.rows(f"{EPOCH}weighted_sum")
    for entry in entries:
        assert epoch[f"{EPOCH}{entry}"] > 0.0
    assert 0.0 < run.rows()[-1]["test0_epoch/forces_rmse"] < 100.0


@pytest.mark.slow
def test_allegro_trains_with_the_terms(tmp_path: Path) -> None:
    check(run_config("allegro", tmp_path), "per_atom_energy_mse", "piwsl_taylor")


@pytest.mark.slow
def test_sparse_forces_count_where_they_are(tmp_path: Path) -> None:
    run = run_config("nequip_sparse_forces", tmp_path)
    check(run, "per_atom_energy_mse", "forces_mse", "piwsl_taylor")
    forces = [step[f"{STEP}forces_mse"] for step in run.steps()]
    # six of 201 frames have forces, five frames a step: in most steps there are none
    assert 1 <= sum(value > 0.0 for value in forces) <= 6
    assert run.rows()[-1]["test0_epoch/total_energy_rmse"] < 1.0


@pytest.mark.slow
def test_weak_forces_count_beside_the_energies(tmp_path: Path) -> None:
    run = run_config("nequip_weak_forces", tmp_path)
    check(run, "per_atom_energy_mse", "piwsl_weak_forces")
    weak = [step[f"{STEP}piwsl_weak_forces"] for step in run.steps()]
    assert len(weak) == 37  # 181 frames, five a step
    assert min(weak[:19]) > 0.0
    assert all(math.isnan(value) for value in weak[19:])


@pytest.mark.slow
def test_the_teacher_is_fitted_before_the_first_step(tmp_path: Path) -> None:
    run = run_config("nequip_teacher", tmp_path)
    check(run, "per_atom_energy_mse", "piwsl_teacher")
    assert "teacher: 18" in run.stdout  # energies, of the 181 training frames
    assert all(step[f"{STEP}piwsl_teacher"] > 0.0 for step in run.steps())


@pytest.mark.slow
def test_a_checkpoint_is_fine_tuned(tmp_path: Path, short_run: Trained) -> None:
    checkpoint = {"pretrained": short_run.output / "best.ckpt"}
    check(run_config("nequip_finetune", tmp_path, checkpoint), "piwsl_taylor")
