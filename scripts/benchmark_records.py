"""Records of the accuracy benchmark's runs: one JSON file each, one table of all."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

COLUMNS = (
    "dataset",
    "host",
    "method",
    "train_size",
    "seed",
    "budget_s",
    "epochs",
    "steps",
    "ms_per_step",
    "training_s",
    "training_cpu_s",
    "wall_clock_s",
    "cpu_s",
    "peak_memory_mb",
    "validation_energy_rmse_mev",
    "test",
    "energy_rmse_mev",
    "energy_mae_mev",
    "energy_rmse_mev_per_atom",
    "force_rmse_mev_per_angstrom",
    "force_mae_mev_per_angstrom",
    "slope",
    "slope_low",
    "slope_high",
    "status",
    "title",
    "baseline",
    "forces",
    "n_train_frames",
    "n_force_frames",
    "git_commit",
    "host_version",
    "device",
    "settings",
)


class OtherSettingsError(ValueError):
    """A record is there that was made with other settings."""


def read_record(path: Path, settings: str) -> dict[str, Any] | None:
    """The record of a run, if it is there.

    Args:
        path: Its file.
        settings: Digest of what the run shall be made of.

    Raises:
        OtherSettingsError: It was made with others.
    """
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if record["run"]["settings"] != settings:
        raise OtherSettingsError(
            f"{path} was made with other settings (digest {record['run']['settings']}, wanted "
            f"{settings}; what they are stands in it and beside it); choose another --output"
        )
    return record


def judge(
    predictions: Path,
    tests: Mapping[str, Sequence[Atoms]],
    added: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> dict[str, dict[str, float | None]]:
    """Figures of merit on each test set.

    Args:
        predictions: What evaluate_model.py wrote about the frames of all sets, in their order.
        tests: Frames with ``REF_energy``, eV, and ``REF_forces``, eV/angstrom, by name.
        added: Energies and forces of all these frames to which the predictions are a difference.

    Returns:
        Columns of the table by test set; None where the set lacks the labels.

    Raises:
        ValueError: A prediction is not finite.
    """
    from piwsl_plugins.evaluation import beside_labels, summarise

    with np.load(predictions) as found:
        energies, forces = found["energies"], found["forces"]
    if added is not None:
        energies, forces = energies + added[0], forces + added[1]
    frame = atom = 0
    results: dict[str, dict[str, float | None]] = {}
    for name, frames in tests.items():
        next_frame, next_atom = frame + len(frames), atom + sum(map(len, frames))
        compared = beside_labels(frames, energies[frame:next_frame], forces[atom:next_atom])
        frame, atom = next_frame, next_atom
        summary = summarise(compared)
        slope = summary.softening
        low, high = (slope.interval if slope else None) or (None, None)
        results[name] = {
            "energy_rmse_mev": summary.energy_rmse_mev,
            "energy_mae_mev": 1e3
            * float(np.mean(np.abs(compared.energies - compared.reference_energies))),
            "energy_rmse_mev_per_atom": summary.energy_rmse_mev_per_atom,
            "force_rmse_mev_per_angstrom": summary.force_rmse_mev_per_angstrom,
            "force_mae_mev_per_angstrom": summary.force_mae_mev_per_angstrom,
            "slope": slope.slope if slope else None,
            "slope_low": low,
            "slope_high": high,
        }
    return results


def rows(folder: Path) -> list[dict[str, Any]]:
    """All records as rows: one a run and test set, or one a run that failed.

    Args:
        folder: Where the records are.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        shared = {**record["run"], **record.get("training", {}), "status": record["status"]}
        if "reason" in record:
            shared["reason"] = record["reason"]
        for name, errors in (record.get("tests") or {"": {}}).items():
            found.append({"test": name, **shared, **errors})
    return sorted(found, key=_order)


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    first = (row["host"], row["test"], row["train_size"], row.get("budget_s") or 0.0)
    return (*first, not row["baseline"], row["method"], row["seed"])


def write_table(path: Path, table: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as CSV, empty where a number is not known."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows({k: _cell(v) for k, v in row.items()} for row in table)


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return "" if value is None else value
