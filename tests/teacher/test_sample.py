"""`piwsl sample`: geometries with their provenance, each series once, far from each other."""

from __future__ import annotations

import os
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from piwsl_plugins.cli import main

pytest.importorskip("dscribe", reason="needs piwsl-plugins[weak]")

from piwsl_plugins.teacher.geometries import choose

HERE = Path(__file__).parent
ALL_WAYS = (
    *("--temperatures", "300", "600", "--trajectories", "2", "--steps", "20", "--interval", "5"),
    *("--lengths", "0.03", "--rattled", "6", "--mode-temperatures", "300", "--displaced", "5"),
    *("--closest", "0"),
)


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Triangles of hydrogen near the springs' minimum."""
    frames = []
    for number in range(4):
        atoms = Atoms("H3", [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, np.sqrt(0.75), 0.0]])
        atoms.positions += 0.02 * np.random.default_rng(number).normal(size=(3, 3))
        atoms.info |= {"REF_energy": -1.0, "total_charge": 0}
        frames.append(atoms)
    ase.io.write(tmp_path / "known.xyz", frames)
    return tmp_path / "known.xyz"


def sample(known: Path, out: Path, *words: str, arguments: str = "{}") -> int:
    method = ["--method", "springs.Springs", "--arguments", arguments]
    return main(["sample", str(known), "-o", str(out), *method, *words])


def read(path: Path) -> list[Atoms]:
    return ase.io.read(path, index=":")


def test_every_geometry_says_how_it_was_made_brings_no_label_and_is_the_same_again(
    known: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(known, tmp_path / "out.xyz", *ALL_WAYS) == 0
    assert "27 geometries (16 md, 5 normal-modes, 6 rattle)" in capsys.readouterr().out
    found = read(tmp_path / "out.xyz")
    for frame in found:
        assert frame.info["sampled_seed"] > 0
        assert len(frame.info["sampled_parent"]) == 16
        assert "REF_energy" not in frame.info
        assert frame.info["total_charge"] == 0
        if frame.info["sampled_by"] == "rattle":
            assert frame.info["sampled_length"] == 0.03
        else:
            assert frame.info["sampled_temperature"] in (300.0, 600.0)
            assert frame.info["sampled_method"] == "springs.Springs"
        if frame.info["sampled_by"] == "md":
            assert frame.info["sampled_step"] in (5, 10, 15, 20)
    # parents take turns
    md = [frame for frame in found if frame.info["sampled_by"] == "md"]
    assert (
        len({frame.info["sampled_parent"] for frame in md if frame.info["sampled_step"] == 5}) > 1
    )
    assert sample(known, tmp_path / "two.xyz", *ALL_WAYS, "--processes", "1") == 0
    for first, second in zip(found, read(tmp_path / "two.xyz"), strict=True):
        np.testing.assert_array_equal(first.positions, second.positions)


def test_dynamics_end_where_the_molecule_falls_apart(
    known: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot = ("--temperatures", "300", "30000", "--trajectories", "2", "--steps", "200")
    assert sample(known, tmp_path / "out.xyz", *hot, "--interval", "20", "--closest", "0") == 0
    told = capsys.readouterr()
    assert "md-30000K" in told.err
    assert "nearest neighbour" in told.err
    frames = read(tmp_path / "out.xyz")
    assert sum(frame.info["sampled_temperature"] == 300.0 for frame in frames) == 20
    for frame in frames:
        assert 0.5 < frame.get_all_distances()[np.triu_indices(3, 1)].min() < 1.7


def test_a_changed_choice_samples_nothing_anew_and_another_seed_does(
    known: Path, tmp_path: Path
) -> None:
    log, path = tmp_path / "log", tmp_path / "out.xyz"

    def forces(*words: str) -> int:
        log.write_text("")
        arguments = f'{{"log": "{log}"}}'
        assert sample(known, path, "--overwrite", *ALL_WAYS, *words, arguments=arguments) == 0
        return len(log.read_text().splitlines())

    assert forces() > 80
    assert forces("--select", "7") == 0
    assert len(read(path)) == 7
    assert forces("--seed", "2") > 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to sample"),
        (["--temperatures", "-3"], "temperatures.0: got -3.0"),
        (["--temperatures", "300", "--steps", "10"], "interval: got 50, more than the 10 steps"),
        (["--lengths", "0.1", "--select", "0"], "select: got 0"),
        (["--lengths", "0.1", "--processes", "0"], "--processes: got 0"),
        (["--lengths", "0.1", "--method", "gfn3-xtb"], "unknown method"),
        (["--lengths", "0.1", "--method", "none.json"], "there is no such file"),
        (
            ["--temperatures", "300", "--method", "gfn2-xtb", "--multiplicity", "1"],
            "frame 0 (counted from 0): 3 electrons at charge +0",
        ),
        (
            ["--lengths", "0.1", "-o", "known.xyz", "--overwrite"],
            "this file is read; write to another",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(
    known: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sample(known, tmp_path / "out.xyz", *words) == 2
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["known.xyz"]


# --- selection -----------------------------------------------------------------------------------


def waters(angles: list[float]) -> list[Atoms]:
    frames = [molecule("H2O") for _ in angles]
    for water, angle in zip(frames, angles, strict=True):
        water.set_angle(1, 0, 2, angle)
    return frames


def test_the_farthest_from_all_known_comes_first() -> None:
    assert choose(waters([100.0, 104.0]), waters([101.0, 103.0, 125.0, 90.0]), 2, 0.0) == [2, 3]


def test_copies_of_known_and_of_each_other_are_left_out_turned_or_not() -> None:
    turned = waters([104.0])[0]
    turned.rotate(40.0, "x")
    turned.positions += 3.0
    twice = waters([120.0, 120.0])
    found = choose(waters([104.0]), [turned, *twice, *waters([90.0])], None, 0.05)
    assert sorted(found) in ([1, 3], [2, 3])
