"""Dynamics are followed to their end, once; the figure shows the shares as they are."""

from __future__ import annotations

import json
from pathlib import Path

import ase.build
import ase.io
import pandas as pd
import pytest
import stability
from ase.calculators.emt import EMT

from piwsl_plugins import models


class Holed(EMT):
    """Effective-medium theory that breaks down after a number of calls."""

    calls = 0

    def calculate(self, *asked: object) -> None:
        super().calculate(*asked)
        self.calls += 1
        if self.calls % 25 == 0:
            raise RuntimeError("no idea")


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    frames = [ase.build.molecule("H2O") for _ in range(3)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.02, seed=seed)
    ase.io.write(tmp_path / "train.xyz", frames)
    made = []
    for name in ("good#1", "good#2", "bad"):
        (tmp_path / name).write_text(name, encoding="utf-8")
        made.append(f"{name}={tmp_path / name}")
    monkeypatch.setattr(models, "identify", lambda path: path)

    def load(path: Path, device: str) -> models.LoadedModel:
        calculator = Holed() if path.name == "bad" else EMT()
        return models.LoadedModel(calculator, None, frozenset("HO"), 5.0)

    monkeypatch.setattr(models, "load", load)
    how = ["--temperatures", "50", "--seeds", "1", "--steps", "40", "--timestep", "0.2"]
    return [*made, "--data", str(tmp_path / "train.xyz"), "--output", str(tmp_path / "out"), *how]


def test_trajectories_run_once_and_a_cut_off_line_is_run_again(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stability.main(words) == 0
    path = tmp_path / "out" / "trajectories.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(records) == 6
    for record in records:
        good = record["model"].startswith("good")
        assert (record["reason"] is None) == good
        assert (record["time"] == pytest.approx(0.2e-3 * 40)) == good
    text = capsys.readouterr().out
    assert "| good | NVE | 50 | 2 of 2 | 0.01 |" in text
    assert "| bad | NVT | 50 | 0 of 1 | " in text
    assert (tmp_path / "out" / "stability.png").exists()
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:-20], encoding="utf-8")
    assert stability.main(words) == 0
    assert capsys.readouterr().out.count('{"model"') == 1
    assert len(path.read_text(encoding="utf-8").splitlines()) == 6


def test_a_method_that_never_failed_stands_at_one() -> None:
    rows = [
        {"name": name, "ensemble": "nve", "temperature": 300.0, "time": time, "reason": reason}
        for name, time, reason in (
            ("first", 5.0, None),
            ("second", 5.0, None),
            ("third", 5.0, None),
            ("third", 1.0, "exploded"),
        )
    ]
    (axes,) = stability.draw(pd.DataFrame(rows)).axes
    heights = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert heights == {"first": [1.0, 1.0], "second": [1.0, 1.0], "third": [1.0, 0.5, 0.5]}
    looks = {(line.get_color(), line.get_marker()) for line in axes.get_lines()}
    assert len(looks) == 3
