"""The benchmark of the entry point: what it prints, and what makes it fail."""

from __future__ import annotations

import re
from collections.abc import Iterator

import benchmark_import
import pytest


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """Replaces the measurements by given times, ms."""
    given = {"share": 0.5, "with": 900.0, "without": 899.0}

    def milliseconds(code: str, *arguments: str, autoload: bool) -> float:
        assert autoload == bool(arguments)
        return given[arguments[0] if arguments else "share"]

    monkeypatch.setattr(benchmark_import, "milliseconds", milliseconds)
    return given


def test_a_share_within_the_limit_ends_well(
    times: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark_import.main(["--runs", "3"]) == 0
    printed = capsys.readouterr().out
    assert "the entry point adds 0.50 ms, within the limit of 2 ms" in printed
    assert re.search(r"difference of pairs +median +1\.00 ms", printed)


def test_a_share_above_the_limit_is_a_failure(
    times: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    times["share"] = 2.5
    assert benchmark_import.main(["--runs", "3"]) == 1
    assert "adds 2.50 ms, above the limit" in capsys.readouterr().out


def test_the_real_entry_point_is_found_and_measured(capsys: pytest.CaptureFixture[str]) -> None:
    # the limit itself is for a quiet machine: `python scripts/benchmark_import.py`
    assert benchmark_import.main(["--runs", "2", "--limit", "1000"]) == 0
    assert "2 runs of each kind" in capsys.readouterr().out


def test_fewer_than_two_runs_have_no_spread(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        benchmark_import.main(["--runs", "1"])
    assert error.value.code == 2
    assert "--runs: got 1, expected at least 2" in capsys.readouterr().err
