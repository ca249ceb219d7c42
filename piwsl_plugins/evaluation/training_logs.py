"""Training curves from the hosts' own logs: every loss term, and the validation errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

VALIDATION = {
    "rmse_e_per_atom": "energy RMSE (eV/atom)",
    "rmse_e": "energy RMSE (eV)",
    "rmse_f": "force RMSE (eV/Å)",
    "rmse_stress": "stress RMSE (eV/Å³)",
    "val0_epoch/per_atom_energy_rmse": "energy RMSE (eV/atom)",
    "val0_epoch/total_energy_rmse": "energy RMSE (eV)",
    "val0_epoch/forces_rmse": "force RMSE (eV/Å)",
    "val0_epoch/stress_rmse": "stress RMSE (eV/Å³)",
}
"""Validation errors of MACE and of NequIP by what the report calls them."""


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingLog:
    """What a host wrote while it trained: loss terms and validation errors by epoch (the index).

    Terms of the loss are means over each epoch. MACE's bear their weights; NequIP does not log its
    coefficients, which schedulers may change.
    """

    path: Path
    loss: pd.DataFrame
    validation: pd.DataFrame


def logs_of(models: Mapping[str, Path], words: Sequence[str]) -> dict[str, TrainingLog | None]:
    """Training log of each model by name: one of the words NAME=FILE, or one beside its file."""
    given = dict(word.partition("=")[::2] for word in words)
    if wrong := [name for name, path in given.items() if name not in models or not path]:
        raise ValueError(
            f"--log {wrong[0]}: expected NAME=FILE with the name of a model: {', '.join(models)}"
        )
    found = {name: given.get(name) or find_log(path) for name, path in models.items()}
    return {name: read_log(Path(path)) if path else None for name, path in found.items()}


def find_log(model: Path) -> Path | None:
    """The newest log beside a model file, or beside its folder ``checkpoints``; or None."""
    name = model.stem.removesuffix("_compiled").removesuffix("_stagetwo").split("_run-")[0]
    folders = [model.parent, *([model.parent.parent] if model.parent.name == "checkpoints" else [])]
    patterns = [f"{depth}metrics.csv" for depth in ("", "*/", "*/*/")]
    patterns.append(f"results/{name}_run-*_train.txt")
    found = [path for folder in folders for pattern in patterns for path in folder.glob(pattern)]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def read_log(path: Path) -> TrainingLog:
    """Read ``*_train.txt`` of MACE, or ``metrics.csv`` of NequIP with all restarts beside it.

    Raises:
        ValueError: there is no such file, or it is no log of either host.
    """
    try:
        return _nequip(path) if path.suffix == ".csv" else _mace(path)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"{path}: this is not a training log ({error}); expected MACE's results/*_train.txt or "
            "NequIP's metrics.csv"
        ) from error


def _by_epoch(rows: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Means over the epochs of the columns that are there, by their new names."""
    columns = {old: new for old, new in names.items() if old in rows}
    means = rows.groupby("epoch")[list(columns)].mean().rename(columns=columns)
    return means.dropna(how="all").dropna(axis=1, how="all")


def _mace(path: Path) -> TrainingLog:
    rows = pd.read_json(path, lines=True).dropna(subset=["epoch"])
    steps, checks = rows[rows["mode"] == "opt"].copy(), rows[rows["mode"] == "eval"]
    names = {"loss": "loss", "base_loss": "base_loss"}
    for term in [name for name in steps if f"{name}_weight" in steps]:
        steps[term] *= steps[f"{term}_weight"]
        names[term] = f"{term} × weight"
    validation = pd.DataFrame()
    heads = checks.get("head", pd.Series(index=checks.index, dtype=object)).fillna("Default")
    for head, own in checks.groupby(heads):
        errors = _by_epoch(own, VALIDATION)
        errors = errors if head == "Default" else errors.add_suffix(f", head {head}")
        validation = validation.join(errors, how="outer")
    return TrainingLog(path, _by_epoch(steps, names), validation)


def _nequip(path: Path) -> TrainingLog:
    versions = [path]
    if path.parent.name.startswith("version_"):
        versions = sorted(path.parent.parent.glob("version_*/metrics.csv"))
    rows = pd.concat([pd.read_csv(version) for version in versions])
    loss = pd.DataFrame()
    for kind in ("train_loss_epoch/", "train_loss_step/"):
        names = {name: name.removeprefix(kind) for name in rows if name.startswith(kind)}
        if loss.empty:
            loss = _by_epoch(rows, names).rename(columns={"weighted_sum": "loss"})
    return TrainingLog(path, loss, _by_epoch(rows, VALIDATION))
