"""Trajectories that explode are told from those that end, and what is done is not done again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import stability
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from stability_figures import draw, survival, table

from piwsl_plugins.hosts.calculators import LoadedModel

MODELS: dict[str, Calculator] = {
    "good.model": EMT(),
    "bad.model": LennardJones(sigma=3.0, epsilon=5.0),  # its atoms want to be far apart
}


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command line for two models, which are calculators under a file's name."""

    def load(path: Path, *_: Any) -> tuple[LoadedModel, bool]:
        return LoadedModel(MODELS[path.name], None, frozenset(), 5.0), True

    monkeypatch.setattr(stability, "load_exported", load)
    for name in MODELS:
        (tmp_path / name).write_text(name, encoding="utf-8")
    frames = [molecule("CH4") for _ in range(4)]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
    ase.io.write(tmp_path / "data.xyz", frames)
    models = [str(tmp_path / name) for name in MODELS]
    return [*models, "--data", str(tmp_path / "data.xyz"), "--output", str(tmp_path / "md")]


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "md" / "trajectories.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_every_model_runs_in_every_condition_and_the_bad_one_explodes(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--steps", "40", "--seeds", "2", "--temperatures", "100", "300"]
    assert stability.main([*words, *short]) == 0
    found = records(tmp_path)
    assert len(found) == 2 * 2 * 2 * 2
    for record in found:
        if record["model"] == "bad":
            assert record["time"] < 0.02
            assert "nearest neighbour" in record["reason"] or "from the first" in record["reason"]
        else:
            assert (record["time"], record["reason"]) == (0.02, None)
    assert (tmp_path / "md" / "stability.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "16/16" in said
    assert "| good | NVE | 300 | 2 of 2 | 0.02 |" in said
    # the last line is cut off, and one seed more is asked for
    path = tmp_path / "md" / "trajectories.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert stability.main([*words, *short, "--seeds", "3"]) == 0
    assert "9/9" in capsys.readouterr().out
    again = records(tmp_path)
    assert again[:15] == found[:15]
    assert len(again) == 24
    assert [record for record in again if record == found[15]]


def test_a_wrong_file_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ["no.model", "--data", str(tmp_path / "no.xyz"), "--output", str(tmp_path)]
    assert stability.main(wrong) == 2
    assert capsys.readouterr().err.startswith("stability.py: error: ")


def test_the_share_that_survives_falls_at_each_explosion() -> None:
    ended = [(1.0, "x"), (5.0, None), (3.0, "x"), (5.0, None)]
    times, share = survival([{"time": time, "reason": reason} for time, reason in ended])
    np.testing.assert_array_equal(times, [0.0, 1.0, 3.0, 5.0])
    np.testing.assert_array_equal(share, [1.0, 0.75, 0.5, 0.5])


def test_the_figure_has_a_panel_for_each_condition_and_a_line_for_each_model() -> None:
    found = [
        {"model": model, "ensemble": ensemble, "temperature": 300.0, "time": 1.0, "reason": None}
        for model in ("plain", "piwsl")
        for ensemble in ("nve", "nvt")
    ]
    figure = draw(found)
    assert [axes.get_title() for axes in figure.axes] == ["NVE, 300 K", "NVT, 300 K"]
    assert all(len(axes.lines) == 2 for axes in figure.axes)


def test_trainings_of_one_name_are_one_line_and_one_row() -> None:
    ends = {"plain#1": (1.0, "x"), "plain#2": (3.0, "x"), "piwsl#1": (5.0, None)}
    found = [
        {"model": model, "ensemble": "nve", "temperature": 300.0, "time": time, "reason": reason}
        for model, (time, reason) in ends.items()
    ]
    assert [line.get_label() for line in draw(found).axes[0].lines] == ["plain", "piwsl"]
    assert list(table(found))[2:] == [
        "| plain | NVE | 300 | 0 of 2 | 2.00 |",
        "| piwsl | NVE | 300 | 1 of 1 | 5.00 |",
    ]


def test_a_model_that_was_trained_again_replaces_its_records() -> None:
    found = [
        {"model": "a", "digest": "1", "data": "d"},
        {"model": "a", "digest": "2", "data": "d"},
        {"model": "b", "digest": "3", "data": "other"},
    ]
    assert stability.latest(found, "d") == found[1:2]
