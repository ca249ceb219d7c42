"""A tiny benchmark with the real hosts: trained once, judged, and found again."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import ase.io
import benchmark_accuracy
import pytest
import yaml

STUDENT = """
title: student
labels: energies
student:
  {members: 1, difference_budget: 2, geometries: false, sample: {lengths: [0.1], rattled: 4}}
"""
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "host", [pytest.param(h, marks=getattr(pytest.mark, h)) for h in ("mace", "nequip")]
)
def test_terms_and_mixed_labels_train_and_a_second_call_trains_nothing(
    host: str, tmp_path: Path, repo_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_DEVICE_BACKEND_AUTOLOAD", raising=False)
    preset = repo_root / "scripts" / "benchmarks" / "formaldehyde.yaml"
    words = [str(preset), "--output", str(tmp_path / "out"), "--hosts", host]
    words += ["--environment", f"{host}={Path(sys.executable).parents[1]}", "--at-once", "2"]
    student = tmp_path / "tiny.yaml"
    student.write_text(STUDENT, encoding="utf-8")
    # noisy-nodes: plain training on frames with and without forces
    words += ["--methods", "delta-taylor", "noisy-nodes", "weak-forces", str(student)]
    words += ["--sizes", "10", "--epochs", "3"]
    assert benchmark_accuracy.main(words) == 0
    records = sorted((tmp_path / "out" / "records").iterdir())
    found = [json.loads(path.read_text()) for path in records]
    assert [record.get("reason", "") for record in found] == [""] * 4
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["delta-taylor", "noisy-nodes", "tiny", "weak-forces"]
    for row in rows:
        assert row["epochs"] == "3"
        assert float(row["ms_per_step"]) > 0.0
        assert 0.0 < float(row["training_s"]) < float(row["wall_clock_s"])
        assert float(row["validation_energy_rmse_mev"]) > 0.0
        assert float(row["force_rmse_mev_per_angstrom"]) > 0.0
        assert row["host_version"].startswith(host)
    assert [row["n_force_frames"] for row in rows] == ["0", "10", "0", "0"]
    # plain trainings of three epochs end eV away; GFN2-xTB and an untrained difference do not
    assert float(rows[0]["energy_rmse_mev"]) < 500.0
    assert float(rows[2]["cpu_s"]) > 1.5 * float(rows[3]["cpu_s"])  # models of two trainings
    out = tmp_path / "out" / "runs" / f"{host}-tiny-n10-3epochs-seed1"
    config = yaml.safe_load((out / "delta-1" / "config.yaml").read_text(encoding="utf-8"))
    epochs = config["max_num_epochs"] if host == "mace" else config["trainer"]["max_epochs"]
    assert epochs == 6  # two times the run's
    assert len(ase.io.read(out / "distil" / "train.xyz", index=":")) == 5 + 4
    times = [path.stat().st_mtime_ns for path in records]
    runs = sorted((tmp_path / "out" / "runs").iterdir())
    assert benchmark_accuracy.main(words) == 0
    assert sorted((tmp_path / "out" / "runs").iterdir()) == runs
    assert [path.stat().st_mtime_ns for path in records] == times
