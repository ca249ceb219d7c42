"""The model of a PIWSL run leaves by MACE's exporters, and works where this package is not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from commands import in_fork, train
from exports import CUEQUIVARIANCE, Answers, ask, check_equal, molecule_and_cell
from processes import BareEnvironment

EXPORT = str(Path(sys.executable).with_name("mace_create_lammps_model"))
FOR_PAIR_MACE, FOR_MLIAP = "run.model-lammps.pt", "run.model-mliap_lammps.pt"


@pytest.fixture(scope="module")
def model(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {**data, "loss": "piwsl_taylor", "max_num_epochs": 1}
    return train(tmp_path_factory.mktemp("exported"), options).folder / "run.model"


@pytest.fixture(scope="module")
def frames(model: Path) -> Path:
    return molecule_and_cell(model.with_name("frames.xyz"))


@pytest.fixture(scope="module")
def expected(model: Path, frames: Path) -> dict[str, Any]:
    """What ASE gets of the model where this package is installed."""
    return ask(frames, [model])[model.name]


@pytest.fixture(scope="module")
def answers(model: Path, frames: Path, bare: BareEnvironment) -> Answers:
    """What ASE and `pair_style mace` get where this package is not."""
    done = in_fork([EXPORT, str(model)], model.parent)
    assert done.returncode == 0, done.stderr
    names = (model.name, "run_compiled.model", FOR_PAIR_MACE)
    return ask(frames, [model.with_name(name) for name in names], bare)


@pytest.mark.parametrize("name", ["run.model", "run_compiled.model", FOR_PAIR_MACE])
def test_each_file_gives_the_energy_forces_and_virial_of_the_model(
    name: str, answers: Answers, expected: dict[str, Any]
) -> None:
    check_equal(answers[name], expected, 1e-9)


def test_for_mliap_it_is_exported_and_asked_where_this_package_is_not(
    model: Path, frames: Path, expected: dict[str, Any], bare: BareEnvironment
) -> None:
    words = (EXPORT, str(model), "--format=mliap")
    done = bare.run(*words, folder=model.parent, variables=CUEQUIVARIANCE)
    assert done.returncode == 0, done.stderr
    unified = model.with_name(FOR_MLIAP)
    check_equal(ask(frames, [unified], bare, CUEQUIVARIANCE)[FOR_MLIAP], expected, 1e-9)
