"""Training curves are means over epochs, found beside the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from piwsl_plugins.evaluation.training_logs import find_log, read_log

TAYLOR = {"piwsl_taylor": 0.1, "piwsl_taylor_weight": 10.0}
MACE = [
    {"loss": 9.0, "rmse_e": 0.5, "mode": "eval", "epoch": None},
    {"loss": 2.0, "mode": "opt", "epoch": 0, "base_loss": 1.0, **TAYLOR},
    {"loss": 4.0, "mode": "opt", "epoch": 0, "base_loss": 3.0, **TAYLOR},
    {"loss": 1.0, "rmse_e": 0.25, "rmse_f": 0.5, "mode": "eval", "epoch": 0, "head": "Default"},
    {"loss": 1.0, "rmse_e": 0.75, "mode": "eval", "epoch": 0, "head": "pt"},
]
STEP = "train_loss_step"
NEQUIP = f"""epoch,step,{STEP}/piwsl_taylor,{STEP}/weighted_sum,val0_epoch/forces_rmse
0,1,0.1,1.0,
0,2,0.3,3.0,
0,2,,,0.5
1,3,nan,2.0,
"""


def mace_log(folder: Path, name: str = "mine") -> Path:
    path = folder / "results" / f"{name}_run-3_train.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(json.dumps(record) for record in MACE), encoding="utf-8")
    return path


def nequip_log(folder: Path, version: int = 0, text: str = NEQUIP) -> Path:
    path = folder / "csv" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_terms_of_mace_bear_their_weights_and_add_up(tmp_path: Path) -> None:
    log = read_log(mace_log(tmp_path))
    expected = {"loss": {0: 3.0}, "base_loss": {0: 2.0}, "piwsl_taylor × weight": {0: 1.0}}
    assert log.loss.to_dict() == expected
    assert log.validation.to_dict() == {
        "energy RMSE (eV)": {0: 0.25},
        "force RMSE (eV/Å)": {0: 0.5},
        "energy RMSE (eV), head pt": {0: 0.75},
    }


def test_steps_of_nequip_are_averaged_over_epochs(tmp_path: Path) -> None:
    log = read_log(nequip_log(tmp_path))
    assert log.loss["loss"].to_dict() == {0: 2.0, 1: 2.0}
    assert log.loss["piwsl_taylor"].dropna().to_dict() == {0: 0.2}
    assert log.validation.to_dict() == {"force RMSE (eV/Å)": {0: 0.5}}


def test_versions_that_restarts_leave_are_one_log(tmp_path: Path) -> None:
    nequip_log(tmp_path)
    later = nequip_log(tmp_path, 1, "epoch,train_loss_step/weighted_sum\n2,1.5\n")
    assert read_log(later).loss["loss"].to_dict() == {0: 2.0, 1: 2.0, 2: 1.5}


def test_the_log_of_a_mace_model_is_found_by_its_name(tmp_path: Path) -> None:
    models = ["mine.model", "mine_compiled.model", "checkpoints/mine_run-3.model"]
    mace_log(tmp_path, "another")
    assert [find_log(tmp_path / model) for model in models] == [None] * 3
    log = mace_log(tmp_path)
    assert [find_log(tmp_path / model) for model in models] == [log] * 3


@pytest.mark.parametrize("name", ["notes.txt", "table.csv"])
def test_another_file_is_no_log(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(ValueError, match=r"this is not a training log .*[Nn]o"):
        read_log(path)
    path.write_text("what,ever\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="this is not a training log"):
        read_log(path)
