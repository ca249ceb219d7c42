"""Metrics and plots leave out what has no label, where the bare host counts zeros or gives up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_mace import make_items, make_model, molecules

from piwsl_plugins.hosts.mace import run

Start = Callable[..., run.Run]
FORCES = np.array([[0.3, 0.0, 0.4]])


def labels_of(frames: list[Any]) -> list[dict[str, Any]]:
    known: list[dict[str, Any]] = [{"energy": -100.0} for _ in frames]
    known[0]["forces"] = np.repeat(FORCES, len(frames[0]), axis=0)
    return known


def metrics(labels: list[dict[str, Any]], batch_size: int = 2) -> dict[str, Any]:
    from mace.modules import WeightedEnergyForcesLoss
    from mace.tools import evaluate, torch_geometric

    frames = molecules()[: len(labels)]
    batches = torch_geometric.dataloader.DataLoader(
        make_items(frames, labels=labels), batch_size=batch_size, shuffle=False
    )
    _, found = evaluate(
        model=make_model(),
        loss_fn=WeightedEnergyForcesLoss(),
        data_loader=batches,
        output_args={"forces": True, "virials": False, "stress": False},
        device=torch.device("cpu"),
    )
    return dict(found)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_relative_force_errors_are_relative_to_the_forces_that_there_are(
    start: Start, batch_size: int
) -> None:
    labels = labels_of(molecules())
    alone = metrics(labels[:1])
    bare = metrics(labels, batch_size)
    start("--loss", "piwsl")
    found = metrics(labels, batch_size)
    for name in ("rel_mae_f", "rel_rmse_f", "rmse_f", "mae_f"):
        assert found[name] == pytest.approx(alone[name], rel=1e-10)
    for name in ("rel_mae_f", "rel_rmse_f"):
        assert bare[name] > 1.1 * alone[name]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_errors_per_atom_are_those_of_the_energies_that_there_are(
    start: Start, batch_size: int
) -> None:
    labels: list[dict[str, Any]] = [{"energy": -100.0}, {}]
    alone = metrics(labels[:1])
    bare = metrics(labels, batch_size)
    start("--loss", "piwsl")
    found = metrics(labels, batch_size)
    for name in ("mae_e", "rmse_e", "q95_e", "mae_e_per_atom", "rmse_e_per_atom"):
        assert found[name] == pytest.approx(alone[name], rel=1e-10)
    for name in ("mae_e_per_atom", "rmse_e_per_atom"):
        assert abs(bare[name] - alone[name]) > 0.1 * alone[name]


@pytest.mark.parametrize(
    "labels",
    [
        [{"energy": -100.0, "forces": np.full((6, 3), 0.2)}, {"energy": -200.0}],
        [{"energy": -100.0}, {"energy": -200.0}],
    ],
)
def test_with_every_energy_there_the_errors_are_maces_to_the_last_bit(
    start: Start, labels: list[dict[str, Any]]
) -> None:
    bare = metrics(labels)
    start("--loss", "piwsl")
    found = metrics(labels)
    assert set(found) == set(bare)
    same = set(found) - {"time", "rel_mae_f", "rel_rmse_f"}
    assert {name: found[name] for name in same} == {name: bare[name] for name in same}


def test_without_any_forces_there_is_no_force_error(start: Start) -> None:
    start("--loss", "piwsl")
    found = metrics([{"energy": -100.0}, {"energy": -200.0}])
    assert "rmse_f" not in found
    assert found["rmse_e"] > 0


def plot(folder: Path) -> list[Path]:
    """What MACE plots at the end of a training on energies alone."""
    from mace.cli.visualise_train import TrainingPlotter
    from mace.tools import torch_geometric

    items = make_items(molecules(), labels=[{"energy": -100.0}, {"energy": -200.0}])
    batches = torch_geometric.dataloader.DataLoader(items, batch_size=2, shuffle=False)
    log = folder / "run.txt"
    log.write_text(
        '{"mode": "eval", "epoch": 0, "head": "Default", "loss": 1.0, "rmse_e_per_atom": 0.5}\n'
        '{"mode": "opt", "epoch": 0, "loss": 2.0}\n'
    )
    plotter = TrainingPlotter(
        results_dir=str(log),
        heads=["Default"],
        table_type="PerAtomRMSE",
        train_valid_data={"train_Default": batches, "valid_Default": batches},
        test_data={},
        output_args={"forces": True},
        device="cpu",
        plot_frequency=1,
    )
    plotter.plot(0, make_model(), rank=0)
    return sorted(folder.glob("*.png"))


def test_energies_alone_are_plotted(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    # newer versions of matplotlib stop at the name of the curve before MACE looks for the forces
    with pytest.raises((KeyError, ValueError), match=r"rmse_f|label must be scalar"):
        plot(tmp_path)
    start("--loss", "piwsl")
    (figure,) = plot(tmp_path)
    assert figure.stat().st_size > 10_000
