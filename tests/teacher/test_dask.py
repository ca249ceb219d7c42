"""`--dask`: a cluster's workers label and sample what the processes of one machine would."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from piwsl_plugins.cli import main
from piwsl_plugins.teacher.labelling import Failure, side_by_side

distributed = pytest.importorskip(
    "distributed", reason="no test of --dask: needs distributed, pip install 'piwsl-plugins[dask]'"
)
dask = pytest.importorskip("dask")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The scheduler of a cluster of two processes, which import what the tests here do."""
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, env={"PYTHONPATH": paths}
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture
def trimers(tmp_path: Path) -> Path:
    """Frames that springs can treat, and one, the third, that they fail for."""
    frames = [ase.Atoms("H3", [[0, 0, 0], [0.95 + 0.01 * n, 0, 0], [0.1, 1, 0]]) for n in range(8)]
    frames.insert(2, ase.Atoms("HHS", frames[0].positions))
    for number, atoms in enumerate(frames):
        atoms.info["REF_energy"] = -100.0 - 0.1 * number
    ase.io.write(tmp_path / "in.xyz", frames)
    return tmp_path / "in.xyz"


def run(command: str, source: Path, out: Path, *words: str) -> str:
    """What a command writes, by springs."""
    method = ["--method", "springs.Springs", *words]
    assert main([command, str(source), "-o", str(out), *method]) == 0
    return out.read_text(encoding="utf-8")


def test_labels_cache_and_order_are_those_of_one_process(
    trimers: Path, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled, caches, words = [], [], ["--allow-unusual-units"]
    for name, where in (("alone", ["--processes", "1"]), ("cluster", ["--dask", address])):
        (folder := tmp_path / name).mkdir()
        labelled.append(run("label", trimers, folder / "out.xyz", *words, *where))
        assert "in.xyz, frame 2 (H2S): the forces are not finite" in capsys.readouterr().err
        (cache,) = (folder / "piwsl-cache").iterdir()
        caches.append((cache.name, sorted(cache.read_text(encoding="utf-8").split())))
    assert labelled[0] == labelled[1]
    assert caches[0] == caches[1]
    # what the cluster computed is there for the next run, without one
    again = run("label", trimers, tmp_path / "cluster" / "again.xyz", *words)
    assert again == labelled[1]


def test_sampled_geometries_are_those_of_one_process(
    trimers: Path, address: str, tmp_path: Path
) -> None:
    pytest.importorskip("dscribe", reason="needs piwsl-plugins[weak]")
    ways = ["--temperatures", "300", "--trajectories", "3", "--steps", "20", "--interval", "10"]
    ways += ["--lengths", "0.03", "--rattled", "4", "--closest", "0"]
    alone = run("sample", trimers, tmp_path / "alone.xyz", *ways, "--processes", "1")
    assert run("sample", trimers, tmp_path / "cluster.xyz", *ways, "--dask", address) == alone


def square(number: int, folder: Path) -> float:
    """A square; the first call with 3 kills its process, and each with 5."""
    mark = folder / "killed"
    if number == 5 or (number == 3 and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return float(number**2)


def test_a_worker_that_is_killed_loses_nothing(address: str, tmp_path: Path) -> None:
    work = functools.partial(square, folder=tmp_path)
    found = dict(side_by_side(work, range(8), dask=address))
    assert (tmp_path / "killed").exists()
    assert isinstance(hopeless := found.pop(5), Failure)
    assert "Dask gave it up: " in hopeless
    assert found == {n: float(np.square(n)) for n in range(8) if n != 5}


def test_a_scheduler_that_is_not_there_is_named(
    trimers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["label", str(trimers), "-o", str(tmp_path / "out.xyz"), "--allow-unusual-units"]
    words += ["--method", "springs.Springs", "--dask", "tcp://127.0.0.1:9"]
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert main(words) == 2
    assert "--dask tcp://127.0.0.1:9" in capsys.readouterr().err
