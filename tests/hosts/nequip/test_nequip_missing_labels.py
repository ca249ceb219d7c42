"""Validation and test errors where frames lack labels: those of the frames that have them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ase
import lightning
import pytest
import torch
from nequip.data.datamodule import ASEDataModule
from nequip.train import NequIPLightningModule
from small_nequip import (
    PLAIN_LOSS,
    data_config,
    fit,
    loss_config,
    many_molecules,
    module,
    module_config,
    with_forces,
    write_frames,
)

from piwsl_plugins.hosts.nequip import PiwslASEDataModule

LABELLED = (1, 4)
ERRORS = ("per_atom_energy_rmse", "total_energy_mae", "forces_rmse", "forces_mae")


def frames_with_forces(which: Any = LABELLED) -> list[ase.Atoms]:
    return with_forces(many_molecules(), which)


def validation(training: Any, data: Any) -> dict[str, float]:
    return {
        name.removeprefix("val0_epoch/"): value
        for name, value in fit(training, data).epochs[0].items()
        if name.startswith("val0_epoch/")
    }


def metrics(**coeffs: float | None) -> dict[str, Any]:
    return {"val_metrics": {"_target_": "nequip.train.EnergyForceMetrics", "coeffs": coeffs}}


def ours(train: Path, val: Path, **changes: Any) -> dict[str, float]:
    changes.setdefault("loss", loss_config("none"))
    training = module("PiwslLightningModule", {}, learning_rate=0.0, **changes)
    return validation(training, PiwslASEDataModule(piwsl=False, **data_config(train, val)))


def test_errors_of_forces_are_the_hosts_over_the_frames_that_have_them(tmp_path: Path) -> None:
    frames = frames_with_forces()
    whole = write_frames(tmp_path / "whole.xyz", frames)
    known = write_frames(tmp_path / "known.xyz", [frames[i] for i in LABELLED])
    weights = {"per_atom_energy_rmse": 1.0, "forces_rmse": 1.0}
    found = ours(whole, whole, **metrics(**weights))
    host = NequIPLightningModule(
        **module_config(None, loss=PLAIN_LOSS, learning_rate=0.0, **metrics(**weights))
    )
    expected = validation(host, ASEDataModule(**data_config(known)))
    for name in ("forces_rmse", "forces_mae", "forces_maxabserr"):
        assert found[name] == pytest.approx(expected[name], rel=1e-12)
    assert all(math.isfinite(value) for value in found.values())
    mean = (found["per_atom_energy_rmse"] + found["forces_rmse"]) / 2
    assert found["weighted_sum"] == pytest.approx(mean)


def test_the_host_alone_has_no_number_for_them(tmp_path: Path) -> None:
    whole = write_frames(tmp_path / "whole.xyz", frames_with_forces())
    host = NequIPLightningModule(**module_config(None, loss=PLAIN_LOSS, **metrics(forces_rmse=1.0)))
    data = PiwslASEDataModule(piwsl=False, **data_config(whole))
    assert math.isnan(validation(host, data)["forces_rmse"])


def test_with_all_labels_the_errors_are_the_hosts_to_the_last_bit(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "all.xyz", frames_with_forces(range(6)))
    how = {"learning_rate": 0.0, **metrics(forces_rmse=1.0)}
    found = validation(
        module("PiwslLightningModule", {}, loss=loss_config("none"), **how),
        PiwslASEDataModule(piwsl=False, **data_config(path)),
    )
    host = NequIPLightningModule(**module_config(None, loss=PLAIN_LOSS, **how))
    assert found == validation(host, ASEDataModule(**data_config(path)))


def test_a_process_without_a_label_can_meet_one_that_has_some() -> None:
    training = module(**metrics(forces_rmse=1.0))
    (entries,) = training.val_metrics
    metric = entries["forces_rmse"]
    assert metric.metric_state["sum"].dtype == torch.float64
    metric.update(torch.ones(2), torch.zeros(2))
    assert metric.metric_state["sum"].dtype == torch.float64
    metric.reset()
    assert metric.metric_state["sum"].dtype == torch.float64


def test_an_error_of_a_label_that_no_frame_has_is_refused_before_training(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "energies.xyz", many_molecules())
    expected = (
        r"training_module\.val_metrics: forces_rmse reads the label forces, and none of the 6 "
        r"validation frames has it"
    )
    with pytest.raises(ValueError, match=expected):
        ours(path, path, **metrics(total_energy_rmse=1.0))
    with pytest.raises(ValueError, match=r"training_module\.loss: forces_mse .* 6 training frames"):
        ours(path, path, loss=loss_config("none", forces=1.0))


def test_the_test_set_is_looked_at_too(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "energies.xyz", many_molecules())
    training = module(
        loss=loss_config("none"),
        num_datasets={"train": 1, "val": 1, "test": 1, "predict": 0},
        test_metrics={"_target_": "nequip.train.EnergyForceMetrics"},
    )
    data = PiwslASEDataModule(
        piwsl=False,
        test_file_path=str(path),
        test_dataloader={"_target_": "torch.utils.data.DataLoader", "batch_size": 2},
        **data_config(path),
    )
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, inference_mode=False
    )
    with pytest.raises(ValueError, match=r"test_metrics: forces_rmse .* none of the 6 test frames"):
        trainer.test(training, datamodule=data)


def test_a_loss_of_the_hosts_that_would_be_nan_is_told_ours(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "whole.xyz", frames_with_forces())
    term = {"metric": {"_target_": "piwsl_plugins.hosts.nequip.PiwslTerm", "term": "taylor"}}
    loss = {
        "_target_": "nequip.train.EnergyForceLoss",
        "extra_metrics": [{**term, "coeff": 0.05}],
    }
    with pytest.raises(ValueError, match=r"4 of the 6 training frames lack .* forces.*PiwslLoss"):
        ours(path, path, loss=loss)


def test_an_error_of_each_type_that_cannot_leave_frames_out_is_refused(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "whole.xyz", frames_with_forces())
    entry = {
        "name": "by_type",
        "field": "forces",
        "per_type": True,
        "metric": {"_target_": "nequip.train.MeanAbsoluteError"},
    }
    manager = {"_target_": "nequip.train.MetricsManager", "metrics": [entry]}
    with pytest.raises(ValueError, match=r"4 of the 6 validation frames lack .*by_type cannot"):
        ours(path, path, val_metrics=manager)
