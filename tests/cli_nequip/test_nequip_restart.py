"""An interrupted run that is restarted ends where the uninterrupted one ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nequip_commands import STEP, train


def test_a_restarted_run_is_the_uninterrupted_one(data: dict[str, Any], tmp_path: Path) -> None:
    options = {
        **data,
        "training_module.loss.terms": "[taylor,conservative]",
        # warm-up that lasts beyond the interruption, and a seed of its own
        "+training_module.piwsl.warmup": 5,
        "+training_module.piwsl.seed": 3,
        "+training_module.piwsl.every": 1,
        # a learning rate that does not ask how many epochs there will be
        "training_module.lr_scheduler.scheduler.T_max": 10,
    }
    whole = train(tmp_path / "whole", options)
    first = train(tmp_path / "again", {**options, "trainer.max_epochs": 1})
    restart = {"++ckpt_path": first.output / "last.ckpt"}
    restarted = train(tmp_path / "again", {**options, **restart})

    found, expected = restarted.steps(), whole.steps()
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        for term in ("piwsl_taylor", "piwsl_conservative"):
            assert row[STEP + term] > 0.0
            assert row[STEP + term] == pytest.approx(other[STEP + term], rel=1e-9, abs=0.0)
    states = [run.last["state_dict"] for run in (restarted, whole)]
    weights, others = ({k: v for k, v in s.items() if torch.is_tensor(v)} for s in states)
    assert {"model", "ema"} <= {name.split(".")[0] for name in weights}
    torch.testing.assert_close(weights, others, rtol=0.0, atol=1e-12)
