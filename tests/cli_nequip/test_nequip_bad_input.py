"""What cannot train is refused in one message, before the first step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ase.io
import pytest
from nequip_commands import start_training

# what is asked for, and what the message says: what, where, and what to do
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "module_of_the_host": (
        {
            "training_module._target_": "nequip.train.EMALightningModule",
            "~training_module.piwsl": "",
        },
        r"piwsl_taylor needs a PIWSL training module: set training_module\._target_",
    ),
    "unknown_key": (
        {"+training_module.piwsl.max_displacment": 0.05},
        r"training_module\.piwsl: unknown key 'max_displacment'; did you mean 'max_displacement'",
    ),
    "energy_of_another_name": (
        {"data.labels.energy": "REF_enrgy"},
        r"data\.labels\.energy 'REF_enrgy': .* did you mean 'REF_energy'\?",
    ),
    "too_long_a_displacement": (
        {"training_module.piwsl.max_displacement": 0.7},
        r"longer than half the shortest .*few\.xyz, frame \d+, .*max_displacement below 0\.",
    ),
    "hartree": (
        {"+data.labels.energy_unit": "hartree"},
        r"few\.xyz: .*data\.labels\.energy_unit",
    ),
}


@pytest.mark.parametrize("case", [*CASES, "nan_energy"])
def test_what_cannot_work_is_refused(data: dict[str, Any], tmp_path: Path, case: str) -> None:
    if case == "nan_energy":
        frames = ase.io.read(data["data.split_dataset.file_path"], index=":")
        frames[7].info["REF_energy"] = float("inf")
        ase.io.write(tmp_path / "bad.xyz", frames)
        options: dict[str, Any] = {"data.split_dataset.file_path": tmp_path / "bad.xyz"}
        expected = r"bad\.xyz, frame 7 .*not finite"
    else:
        options, expected = CASES[case]
    run = start_training(tmp_path, {**data, **options})
    assert run.status != 0
    assert "Traceback" not in run.stderr, run.stderr
    assert (run.stdout + run.stderr).count("nequip-train: error: ") == 1, run.stderr
    _, text = run.stderr.split("nequip-train: error: ")
    assert re.search(expected, text, re.S), text
    assert not list(run.output.glob("*.ckpt"))
