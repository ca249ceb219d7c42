"""Validation and test errors where frames lack labels: those of the frames that have them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from nequip.train import NequIPLightningModule
from small_nequip import (
    PLAIN_LOSS,
    data_of,
    fit,
    formaldehydes,
    host_data,
    loss_config,
    module,
    module_config,
    write_frames,
)

LABELLED = (1, 4)
METRICS = "EnergyForceMetrics"


def validation(training: Any, data: Any) -> dict[str, float]:
    return {k: v for k, v in fit(training, data).epoch.items() if k.startswith("val0_epoch/")}


def ours(path: Path, **changes: Any) -> dict[str, float]:
    changes = {"loss": loss_config(), "metrics": METRICS, **changes}
    return validation(module(**changes), data_of(path))


def hosts(data: Any) -> dict[str, float]:
    config = module_config(None, loss=PLAIN_LOSS, metrics=METRICS)
    return validation(NequIPLightningModule(**config), data)


def test_errors_of_forces_are_the_hosts_over_the_frames_that_have_them(tmp_path: Path) -> None:
    frames = formaldehydes(forces=LABELLED)
    whole = write_frames(tmp_path / "whole.xyz", frames)
    known = write_frames(tmp_path / "known.xyz", [frames[i] for i in LABELLED])
    found, expected = ours(whole), hosts(host_data(known))
    for name in ("forces_rmse", "forces_mae", "forces_maxabserr"):
        error = found[f"val0_epoch/{name}"]
        assert error == pytest.approx(expected[f"val0_epoch/{name}"], rel=1e-12)
    assert all(math.isfinite(value) for value in found.values())
    assert math.isnan(hosts(data_of(whole))["val0_epoch/forces_rmse"])
    path = write_frames(tmp_path / "all.xyz", formaldehydes(forces=range(6)))
    assert ours(path) == hosts(host_data(path))  # with all labels, to the last bit


def test_labels_that_no_frame_has_are_asked_for_before_training(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "energies.xyz", formaldehydes())
    with pytest.raises(ValueError, match=r"val_metrics: forces_rmse .* forces, and 0 of the 6 fra"):
        ours(path)
    with pytest.raises(ValueError, match=r"training_module\.loss: forces_mse .* 0 of the 6 frames"):
        ours(path, loss=loss_config(forces=1.0), metrics="EnergyOnlyMetrics")
    training = module(
        loss=loss_config(),
        num_datasets={"train": 1, "val": 1, "test": 1, "predict": 0},
        test_metrics={"_target_": "nequip.train.EnergyForceMetrics"},
        info_dict={"runs": ["train", "test"]},
    )
    with pytest.raises(ValueError, match=r"test_metrics: forces_rmse .* 0 of the 6 frames have it"):
        fit(training, data_of(path, test_file_path=str(path), allow_overlap=True))


def test_entries_that_would_be_nan_are_refused(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "whole.xyz", formaldehydes(forces=LABELLED))
    term = {"metric": {"_target_": "piwsl_plugins.hosts.nequip.PiwslTerm", "term": "taylor"}}
    extra = {"extra_metrics": [{**term, "coeff": 0.05}]}
    with pytest.raises(ValueError, match=r"loss: forces_mse .* 2 of the 6 frames have it.*PiwslL"):
        ours(path, loss={"_target_": "nequip.train.EnergyForceLoss", **extra})
    mean = {"_target_": "nequip.train.MeanAbsoluteError"}
    entry = {"name": "by_type", "field": "forces", "per_type": True, "metric": mean}
    manager = {"_target_": "nequip.train.MetricsManager", "metrics": [entry]}
    with pytest.raises(ValueError, match=r"val_metrics: by_type .* 2 of the 6 frames have it"):
        ours(path, val_metrics=manager)
