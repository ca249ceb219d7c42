"""`piwsl weak sample`: geometries with their provenance, each series once, no exploded ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

pytest.importorskip("dscribe", reason="needs piwsl-plugins[weak]")

from piwsl_plugins.weak.command import main
from piwsl_plugins.weak.files import geometry_hash
from piwsl_plugins.weak.sample_tasks import SampleSettings, plan

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _springs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """Triangles of hydrogen near the springs' minimum."""
    height = np.sqrt(3.0) / 2.0
    frames = []
    for number in range(4):
        atoms = Atoms("H3", [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, height, 0.0]])
        atoms.positions += 0.02 * np.random.default_rng(number).normal(size=(3, 3))
        atoms.info["REF_energy"] = -1.0
        frames.append(atoms)
    ase.io.write(tmp_path / "known.xyz", frames)
    return tmp_path / "known.xyz"


def sample(known: Path, out: Path, *words: str, arguments: str = "{}") -> int:
    options = ["--potential", "springs.Springs", "--arguments", arguments, "--processes", "1"]
    return main(["sample", str(known), "-o", str(out), *options, *words])


def read(path: Path) -> list[Atoms]:
    return ase.io.read(path, index=":")


ALL_WAYS = (
    *("--temperatures", "300", "600", "--trajectories", "2", "--steps", "20", "--interval", "5"),
    *("--lengths", "0.03", "--rattled", "6", "--mode-temperatures", "300", "--displaced", "5"),
    *("--closest", "0"),
)


def test_every_geometry_says_how_it_was_made_and_brings_no_label(
    known: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample(known, tmp_path / "out.xyz", *ALL_WAYS) == 0
    assert "27 of 27 geometries (16 md, 5 normal-modes, 6 rattle)" in capsys.readouterr().out
    parents = {geometry_hash(frame) for frame in read(known)}
    for frame in read(tmp_path / "out.xyz"):
        assert frame.info["sampled_parent"] in parents
        assert frame.info["sampled_seed"] > 0
        assert "REF_energy" not in frame.info
        if frame.info["sampled_by"] == "rattle":
            assert frame.info["sampled_length"] == 0.03
        else:
            assert frame.info["sampled_temperature"] in (300.0, 600.0)
            assert frame.info["sampled_potential"] == "springs.Springs"
        if frame.info["sampled_by"] == "md":
            assert frame.info["sampled_step"] in (5, 10, 15, 20)


def test_processes_side_by_side_give_the_same_geometries(known: Path, tmp_path: Path) -> None:
    assert sample(known, tmp_path / "one.xyz", *ALL_WAYS) == 0
    assert sample(known, tmp_path / "two.xyz", *ALL_WAYS, "--processes", "2") == 0
    one, two = read(tmp_path / "one.xyz"), read(tmp_path / "two.xyz")
    for first, second in zip(one, two, strict=True):
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
    log = tmp_path / "log"
    arguments = f'{{"log": "{log}"}}'

    def forces(*words: str) -> int:
        log.write_text("")
        path = tmp_path / "out.xyz"
        assert sample(known, path, "--force", *ALL_WAYS, *words, arguments=arguments) == 0
        return len(log.read_text().splitlines())

    assert forces() > 80
    assert forces("--select", "7") == 0
    assert len(read(tmp_path / "out.xyz")) == 7
    assert forces("--seed", "2") > 80


def test_a_killed_command_goes_on_where_it_was(known: Path, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out.xyz"
    words = ["sample", str(known), "-o", str(out), "--potential", "springs.Springs"]
    words += ["--processes", "1", "--temperatures", "300", "--trajectories", "6"]
    words += ["--steps", "40", "--interval", "20", "--closest", "0"]
    words += ["--arguments", f'{{"log": "{log}", "delay": 0.01}}']
    process = subprocess.Popen([sys.executable, "-m", "piwsl_plugins", "weak", *words])
    parts = tmp_path / "out.xyz.parts"
    deadline = time.monotonic() + 60
    while len(list(parts.glob("*.json"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("*.json")}
    assert 2 <= len(kept) < 6
    log.unlink()
    assert main(words) == 0
    assert len(log.read_text().splitlines()) <= 41 * (6 - len(kept))
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert len(read(out)) == 12


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_waits_for_no_trajectory(
    how: signal.Signals, known: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    words = ["sample", str(known), "-o", str(tmp_path / "out.xyz"), "--processes", "2"]
    words += ["--potential", "springs.Springs", "--temperatures", "300", "--steps", "100000"]
    words += ["--arguments", f'{{"log": "{log}", "delay": 0.05}}']
    process = subprocess.Popen(
        [sys.executable, "-m", "piwsl_plugins", "weak", *words], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not log.is_file():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + how
    assert "interrupted; the same command goes on" in told
    assert "Traceback" not in told


def test_geometries_of_the_users_are_candidates_too(known: Path, tmp_path: Path) -> None:
    given = read(known)[0]
    given.positions[2] += 0.2
    ase.io.write(tmp_path / "given.xyz", given)
    out = tmp_path / "out.xyz"
    assert sample(known, out, "--candidates", str(tmp_path / "given.xyz")) == 0
    (frame,) = read(out)
    assert frame.info["sampled_by"] == "given"


def test_a_periodic_cell_is_strained(tmp_path: Path) -> None:
    crystal = bulk("Cu", cubic=True)
    ase.io.write(tmp_path / "cu.xyz", crystal)
    words = ["sample", str(tmp_path / "cu.xyz"), "-o", str(tmp_path / "out.xyz")]
    words += ["--potential", "ase.calculators.emt.EMT", "--processes", "1"]
    assert main([*words, "--lengths", "0.05", "--strain", "0.02", "--rattled", "5"]) == 0
    for frame in read(tmp_path / "out.xyz"):
        assert frame.pbc.all()
        assert not np.allclose(frame.cell, crystal.cell, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to sample"),
        (["--temperatures", "-3"], "temperatures must be positive"),
        (["--temperatures", "300", "--steps", "10"], "interval is 50, more than the 10 steps"),
        (["--lengths", "0.1", "--select", "0"], "select must be at least 1"),
        (["--lengths", "0.1", "--processes", "0"], "--processes: got 0"),
        (["--lengths", "0.1", "--potential", "gfn3-xtb"], "unknown method"),
        (["--lengths", "0.1", "--potential", "none.json"], "there is no such file"),
        (
            ["--temperatures", "300", "--potential", "gfn2-xtb"],
            "frame 0 (counted from 0): gfn2-xtb: 3 electrons at charge +0, an odd number",
        ),
        (["--lengths", "0.1", "-o", "known.xyz", "--force"], "this is the file that is read"),
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
    base = ["sample", str(known), "-o", str(tmp_path / "out.xyz"), "--potential", "springs.Springs"]
    assert main([*base, *words]) == 2
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["known.xyz"]


def test_parents_take_turns() -> None:
    settings = SampleSettings(temperatures=(300.0,), trajectories=7)
    parents = [task.parent for task in plan(settings, 3)]
    assert sorted(parents[:3]) == sorted(parents[3:6]) == [0, 1, 2]
