"""Training in two processes, each with displacements of its own, and of a compiled model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from nequip_commands import NEQUIP_TRAIN, SHIPPED, STEP, train


@pytest.mark.slow
def test_two_processes_train_to_the_end(data: dict[str, Any], tmp_path: Path) -> None:
    options = {
        **data,
        "+trainer.strategy._target_": "nequip.train.SimpleDDPStrategy",
        "trainer.devices": 2,
        "trainer.max_epochs": 1,
        "data.train_dataloader.batch_size": 2,
        "++training_module.piwsl.every": 1,
    }
    # started by the path of a config, as Lightning then starts the second one
    run = train(tmp_path, options, program=NEQUIP_TRAIN, config=SHIPPED)
    steps = run.steps()
    assert len(steps) == 3  # twelve structures, two in each process
    for row in steps:
        assert row[f"{STEP}piwsl_taylor"] > 0.0
        assert all(math.isfinite(value) for value in row.values())
    assert (run.output / "last.ckpt").is_file()


@pytest.mark.slow
def test_the_losses_of_a_compiled_model_are_those_of_the_eager_one(
    data: dict[str, Any], tmp_path: Path
) -> None:
    found = {}
    for mode in ("eager", "compile"):
        options = {
            "training_module.model.compile_mode": mode,
            "training_module.model.num_layers": 1,  # compiling takes a minute all the same
            "trainer.max_epochs": 1,
        }
        found[mode] = train(tmp_path / mode, {**data, **options}).steps()
    assert len(found["compile"]) == len(found["eager"]) == 3
    for row, other in zip(found["compile"], found["eager"], strict=True):
        for name in ("per_atom_energy_mse", "weighted_sum"):
            assert row[STEP + name] == pytest.approx(other[STEP + name], rel=1e-4, abs=0.0)
    assert found["compile"][0][f"{STEP}piwsl_taylor"] > 0.0
