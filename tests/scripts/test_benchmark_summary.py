"""The summary says what helps only where seeds agree, and when the baseline could still learn."""

from __future__ import annotations

from typing import Any

import pytest
from benchmark_summary import ratios, summary, verdict


def row(method: str, seed: int, force: float | None, **others: Any) -> dict[str, Any]:
    made = {
        "dataset": "water",
        "host": "nequip",
        "method": method,
        "title": method,
        "baseline": method.startswith("plain"),
        "train_size": 50,
        "seed": seed,
        "budget_s": 60.0,
        "test": "hot",
        "force_rmse_mev_per_angstrom": force,
        "energy_rmse_mev": 10.0,
        "slope": 0.9,
        "validation_energy_rmse_mev": 5.0,
        "status": "done",
        "forces": "none",
        "n_force_frames": 0,
        "device": "cpu",
        "training_cpu_s": 61.0,
        "training_s": 90.0,
    }
    return made | others


def line(text: str, start: str) -> str:
    (found,) = (line for line in text.splitlines() if line.startswith(start))
    return found


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "no baseline"),
        ([0.5], "one seed, no verdict"),
        ([0.9, 0.88, 0.91], "helps"),
        ([1.1, 1.12], "does harm"),
        ([0.9, 1.2], "within spread"),
        ([1.0, 1.0], "within spread"),
    ],
)
def test_a_verdict_needs_seeds_that_agree(found: list[float], words: str) -> None:
    assert verdict(found) == words


def test_ratios_are_those_of_the_same_seed() -> None:
    own = [row("taylor", 2, 30.0), row("taylor", 1, 80.0), row("taylor", 3, 1.0)]
    plain = [row("plain", 1, 100.0), row("plain", 2, 60.0)]
    assert ratios(own, plain, "force_rmse_mev_per_angstrom") == [0.5, 0.8]


def test_the_better_plain_training_is_the_baseline() -> None:
    rows = [row("plain", s, 100.0 + s) for s in (1, 2)]
    rows += [row("plain-energies", s, 80.0 + s) for s in (1, 2)]
    rows += [row("taylor", s, 90.0 + s) for s in (1, 2)]
    text = summary(rows)
    assert (
        "## nequip, 50 frames, judged on hot, 60 s of training (baseline: plain-energies)" in text
    )
    assert "forces: does harm; energies: within spread" in line(text, "| taylor")
    assert line(text, "| plain-energies").endswith("| baseline |")
    assert "92 ± 1 | 1.12 ± 0.00" in line(text, "| taylor")


def test_more_labels_are_no_merit_of_the_method() -> None:
    rows = [row("plain", s, 100.0) for s in (1, 2)]
    rows += [row("full-forces", s, 20.0 + s, forces="all", n_force_frames=45) for s in (1, 2)]
    assert "more labels; forces: helps" in line(summary(rows), "| full-forces")


def test_a_baseline_that_still_learns_is_told() -> None:
    early = row("plain", 1, 100.0, budget_s=30.0, validation_energy_rmse_mev=9.0)
    text = summary([early, row("plain", 1, 95.0)])
    assert "From 30 s to 60 s, errors changed by: plain: validation -44 %, forces -5 %." in text
    assert "**plain has not converged**" in text
    early["validation_energy_rmse_mev"] = 5.1
    assert "has not converged" not in summary([early, row("plain", 1, 95.0)])
    assert "Convergence is not known" in summary([row("plain", 1, 95.0)])


def test_trainings_that_missed_their_time_and_failures_are_listed() -> None:
    failed = {**row("taylor", 1, None), "status": "failed", "reason": "the loss is NaN"}
    text = summary([row("plain", 1, 95.0), row("plain", 2, 95.0, training_cpu_s=80.0), failed])
    assert "- nequip, plain, 50 frames, seed 2: 80 s of 60" in text
    assert "- nequip, taylor, 50 frames, seed 1: the loss is NaN" in text
    assert text.count("seed 1:") == 1


def test_test_frames_without_forces_are_judged_by_energies() -> None:
    rows = [row("plain", 1, None), row("taylor", 1, None, energy_rmse_mev=5.0)]
    assert "| – | – | 5.0 | 0.50 |" in line(summary(rows), "| taylor")


def test_equal_epochs_are_a_length_too() -> None:
    rows = [row("plain", 1, 95.0, budget_s=None, epochs=40)]
    assert "40 epochs of training" in summary(rows)
