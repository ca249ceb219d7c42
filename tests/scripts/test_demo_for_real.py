"""`make demo`, shortened to two epochs: two real trainings, one table, one figure, and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.mace, pytest.mark.slow]


def demo(root: Path, output: Path, *arguments: str) -> str:
    command = [sys.executable, str(root / "scripts" / "demo.py"), "--epochs", "2"]
    done = subprocess.run(
        [*command, "--output", str(output), *arguments],
        cwd=output.parent,  # not the repository: it must not matter where the user stands
        env={k: v for k, v in os.environ.items() if k != "TORCH_DEVICE_BACKEND_AUTOLOAD"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_it_trains_both_and_shows_an_earlier_result_again(tmp_path: Path, repo_root: Path) -> None:
    output = tmp_path / "demo"
    first = demo(repo_root, output)
    metrics = json.loads((output / "metrics.json").read_text())
    assert list(metrics["models"]) == ["MACE", "MACE + PIWSL"]
    for model in metrics["models"].values():
        assert model["epochs"] == 2
        assert model["force_rmse_mev_per_angstrom"] > 0.0
        assert model["softening"]["interval"][0] < model["softening"]["slope"]
        assert model["command"] in first
    assert "--loss weighted" in metrics["models"]["MACE"]["command"]
    assert "--loss" not in metrics["models"]["MACE + PIWSL"]["command"]
    assert (output / "force_parity.png").read_bytes().startswith(b"\x89PNG")
    logs = [(output / run / "output.txt").read_text() for run in ("plain", "piwsl")]
    assert all("Done" in log for log in logs)

    again = demo(repo_root, output)
    assert "shown again" in again
    table = first[first.index("┏") : first.index("└")]
    assert table in again
    assert not output.with_name("demo-2").exists()
