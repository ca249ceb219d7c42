"""`piwsl weak train` with MACE: from energies to an ordinary model, each stage once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml
from processes import PYTHON, execute

from piwsl_plugins import datasets
from piwsl_plugins.hosts.calculators import identify, load
from piwsl_plugins.weak.command import main
from piwsl_plugins.weak.delta_calculator import load_delta, refuse_delta_model

FRAMES = 20
SHIPPED = Path(__file__).resolve().parents[2] / "configs" / "piwsl_weak_mace.yaml"
TINY: dict[str, Any] = {
    "hidden_irreps": "4x0e",
    "MLP_irreps": "4x0e",
    "max_ell": 1,
    "correlation": 2,
    "num_interactions": 2,
    "num_radial_basis": 4,
    "radial_MLP": "[8]",
    "r_max": 3.5,
    "batch_size": 4,
    "max_num_epochs": 1,
    "default_dtype": "float64",
}


@dataclass(frozen=True)
class Weak:
    """A folder with a config, in which the command is run."""

    folder: Path

    def config(self, **changes: Any) -> None:
        """The shipped config, made small."""
        content: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
        content |= {
            "output": "out",
            "processes": 1,
            "trainings_at_once": 1,
            "data": content["data"] | {"train": "train.xyz", "valid_fraction": 0.2},
            "committee": {"members": 2},
            "plain": False,
            "sample": {"lengths": [0.05], "rattled": 6, "closest": 0.0},
            "report": {"nve_steps": 0, "probes": 0},
            "training": content["training"] | TINY,
        }
        text = yaml.safe_dump(content | changes)
        (self.folder / "weak.yaml").write_text(text, encoding="utf-8")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return execute(
            [PYTHON, "-m", "piwsl_plugins", "weak", "train", *self.words(words)], self.folder
        )

    @staticmethod
    def words(words: Sequence[str]) -> list[str]:
        return ["weak.yaml", *words]

    @property
    def states(self) -> dict[str, int]:
        """When each stage was done, by its name."""
        found = self.folder.glob("out/*/stage.json")
        return {path.parent.name: path.stat().st_mtime_ns for path in found}

    def frames(self, name: str) -> list[Any]:
        return ase.io.read(self.folder / "out" / name, index=":")


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Weak:
    folder = tmp_path_factory.mktemp("weak")
    path = datasets.path("formaldehyde_ccsdt_cbs/train.xyz")
    lines = path.read_text(encoding="utf-8").splitlines(True)
    (folder / "train.xyz").write_text("".join(lines[: FRAMES * 6]), encoding="utf-8")
    found = Weak(folder)
    found.config()
    return found


@pytest.fixture(scope="module")
def killed(weak: Weak) -> Mapping[str, int]:
    """What there is after a run that was killed while the second model was being trained."""
    log = (weak.folder / "killed.txt").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "piwsl_plugins", "weak", "train", *weak.words([])],
        cwd=weak.folder,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )
    second = weak.folder / "out" / "delta-2" / "delta-2" / "output.txt"
    deadline = time.monotonic() + 300
    while not second.is_file():
        assert process.poll() is None, (weak.folder / "killed.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    log.close()
    return weak.states


@pytest.fixture(scope="module")
def first(weak: Weak, killed: Mapping[str, int]) -> subprocess.CompletedProcess[str]:
    """The whole way, gone on with after the kill."""
    done = weak.run()
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_a_table(
    weak: Weak, killed: Mapping[str, int], first: subprocess.CompletedProcess[str]
) -> None:
    assert "Read, check and split the data: there already" in first.stdout
    assert "Label the frames by gfn2-xtb: there already" in first.stdout
    assert "Train: delta-1: there already" in first.stdout
    for stage in ("data", "label", "delta-1"):
        assert weak.states[stage] == killed[stage]
    assert "goes on with what is in out/delta-2" in first.stdout
    assert not list((weak.folder / "out").glob("*.old-*"))
    rows = json.loads((weak.folder / "out" / "report" / "summary.json").read_text())
    assert set(rows) == {"low", "delta", "student"}
    for row in rows.values():
        assert row["force_rmse_mev_per_angstrom"] > 0.0
        assert row["ms_per_force_call"] > 0.0
    assert (weak.folder / "out" / "report" / "report.html").is_file()
    assert "Pearson's r 0.9" in first.stdout
    assert "cheap method + difference" in first.stdout


@pytest.mark.slow
def test_every_stage_shows_a_command_that_can_be_run_by_hand(
    weak: Weak, first: subprocess.CompletedProcess[str]
) -> None:
    told = first.stdout
    assert "mace_run_train --config out/student/config.yaml --name student" in told
    by_hand = next(line.strip() for line in told.splitlines() if "piwsl weak correct" in line)
    words = by_hand.replace("out/weak/train.xyz", "by_hand.xyz").split()
    done = execute([PYTHON, "-m", "piwsl_plugins", *words[1:]], weak.folder)
    assert done.returncode == 0, done.stderr
    ours, theirs = (weak.folder / "by_hand.xyz"), (weak.folder / "out/weak/train.xyz")
    assert ours.read_text() == theirs.read_text()


@pytest.mark.slow
def test_labels_are_the_sum_of_cheap_method_and_committee(
    weak: Weak, first: subprocess.CompletedProcess[str]
) -> None:
    together = load_delta(weak.folder / "out" / "committee" / "delta.json")
    frames = weak.frames("weak/frames.xyz")
    assert 0 < len(frames) <= 6
    for frame in frames[:3]:
        bare = frame.copy()
        bare.calc = together
        assert bare.get_potential_energy() == pytest.approx(frame.info["target_energy"], abs=1e-5)
        np.testing.assert_allclose(bare.get_forces(), frame.arrays["target_forces"], atol=1e-4)
        assert frame.info["max_forces_std"] >= frame.info["forces_std"] > 0.0
        assert 0.0 < frame.info["config_weight"] <= 1.0


@pytest.mark.slow
def test_the_student_keeps_the_reference_energies_and_learns_the_other_labels(
    weak: Weak, first: subprocess.CompletedProcess[str]
) -> None:
    train = weak.frames("distil/train.xyz")
    true = {frame.info["REF_energy"] for frame in weak.frames("data/train.xyz")}
    kept = [frame for frame in train if frame.info["label_source"].startswith("reference")]
    assert {frame.info["target_energy"] for frame in kept} == true
    assert all("config_weight" not in frame.info for frame in kept)
    others = [frame for frame in train if frame.info["label_source"] == "weak"]
    assert others
    assert all(frame.info["sampled_by"] == "rattle" for frame in others)
    assert all("target_forces" in frame.arrays for frame in train)


@pytest.mark.slow
def test_student_and_parts_are_models_of_mace_and_the_parts_are_marked(
    weak: Weak, first: subprocess.CompletedProcess[str]
) -> None:
    student = weak.folder / "out" / "student" / "student" / "student.model"
    frame = weak.frames("data/valid.xyz")[0]
    frame.calc = load(identify(student)).calculator
    assert frame.get_potential_energy() == pytest.approx(frame.info["REF_energy"], abs=5.0)
    refuse_delta_model(student)
    part = weak.folder / "out" / "delta-1" / "delta-1" / "delta-1.model"
    with pytest.raises(ValueError, match="this is a delta model"):
        refuse_delta_model(part)
    told = execute(
        [PYTHON, "-m", "piwsl_plugins", "evaluate", str(part), "--data", "out/data/test.xyz"],
        weak.folder,
    )
    assert told.returncode == 2
    assert "piwsl weak train" in told.stderr


@pytest.mark.slow
def test_nothing_is_done_twice_and_a_change_redoes_what_depends_on_it(
    weak: Weak, first: subprocess.CompletedProcess[str]
) -> None:
    before = weak.states
    again = weak.run()
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("there already") == len(before)
    assert weak.states == before
    weak.config(sample={"lengths": [0.05], "rattled": 6, "closest": 0.0, "select": 4})
    changed = weak.run("--until", "distil")
    assert changed.returncode == 0, changed.stderr
    assert "the earlier out/sample is now out/sample.old-1: select changed" in changed.stdout
    after = weak.states
    redone = {name for name in before if after[name] != before[name]}
    assert redone == {"sample", "weak", "distil"}
    assert len(weak.frames("sample/frames.xyz")) == 4


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({"committee": {"members": 1}}, (), "a committee of one does not tell"),
        ({"training": {**TINY, "E0s": "average"}}, (), "training.E0s: piwsl weak train says"),
        ({}, ("--min-correlation", "0.999"), "the cheap method tells so little"),
        (
            {},
            ("--set", "data.test=train.xyz", "data.forces=null"),
            "frames of the test data are in the training data",
        ),
        ({}, ("--set", "low_level.charge=1"), "an odd number"),
        ({}, ("--set", "commitee.members=2"), "did you mean 'committee'"),
        ({}, ("--environment", "nowhere"), "there is no"),
    ],
)
def test_bad_input_is_told_before_anything_is_trained(
    weak: Weak,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    words: tuple[str, ...],
    message: str,
) -> None:
    here = Weak(tmp_path)
    (tmp_path / "train.xyz").write_text((weak.folder / "train.xyz").read_text())
    here.config(**changes)
    monkeypatch.chdir(tmp_path)
    assert main(["train", *here.words(words)]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out" / "delta-1").exists()
