"""`make demo`, shortened to one epoch: real trainings, one table, one figure, and again.

With MACE alone in MACE's environment; with NequIP in its own, and with MACE too where `make` has
made an environment for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from piwsl_plugins.training.mace_runs import MaceRun
from piwsl_plugins.training.nequip_runs import NequipRun

pytestmark = pytest.mark.slow
PROGRAMS = {"MACE": MaceRun.program, "NequIP": NequipRun.program}


def environments(root: Path, hosts: Sequence[str]) -> dict[str, Path]:
    """The environment of each host that is there: this one, or that which `make` makes."""
    found = {}
    for host in hosts:
        for environment in (Path(sys.executable).parents[1], root / ".venv" / host.lower()):
            if host not in found and (environment / "bin" / PROGRAMS[host]).is_file():
                found[host] = environment
    return found


def demo(root: Path, output: Path, *arguments: str) -> str:
    command = [sys.executable, str(root / "scripts" / "demo.py"), "--epochs", "1"]
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


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(["MACE"], marks=pytest.mark.mace),
        pytest.param(["MACE", "NequIP"], marks=pytest.mark.nequip),  # MACE only where it is made
    ],
    ids=["mace", "all"],
)
def test_it_trains_all_and_shows_an_earlier_result_again(
    wanted: list[str], tmp_path: Path, repo_root: Path
) -> None:
    hosts = environments(repo_root, wanted)
    words = ["--hosts", *(host.lower() for host in hosts)]
    for host, environment in hosts.items():
        words += [f"--{host.lower()}-environment", str(environment)]
    output = tmp_path / "demo"
    first = demo(repo_root, output, *words)
    metrics = json.loads((output / "metrics.json").read_text())
    models = metrics["models"]
    assert list(models) == [label for host in hosts for label in (host, f"{host} + PIWSL")]
    for model in models.values():
        assert model["epochs"] == 1
        assert model["force_rmse_mev_per_angstrom"] > 0.0
        assert model["step_ms"] > 0.0
        assert model["softening"]["interval"][0] < model["softening"]["slope"]
        assert model["command"] in first
    if "MACE" in hosts:
        assert "--loss weighted" in models["MACE"]["command"]
        assert "--loss" not in models["MACE + PIWSL"]["command"]
    if "NequIP" in hosts:
        assert "nequip-plain.yaml" in models["NequIP"]["command"]
        assert "configs/piwsl_nequip.yaml" in models["NequIP + PIWSL"]["command"]
    assert (output / "force_parity.png").read_bytes().startswith(b"\x89PNG")
    for host in hosts:
        end = "Done" if host == "MACE" else "TEST RUN END"
        for name in ("plain", "piwsl"):
            assert end in (output / f"{host.lower()}-{name}" / "output.txt").read_text()

    again = demo(repo_root, output, *words)
    assert "shown again" in again
    table = first[first.index("┏") : first.index("└")]
    assert table in again
    assert not output.with_name("demo-2").exists()
