"""`make demo`: real trainings, one table, one figure, and an earlier result shown again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import demo
import pytest


def finish(folder: Path, settings: object) -> None:
    folder.mkdir(parents=True)
    (folder / demo.SETTINGS).write_text(json.dumps(settings), encoding="utf-8")
    (folder / demo.METRICS).write_text("{}", encoding="utf-8")


def test_a_result_is_shown_again_and_never_written_over(tmp_path: Path) -> None:
    output, settings = tmp_path / "demo", {"mace": 1}
    assert demo.choose_folder(output, settings, force=False) == output
    finish(output, settings)
    assert demo.choose_folder(output, settings, force=False) == output
    other = tmp_path / "demo-2"
    assert demo.choose_folder(output, {"mace": 2}, force=False) == other
    other.mkdir()  # a run that did not finish
    assert demo.choose_folder(output, {"mace": 2}, force=False) == tmp_path / "demo-3"
    assert demo.choose_folder(output, {"mace": 2}, force=True) == output
    assert not output.exists()
    output.mkdir()
    (output / "mine").touch()
    with pytest.raises(ValueError, match="was not made by this script"):
        demo.choose_folder(output, settings, force=True)
    assert (output / "mine").exists()


def test_the_runs_of_a_host_differ_by_the_loss_alone(tmp_path: Path) -> None:
    words = ["--seed", "3"]
    for host, program in demo.PROGRAMS.items():
        (tmp_path / host / "bin").mkdir(parents=True)
        (tmp_path / host / "bin" / program).touch()
        words += [f"--{host}-environment", str(tmp_path / host)]
    chosen = demo.parse(words)
    runs = demo.make_runs(demo.read_settings(chosen), tmp_path, chosen)
    plain, ours, nequip_plain, nequip_ours = (run.command for run in runs)
    assert plain[:6] == [*ours[:5], "--loss"]
    assert plain[6] == "weighted"
    assert "--loss" not in ours
    assert nequip_ours[:2] == ["nequip-train", "configs/piwsl_nequip_teacher.yaml"]
    assert nequip_plain[1].endswith("nequip-plain.yaml")
    assert nequip_plain[2:-1] == nequip_ours[2:-1]
    assert set(nequip_ours[2:-1]) == {"data.seed=3", "training_module.model.seed=3"}


def test_a_missing_host_is_told_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--output", str(tmp_path / "out"), "--mace-environment", str(tmp_path)]
    assert demo.main(words) == 1
    said = capsys.readouterr().out
    assert "MACE cannot be trained" in said
    assert "--hosts leaves a host out" in said


@pytest.mark.slow
@pytest.mark.mace  # NequIP is trained by the accuracy benchmark's test
def test_it_trains_judges_and_shows_an_earlier_result_again(
    tmp_path: Path, repo_root: Path
) -> None:
    output, host = tmp_path / "demo", "mace"
    program = str(repo_root / "scripts" / "demo.py")
    words = ["--hosts", host, f"--{host}-environment", str(Path(sys.executable).parents[1])]

    def run() -> str:
        done = subprocess.run(
            [sys.executable, program, "--epochs", "1", "--output", str(output), *words],
            cwd=tmp_path,  # not the repository: it must not matter where the user stands
            env={k: v for k, v in os.environ.items() if k != "TORCH_DEVICE_BACKEND_AUTOLOAD"},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = run()
    models = json.loads((output / demo.METRICS).read_text(encoding="utf-8"))["models"]
    assert list(models) == [demo.HOSTS[host], f"{demo.HOSTS[host]} + teacher"]
    for model in models.values():
        assert model["force_mev_per_angstrom"]["n"] == 15 * 4 * 3
        assert model["force_slope"]["slope"] is not None
        assert model["command"] in first
    assert (output / demo.FIGURE).read_bytes().startswith(b"\x89PNG")
    again = run()
    assert "shown again" in again
    assert first[first.index("┏") : first.index("└")] in again
