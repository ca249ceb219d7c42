"""Energies that MACE reads from its own HDF5 files, as `mace_prepare_data` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import check_terms, in_fork, start_training, train, words
from processes import PYTHON


@pytest.fixture(scope="module")
def prepared(
    data: dict[str, Any], atoms_energies: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The frames as HDF5 files."""
    folder = tmp_path_factory.mktemp("prepared")
    options = {**data, "r_max": 3.5, "h5_prefix": "h5/", "num_process": 1, "seed": 1}
    program = Path(PYTHON).with_name("mace_prepare_data")
    done = in_fork([str(program), *words(options)], folder)
    assert done.returncode == 0, done.stderr
    return {
        "train_file": folder / "h5" / "train" / "train_0.h5",
        "valid_file": folder / "h5" / "val" / "val_0.h5",
        "atomic_numbers": "[1, 6, 8]",
        "E0s": atoms_energies,
        "loss": "piwsl",
        "piwsl_max_displacement": 0.3,
    }


def test_energies_in_hdf5_train_with_the_terms(prepared: dict[str, Any], tmp_path: Path) -> None:
    run = train(tmp_path, prepared)
    assert len(run.steps) == 6
    for step in run.steps:
        check_terms(step, "taylor", "conservative")
    for record in run.validations:
        assert record["loss"] == pytest.approx(1000.0 * record["rmse_e_per_atom"] ** 2 / 4)


def test_scaling_by_forces_that_the_hdf5_file_does_not_have_is_refused(
    prepared: dict[str, Any], tmp_path: Path
) -> None:
    run = start_training(tmp_path, {**prepared, "scaling": "rms_forces_scaling"})
    assert run.status != 0
    assert "12 of 12 training frames have none" in run.stderr
    assert "--scaling std_scaling" in run.stderr
    assert "Traceback" not in run.stderr
    assert run.models == []
