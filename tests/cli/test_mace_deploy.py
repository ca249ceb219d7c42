"""A foundation model, fine-tuned to energies, runs in ASE and LAMMPS by every route of MACE's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from commands import PIWSL, Trained, in_fork, train
from exports import CUEQUIVARIANCE, Answers, ask, check_equal, molecule_and_cell
from lammps_files import check_forces, data_file, input_file, outcome, print_line
from processes import BareEnvironment, execute

from piwsl_plugins.cli import main
from piwsl_plugins.hosts.calculators import identify, load

pytestmark = [
    # e3nn 0.4.4 and MACE load files and use TorchScript in ways that torch deprecates
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
EXPORT = str(Path(sys.executable).with_name("mace_create_lammps_model"))
ELEMENTS = ("H", "C", "O")


@pytest.fixture(scope="module")
def fine_tuned(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small foundation model, and one that starts from its file and sees energies alone."""
    folder = tmp_path_factory.mktemp("deploy")
    options = {**data, "max_num_epochs": 1}
    before = train(folder / "1", {**options, "loss": "weighted", "name": "foundation"})
    model = before.folder / "foundation.model"
    return train(folder / "2", {**options, "loss": "piwsl", "foundation_model": model, "lr": 0.001})


@pytest.fixture(scope="module")
def frames(fine_tuned: Trained) -> Path:
    return molecule_and_cell(fine_tuned.folder / "frames.xyz")


@pytest.fixture(scope="module")
def expected(fine_tuned: Trained, frames: Path) -> Answers:
    """What the model that training has left answers where this package is installed."""
    return ask(frames, {fine_tuned.folder / "run.model": "mace"})


@pytest.fixture(scope="module")
def answers(fine_tuned: Trained, frames: Path, bare: BareEnvironment) -> Answers:
    """What every export answers where this package is not installed."""
    model = fine_tuned.folder / "run.model"
    for done in (
        in_fork([EXPORT, str(model)], model.parent),
        execute([EXPORT, str(model), "--format=mliap"], model.parent, CUEQUIVARIANCE),
    ):
        assert done.returncode == 0, done.stderr
    files = {"run.model": "mace", "run_compiled.model": "mace", "run.model-lammps.pt": "pair_mace"}
    models = {fine_tuned.folder / name: kind for name, kind in files.items()}
    unified = {fine_tuned.folder / "run.model-mliap_lammps.pt": "mliap"}
    return ask(frames, models, bare) | ask(frames, unified, bare, CUEQUIVARIANCE)


def test_the_model_has_the_weights_of_the_training(fine_tuned: Trained) -> None:
    saved = torch.load(fine_tuned.checkpoints[-1], weights_only=False)["model"]
    model = torch.load(fine_tuned.folder / "run.model", weights_only=False).state_dict()
    assert saved.keys() == model.keys()
    assert all(torch.equal(value, model[name]) for name, value in saved.items())


@pytest.mark.parametrize(
    "name", ["run.model", "run_compiled.model", "run.model-lammps.pt", "run.model-mliap_lammps.pt"]
)
def test_every_export_is_the_model_without_this_package(
    name: str, answers: Answers, expected: Answers
) -> None:
    check_equal(answers[name], expected["run.model"], 1e-6)


def test_lammps_runs_the_compiled_file_and_says_how_fast(
    fine_tuned: Trained, frames: Path, tmp_path: Path
) -> None:
    model, path = fine_tuned.folder / "run_compiled.model", tmp_path / "cell.in"
    lines = f"pair_style piwsl\npair_coeff * * {model} {' '.join(ELEMENTS)}\n"
    commands = f"velocity all create 300 1\nfix 1 all nve\nrun 20\n{print_line(path)}"
    cell = ase.io.read(frames, index=1)
    input_file(path, cell, commands, potential=lines, elements=ELEMENTS)
    done = execute([*PIWSL, "lammps", "-in", str(path)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Total wall time" in done.stdout
    assert "20 steps in " in done.stdout
    assert " timesteps/s; in dynamics " in done.stdout
    assert (tmp_path / "log.lammps").is_file()
    found = outcome(path, ELEMENTS)
    assert len(found.frames) == 21
    check_forces(found.frames[::10], load(identify(model)).calculator, 1e-6)


def test_drift_and_speed_are_measured(fine_tuned: Trained, repo_root: Path, tmp_path: Path) -> None:
    program = str(repo_root / "scripts" / "lammps_drift.py")
    words = [f"run={fine_tuned.folder / 'run.model'}", "--output", "out"]
    few = ["--steps", "1000", "--timed", "5", "--rounds", "1"]
    done = in_fork([program, *words, *few], tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert 0.0 < abs(found["drift_mev_per_atom_per_ps"]) < 1.0
    assert found["picoseconds"] == pytest.approx(0.5)
    assert found["ratio_lammps_to_ase"] > 0.0
    assert (tmp_path / "out" / "drift.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "style"),
    [("run.model-lammps.pt", "mace"), ("run.model-mliap_lammps.pt", "mliap unified")],
)
def test_exports_for_a_compiled_lammps_are_told_from_models(
    name: str, style: str, fine_tuned: Trained, answers: Answers
) -> None:
    with pytest.raises(ValueError, match=f"'pair_style {style}' of a compiled LAMMPS"):
        identify(fine_tuned.folder / name)


@pytest.mark.parametrize("name", ["nve", "nvt", "npt"])
def test_the_shipped_input_files_run(
    name: str,
    fine_tuned: Trained,
    frames: Path,
    repo_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = repo_root / "configs" / "lammps"
    data = folder / "formaldehyde.data"
    if name == "npt":
        data = data_file(tmp_path / "cell.data", ase.io.read(frames, index=1), ELEMENTS)
    words = ["-in", str(folder / f"{name}.in"), "-var", "data", str(data), "-screen", "none"]
    words += ["--model", str(fine_tuned.folder / "run.model"), "-var", "steps", "100"]
    assert main(["lammps", *words]) == 0
    if name == "nve":
        last = ase.io.read("nve.dump", index=-1, format="lammps-dump-text")
        assert last.get_chemical_symbols() == ["O", "C", "H", "H"]
        assert np.isfinite(last.get_forces()).all()
