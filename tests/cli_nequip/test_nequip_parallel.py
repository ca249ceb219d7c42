"""Training in two processes, each with displacements of its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from nequip_commands import NEQUIP_TRAIN, STEP, train

STRATEGIES = {
    "lightnings": {"+trainer.strategy": "ddp"},
    "nequips": {"+trainer.strategy._target_": "nequip.train.SimpleDDPStrategy"},
}
BOTH = {
    "training_module.loss.terms": "[taylor,conservative]",
    "++training_module.piwsl.every": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_train_to_the_end(
    data: dict[str, Any], tmp_path: Path, strategy: str
) -> None:
    options = {**data, **BOTH, **STRATEGIES[strategy], "trainer.devices": 2}
    options["data.train_dataloader.batch_size"] = 2
    run = train(tmp_path, options, program=NEQUIP_TRAIN)  # of which Lightning starts a second
    steps = run.steps()
    assert len(steps) == 2 * 3  # two epochs of twelve structures, two in each process
    for row in steps:
        values = [row[f"{STEP}piwsl_{term}"] for term in ("taylor", "conservative")]
        assert all(value > 0.0 and math.isfinite(value) for value in values)
    assert (run.output / "last.ckpt").is_file()
