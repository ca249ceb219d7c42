"""The benchmark of a step's cost: ratios of the same round, and memory of tensors alone."""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

import benchmark_overhead
import pytest
import torch


def test_ratios_are_those_of_the_same_round() -> None:
    found = {
        benchmark_overhead.PLAIN: {"seconds": [1.0, 2.0, 4.0], "memory": [10.0]},
        "taylor": {"seconds": [1.3, 2.6, 5.6], "memory": [15.0]},
    }
    plain, taylor = benchmark_overhead.rows_of(found, {"host": "mace"})
    assert (plain["time_ratio"], plain["memory_ratio"]) == (1.0, 1.0)
    assert taylor["time_ratio"] == pytest.approx(1.3)
    assert taylor["time_ratio_min"] == pytest.approx(1.3)
    assert taylor["time_ratio_max"] == pytest.approx(1.4)
    assert taylor["memory_ratio"] == 1.5
    assert taylor["ms"] == 2600.0


def test_peak_memory_is_what_tensors_take_at_once() -> None:
    def step(number: int) -> None:
        for _ in range(number):
            first = torch.zeros(2**20, dtype=torch.float64)  # 8 MB
            second = first + 1.0  # and as much again
            del first, second
            torch.zeros(2**18, dtype=torch.float64)

    assert benchmark_overhead.peak_memory(step, "cpu") == pytest.approx(16.0, rel=0.01)


def test_every_kind_is_timed_in_every_round() -> None:
    calls: list[str] = []
    told: list[int] = []
    steps = {
        name: lambda number, name=name: (calls.append(name), time.sleep(0.001 * number))[0]
        for name in ("plain", "taylor")
    }
    options = argparse.Namespace(steps=3, rounds=4, device="cpu")
    found = benchmark_overhead.measure(steps, options, lambda: told.append(1))
    assert calls[-8:] == ["plain", "taylor"] * 4
    assert len(told) == 8
    for values in found.values():
        assert len(values["seconds"]) == 4
        assert min(values["seconds"]) >= 0.001


def test_curvature_is_left_out_of_crystals_and_only_nequip_trains_without_derivatives() -> None:
    names = {v.name for v in benchmark_overhead.variants("mace", "crystal", whole=True)}
    assert not any(name.startswith("curvature") for name in names)
    plain = [
        variant.extra
        for host in ("mace", "nequip")
        for variant in benchmark_overhead.variants(host, "molecule", whole=False)
        if variant.name == "plain, energies"
    ]
    assert plain == [{}, {"derivatives": False}]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "host", [pytest.param(h, marks=getattr(pytest.mark, h)) for h in ("mace", "nequip")]
)
def test_each_hosts_own_step_is_measured(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dtype = torch.get_default_dtype()
    output = tmp_path / "table.csv"
    words = [host, "--batch-sizes", "2", "--rounds", "1", "--steps", "1", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["benchmark_overhead.py", *words])
    try:
        assert benchmark_overhead.main() == 0
    finally:
        torch.set_default_dtype(dtype)
    with output.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["step"] == benchmark_overhead.PLAIN
    assert len(rows) == 10
    assert all(float(row["ms"]) > 0.0 and float(row["memory_mb"]) > 0.0 for row in rows)
    with pytest.raises(SystemExit):
        benchmark_overhead.main()  # what is there is not overwritten
