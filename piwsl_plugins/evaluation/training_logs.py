"""Training curves from the hosts' own logs: every loss term, and the validation errors."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Curve = tuple[list[float], list[float]]
#: Validation figures of MACE, which are in eV and eV/angstrom, by what the report calls them.
MACE_ERRORS = {
    "rmse_e_per_atom": "energy RMSE (eV/atom)",
    "rmse_e": "energy RMSE (eV)",
    "rmse_f": "force RMSE (eV/Å)",
    "rmse_stress": "stress RMSE (eV/Å³)",
}
NEQUIP_ERRORS = {
    "per_atom_energy_rmse": "energy RMSE (eV/atom)",
    "total_energy_rmse": "energy RMSE (eV)",
    "forces_rmse": "force RMSE (eV/Å)",
    "stress_rmse": "stress RMSE (eV/Å³)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingLog:
    """What a host wrote while it trained.

    Attributes:
        path: The log.
        loss: Epochs, and the mean over each, of every term of the training loss.
        weighted: Whether the terms bear their weights, as they add up to the loss.
        validation: Epochs and validation errors.
    """

    path: Path
    loss: dict[str, Curve]
    weighted: bool
    validation: dict[str, Curve]


def find_log(model: Path) -> Path | None:
    """The log beside a model file, or None.

    MACE writes ``results/NAME_run-SEED_train.txt`` into the folder of NAME.model; NequIP's loggers
    write ``metrics.csv`` into folders beside the checkpoints. Of several, the newest.

    Args:
        model: Model file of either host.
    """
    folders = [model.parent]
    if model.parent.name == "checkpoints":
        folders.append(model.parent.parent)
    name = model.stem.removesuffix("_compiled").removesuffix("_stagetwo").split("_run-")[0]
    found: list[Path] = []
    for folder in folders:
        found += folder.glob(f"results/{name}_run-*_train.txt")
        found += [
            path for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}metrics.csv")
        ]
    return max(found, key=lambda path: path.stat().st_mtime) if found else None


def read_log(path: Path) -> TrainingLog:
    """Read a log of MACE's or NequIP's.

    Args:
        path: ``*_train.txt`` of MACE, ``metrics.csv`` of NequIP; of the latter, the other
            versions beside it, which restarts leave, are read too.

    Raises:
        ValueError: There is no such file, or it is no log of either host.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such log")
    try:
        return _read_nequip(path) if path.suffix == ".csv" else _read_mace(path)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(
            f"{path}: this is no training log: {error}; expected MACE's results/*_train.txt or "
            "NequIP's metrics.csv"
        ) from error


class _Means:
    """Means of named values by epoch."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, name: str, epoch: float, value: float) -> None:
        if math.isfinite(value):
            self._sums[name][epoch].append(value)

    def curves(self) -> dict[str, Curve]:
        found = {}
        for name, by_epoch in self._sums.items():
            epochs = sorted(by_epoch)
            found[name] = (epochs, [sum(by_epoch[e]) / len(by_epoch[e]) for e in epochs])
        return found


def _read_mace(path: Path) -> TrainingLog:
    loss, validation = _Means(), _Means()
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["epoch"] is None:
            continue
        epoch = float(record["epoch"])
        if record["mode"] == "opt":
            for name, value in _mace_terms(record).items():
                loss.add(name, epoch, value)
        elif record["mode"] == "eval":
            head = record.get("head", "Default")
            suffix = "" if head == "Default" else f", head {head}"
            for key, name in MACE_ERRORS.items():
                if record.get(key) is not None:
                    validation.add(name + suffix, epoch, float(record[key]))
    curves = loss.curves()
    return TrainingLog(path=path, loss=curves, weighted=True, validation=validation.curves())


def _mace_terms(record: Mapping[str, float]) -> dict[str, float]:
    """Loss of one step and what it is made of, each term with its weight."""
    terms = {"loss": float(record["loss"])}
    for name, value in record.items():
        if name == "base_loss":
            terms[name] = float(value)
        elif f"{name}_weight" in record:
            terms[f"{name} × weight"] = float(value) * float(record[f"{name}_weight"])
    return terms


def _read_nequip(path: Path) -> TrainingLog:
    steps, epochs, validation = _Means(), _Means(), _Means()
    versions = [path]
    if path.parent.name.startswith("version_"):
        versions = list(path.parent.parent.glob("version_*/metrics.csv"))
    for version in versions:
        with version.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                epoch = float(row["epoch"])
                for column, text in row.items():
                    if not text:
                        continue
                    kind, _, term = column.partition("/")
                    if kind == "train_loss_epoch":
                        epochs.add(_nequip_term(term), epoch, float(text))
                    elif kind == "train_loss_step":
                        steps.add(_nequip_term(term), epoch, float(text))
                    elif kind == "val0_epoch" and term in NEQUIP_ERRORS:
                        validation.add(NEQUIP_ERRORS[term], epoch, float(text))
    loss = epochs.curves() or steps.curves()
    # NequIP does not log the coefficients, which schedulers may change
    return TrainingLog(path=path, loss=loss, weighted=False, validation=validation.curves())


def _nequip_term(term: str) -> str:
    return "loss" if term == "weighted_sum" else term
