"""A benchmark with hosts that only pretend: resumed, with failures, and at equal time."""

from __future__ import annotations

import csv
import json
import stat
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.build
import ase.io
import benchmark_accuracy
import benchmark_jobs
import numpy as np
import pytest
from ase import Atoms
from benchmark_options import options, split_name

HOST = """
import pathlib, sys, yaml
config = yaml.safe_load(pathlib.Path(sys.argv[1]).read_text())
folder = pathlib.Path(sys.argv[-1].partition("=")[2])
with open("trained.txt", "a") as file:
    file.write(folder.name + "\\n")
loss = config["training_module"]["loss"]
if FAIL and "terms" in loss:
    sys.exit("the loss is NaN")
cost = 0.03 if "terms" in loss else 0.01  # seconds an epoch, of a clock that pretends too
times = [1000.0 + cost * epoch for epoch in range(config["trainer"]["max_epochs"] + 1)]
(folder / "epoch_times.txt").write_text("".join(f"{when}\\n" for when in times))
log = folder / "csv" / "version_0" / "metrics.csv"
log.parent.mkdir(parents=True)
log.write_text("epoch,val0_epoch/total_energy_rmse\\n0,0.5\\n1,0.25\\n")
(folder / "best.ckpt").touch()
"""
JUDGE = """
import pathlib, shutil, sys
if sys.argv[1] == "-c":  # asked for the host's version
    print("nequip 0, torch 0")
    sys.exit()
kind = "diverged" if "diverged" in sys.argv[-3] else "predicted"
shutil.copy(pathlib.Path(__file__).parents[2] / f"{kind}.npz", sys.argv[-1])
"""


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Stage:
    """A folder with data, and an environment whose host pretends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        random = np.random.default_rng(1)
        for name, count in (("train", 12), ("test", 4)):
            frames = []
            for _ in range(count):
                atoms = ase.build.molecule("H2O")
                atoms.positions += random.normal(scale=0.02, size=(3, 3))
                atoms.info["REF_energy"] = float(random.normal())
                atoms.arrays["REF_forces"] = random.normal(size=(3, 3))
                frames.append(atoms)
            ase.io.write(folder / f"{name}.xyz", frames)
        free = [Atoms(s, info={"REF_energy": e}) for s, e in (("H", -13.6), ("O", -2041.0))]
        ase.io.write(folder / "atoms.xyz", free)
        self.pretend()
        program(folder / "host" / "bin" / "python", JUDGE)
        for name, error in (("predicted", 0.01), ("diverged", np.nan)):
            np.savez(
                folder / f"{name}.npz",
                energies=[atoms.info["REF_energy"] + error for atoms in frames],
                forces=np.concatenate([0.9 * atoms.arrays["REF_forces"] for atoms in frames]),
            )

    def pretend(self, fail: bool = False) -> None:
        program(self.folder / "host" / "bin" / "nequip-train", f"FAIL = {fail}\n{HOST}")

    def run(self, *words: str) -> int:
        files = ["--train", "train.xyz", "--test", "test.xyz", "--isolated-atoms", "atoms.xyz"]
        files = [word if word.startswith("-") else str(self.folder / word) for word in files]
        more = ["--output", str(self.folder / "out"), "--hosts", "nequip"]
        more += ["--environment", f"nequip={self.folder / 'host'}", "--at-once", "2"]
        return benchmark_accuracy.main([*files, *more, *words])

    @property
    def trained(self) -> list[str]:
        path = self.folder / "out" / "trained.txt"
        return path.read_text().split() if path.exists() else []

    @property
    def table(self) -> list[dict[str, str]]:
        with (self.folder / "out" / "results.csv").open(newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_what_is_there_is_not_trained_again_and_more_is_added(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--methods", "plain", "taylor", "--sizes", "10", "--epochs", "3"]
    assert stage.run(*words) == 0
    assert sorted(stage.trained) == [
        f"nequip-{method}-n10-3epochs-seed1" for method in ("plain", "taylor")
    ]
    assert stage.run(*words) == 0
    assert "2 runs, 2 of them already there" in capsys.readouterr().out
    assert len(stage.trained) == 2
    assert stage.run(*words, "--seeds", "1", "2") == 0
    assert len(stage.trained) == 4
    assert [(row["method"], row["seed"]) for row in stage.table] == [
        ("plain", "1"),
        ("plain", "2"),
        ("taylor", "1"),
        ("taylor", "2"),
    ]
    row = stage.table[0]
    expected = {
        "train_size": "10",
        "epochs": "3",
        "steps": "3",
        "validation_energy_rmse_mev": "250",
        "energy_rmse_mev": "10",
        "energy_mae_mev": "10",
        "slope": "0.9",
        "test": "test",
        "status": "done",
        "host_version": "nequip 0, torch 0",
    }
    assert {name: row[name] for name in expected} == expected
    assert (stage.folder / "out" / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def test_budgets_give_methods_the_same_time_and_the_cheaper_one_more_epochs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # by the clock that the host writes down, which no other work can disturb
    monkeypatch.setattr(benchmark_jobs, "cpu_times", lambda run: None)
    words = ["--methods", "plain", "taylor", "--sizes", "10", "--calibration-rounds", "1"]
    assert stage.run(*words, "--budgets", "0.6") == 0
    costs = json.loads((stage.folder / "out" / "costs.json").read_text())["nequip/n10"]
    assert costs["plain_s"] == pytest.approx(0.01, rel=1e-6)
    assert costs["methods"]["taylor"]["ratio"] == pytest.approx(3.0, rel=1e-6)
    epochs = {row["method"]: int(row["epochs"]) for row in stage.table}
    assert epochs == {"plain": 60, "taylor": 20}
    for row in stage.table:
        assert float(row["training_s"]) == pytest.approx(0.6, rel=1e-3)
    assert stage.run(*words, "--budgets", "0.6", "0.3") == 0
    assert len(stage.trained) == 2 + 4  # nothing is measured twice


def test_cpu_time_at_each_epochs_end_is_read_between_two_samples() -> None:
    samples = [(100.0, 1.0), (110.0, 6.0), (120.0, 16.0)]
    run = SimpleNamespace(epoch_times=[100.0, 105.0, 115.0], cpu_samples=samples)
    assert benchmark_jobs.cpu_times(run) == [1.0, 3.5, 11.0]  # type: ignore[arg-type]
    unknown = SimpleNamespace(epoch_times=[100.0, 105.0], cpu_samples=[])
    assert benchmark_jobs.cpu_times(unknown) is None  # type: ignore[arg-type]


def test_a_failure_is_kept_told_and_stops_nothing(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.pretend(fail=True)
    words = ["--methods", "taylor", "plain", "--sizes", "10", "--epochs", "3"]
    assert stage.run(*words) == 0
    assert "the loss is NaN" in capsys.readouterr().out
    assert {row["method"]: row["status"] for row in stage.table} == {
        "plain": "done",
        "taylor": "failed",
    }
    assert "## Failed runs" in (stage.folder / "out" / "summary.md").read_text()
    stage.pretend()
    assert stage.run(*words) == 0
    assert len(stage.trained) == 2
    assert stage.run(*words, "--retry-failed") == 0
    assert len(stage.trained) == 3
    assert {row["status"] for row in stage.table} == {"done"}


def test_a_method_that_fails_while_it_is_measured_has_failed_runs(stage: Stage) -> None:
    stage.pretend(fail=True)
    words = ["--methods", "taylor", "plain", "--sizes", "10", "--calibration-rounds", "1"]
    assert stage.run(*words, "--budgets", "0.2") == 0
    assert {row["method"]: row["status"] for row in stage.table} == {
        "plain": "done",
        "taylor": "failed",
    }


def test_a_model_that_predicts_no_numbers_has_failed(stage: Stage, tmp_path: Path) -> None:
    method = tmp_path / "diverged.yaml"
    method.write_text("title: diverged\n")
    assert stage.run("--methods", str(method), "--sizes", "10", "--epochs", "1") == 0
    (row,) = stage.table
    assert (row["status"], row["energy_rmse_mev"]) == ("failed", "")
    assert "not a finite number" in (stage.folder / "out" / "summary.md").read_text()


@pytest.mark.parametrize(
    "changed",
    [["--batch-size", "3"], ["--dtype", "float64"], ["--forces", "2"], ["--validation", "0.6"]],
    ids=lambda words: words[0],
)
def test_a_record_of_other_settings_is_an_error(
    changed: list[str], stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--methods", "plain", "--sizes", "10", "--epochs", "1"]
    assert stage.run(*words) == 0
    before = {path: path.read_text() for path in (stage.folder / "out").rglob("*.json")}
    assert stage.run(*words, *changed) == 1
    assert "choose another --output" in capsys.readouterr().out
    assert len(stage.trained) == 1
    assert {path: path.read_text() for path in before} == before


def test_nothing_is_tested_on_what_it_was_trained_on(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--methods", "plain", "--epochs", "1", "--test", str(stage.folder / "train.xyz")]
    assert stage.run(*words) == 1
    assert "--train and --test are one file" in capsys.readouterr().out


def test_what_makes_no_sense_is_left_out_and_told(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--methods", "plain", "taylor-augmentation", "--sizes", "10", "--epochs", "1"]
    assert stage.run(*words) == 0
    out = capsys.readouterr().out
    assert "taylor-augmentation, nequip: left out; it needs reference forces" in out
    assert [row["method"] for row in stage.table] == ["plain"]


def test_an_interrupted_run_stays_and_the_next_goes_beside_it(stage: Stage) -> None:
    left = stage.folder / "out" / "runs" / "nequip-plain-n10-1epochs-seed1"
    left.mkdir(parents=True)
    assert stage.run("--methods", "plain", "--sizes", "10", "--epochs", "1") == 0
    assert stage.trained == ["nequip-plain-n10-1epochs-seed1-2"]
    assert list(left.iterdir()) == []


def command(tmp_path: Path, text: str, *words: str) -> Any:
    path = tmp_path / "presets" / "mine.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return options([str(path), *words])


def test_a_file_of_options_is_like_a_command_line_that_gives_way(tmp_path: Path) -> None:
    text = "train: a.xyz\ntest: [hot=b.xyz, c.xyz]\nisolated-atoms: d.xyz\nsizes: [25, 50]\n"
    found = command(tmp_path, text, "--output", "out", "--epochs", "2", "--sizes", "30")
    folder = tmp_path / "presets"
    assert found.train == folder / "a.xyz"
    assert dict(map(split_name, found.test)) == {"hot": folder / "b.xyz", "c": folder / "c.xyz"}
    assert found.sizes == [30]


@pytest.mark.parametrize(
    ("text", "words", "reason"),
    [
        ("size: [25]", [], "there is no option size"),
        ("train: a", ["--epochs", "2"], "--test is missing"),
        ("train: a\ntest: [b]\nisolated_atoms: c\noutput: d", [], "--budgets or --epochs"),
        ("train: a\ntest: [b]\nisolated_atoms: c\noutput: d", ["--epochs", "-1"], "above 0"),
    ],
)
def test_what_a_command_line_lacks_is_named(
    text: str, words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command(tmp_path, text, *words)
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("name", ["acac", "formaldehyde"])
def test_the_files_of_options_that_come_along_are_read(name: str, repo_root: Path) -> None:
    path = repo_root / "scripts" / "benchmarks" / f"{name}.yaml"
    found = options([str(path), "--output", "out", "--epochs", "1"])
    if name == "formaldehyde":
        assert found.train.is_file()
        assert all(split_name(word)[1].is_file() for word in found.test)
