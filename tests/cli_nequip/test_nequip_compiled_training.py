"""`compile_mode: compile` trains with the default settings as the eager model does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nequip_commands import EPOCH, STEP, Trained, train

ENTRIES = ("per_atom_energy_mse", "piwsl_taylor", "weighted_sum")


def trained(data: dict[str, Any], folder: Path, mode: str) -> Trained:
    options = {
        "training_module.model.compile_mode": mode,
        "training_module.model.num_layers": 1,  # compiling takes a minute all the same
        "trainer.max_epochs": 1,
    }
    return train(folder, {**data, **options})


@pytest.mark.slow
def test_the_losses_of_a_compiled_model_are_those_of_the_eager_one(
    data: dict[str, Any], tmp_path: Path
) -> None:
    eager, compiled = (trained(data, tmp_path / mode, mode) for mode in ("eager", "compile"))
    assert len(compiled.steps()) == len(eager.steps()) == 3
    for row, other in zip(compiled.steps(), eager.steps(), strict=True):
        for name in ENTRIES:
            assert row[STEP + name] == pytest.approx(other[STEP + name], rel=1e-4, abs=0.0)
    assert compiled.epochs()[0].keys() == eager.epochs()[0].keys()
    assert compiled.epochs()[0][f"{EPOCH}piwsl_taylor"] > 0.0
