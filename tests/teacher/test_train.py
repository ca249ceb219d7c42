"""The way to a student: its stages, resuming, and tiny real trainings of both hosts."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import pytest
import yaml

from piwsl_plugins import cli, models
from piwsl_plugins.teacher.train import do
from piwsl_plugins.teacher.train_settings import read_settings

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {host: ROOT / f"configs/piwsl_train_{host}.yaml" for host in ("mace", "nequip")}
TINY = ["sample.temperatures=[]", "sample.mode_temperatures=[]", "sample.rattled=6",
        "sample.select=null", "sample.closest=0.0", "processes=1", "threads=1"]  # fmt: skip


def train(host: str, output: Path, *words: str) -> int:
    return cli.main(["train", str(CONFIGS[host]), "--set", f"output={output}", *TINY, *words])


def test_energies_become_a_teacher_and_labels_of_new_geometries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tblite")
    host = "mace"  # whose own work only comes after these stages
    words = ["data.valid_fraction=0.6", "--until", "labels"]
    assert train(host, tmp_path, *words) == 0
    assert "leave-one-out error" in capsys.readouterr().out
    assert models.identify(tmp_path / "teacher/teacher.json").kind == "teacher"
    frames = ase.io.read(tmp_path / "labels/train.xyz", ":")
    reference = ase.io.read(tmp_path / "data/train.xyz", ":")
    assert len(frames) > len(reference)
    assert frames[0].info["REF_energy"] == reference[0].info["REF_energy"]
    assert all(frame.arrays["REF_forces"].shape == (4, 3) for frame in frames)

    assert train(host, tmp_path, *words) == 0
    again = capsys.readouterr().out
    assert again.count("done already") == 4
    assert train(host, tmp_path, *words, "--set", "teacher.max_uncertainty=0.5") == 0
    again = capsys.readouterr().out
    assert again.count("done already") == 2  # data, and the same teacher's samples
    assert (tmp_path / "teacher-before-1").is_dir()


@pytest.mark.slow
@pytest.mark.nequip  # with MACE a tutorial goes this way
def test_a_host_is_trained_by_its_own_command_and_compared(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["data.valid_fraction=0.8", "cheap_method=null", "training.trainer.max_epochs=1"]
    words.append("training.training_module.model.num_features=4")
    assert train("nequip", tmp_path, *words) == 0
    assert "nequip-train " in capfd.readouterr().out
    evaluation = json.loads((tmp_path / "report/evaluation.json").read_text(encoding="utf-8"))
    assert set(evaluation["models"]) == {"teacher", "student"}


def test_a_stage_goes_on_after_a_kill(tmp_path: Path) -> None:
    calls = []

    def work(folder: Path) -> None:
        calls.append(folder.name)
        (folder / "part").write_text("half")
        if len(calls) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(tmp_path / "one", "Do it", work, [1], [])
    for _ in range(2):
        do(tmp_path / "one", "Do it", work, [1], [])
    assert (tmp_path / "one/part").exists()
    assert not (tmp_path / "one-before-1").exists()
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("hosts=mace", "unknown key 'hosts'; did you mean 'host'?"),
        ("teacher.body_order=4", "body_order"),
        ("data.train=none.xyz", "No such file or directory: 'none.xyz'"),
        ("data.low_energy=E", "low_energy: new geometries need labels too; name the cheap method"),
        ("training.seed=1", "training.seed: piwsl train says this itself; leave it out"),
        ("environment=nowhere", "environment: nowhere is no virtual environment"),
    ],
)
def test_what_is_wrong_with_a_config_is_said_by_key(
    word: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("mace", tmp_path, word) == 2
    assert message in capsys.readouterr().err


def test_too_few_energies_end_the_command_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("mace", tmp_path, "data.valid_fraction=0.985", "cheap_method=null") == 2
    assert "nothing can be fitted: 3 frames have an energy" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["mace", "nequip"])
def test_the_configs_hold_nothing_that_is_not_read(host: str, tmp_path: Path) -> None:
    settings = read_settings(CONFIGS[host], [f"output={tmp_path}"])
    assert settings.host == host
    assert yaml.safe_load(CONFIGS[host].read_text(encoding="utf-8"))["sample"]["select"] == 300
