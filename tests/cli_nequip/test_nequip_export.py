"""Packaged and compiled, the model of a PIWSL run works where this package is not installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase.io
import pytest
from exports import Answers, ask, check_equal, molecule_and_cell
from nequip_commands import NEQUIP_COMPILE, Trained, train
from processes import PYTHON, BareEnvironment, execute

COMPILE = ("--mode", "aotinductor", "--device", "cpu", "--target", "ase")
FILE = "data.split_dataset.file_path"


@pytest.fixture(scope="module")
def checkpoint(short_run: Trained) -> Path:
    return short_run.output / "best.ckpt"


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return molecule_and_cell(tmp_path_factory.mktemp("frames") / "frames.xyz")


@pytest.fixture(scope="module")
def reference(checkpoint: Path, frames: Path) -> Answers:
    """What the checkpoint answers, where this package is installed."""
    return ask(frames, {checkpoint: "nequip"})


def test_a_packaged_model_is_the_checkpoint(
    package: Path, reference: Answers, frames: Path, bare: BareEnvironment
) -> None:
    answers = ask(frames, {package: "nequip"}, bare)
    check_equal(answers[package.name], reference["best.ckpt"], 1e-9)


def evaluate(folder: Path, data: dict[str, Any], *models: Path) -> dict[str, Any]:
    """Numbers of `piwsl evaluate`, by the model's file."""
    words = ["--data", str(data[FILE]), "--probes", "1", "--nve-steps", "10"]
    command = [PYTHON, "-m", "piwsl_plugins", "evaluate", *map(str, models), *words]
    done = execute([*command, "--output", str(folder)], folder.parent)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["models"]
    return {Path(model["file"]).name: model for model in found.values()}


def test_the_evaluation_measures_checkpoint_and_package_alike(
    checkpoint: Path, package: Path, data: dict[str, Any], tmp_path: Path
) -> None:
    found = evaluate(tmp_path / "report", data, checkpoint, package)
    assert [model["kind"] for model in found.values()] == ["checkpoint", "package"]
    assert all(model["dtype"] == "float64" for model in found.values())
    one, two = (model["test_sets"]["few"]["energy_mev"] for model in found.values())
    assert one["rmse"] == pytest.approx(two["rmse"], rel=1e-9)
    assert one["max"] < 5000.0
    assert found["best.ckpt"]["test_sets"]["few"]["force_mev_per_angstrom"] is None
    assert found["best.ckpt"]["finite_differences"]["max_error_mev_per_angstrom"] < 0.01
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "metrics.csv" in page


def in_cells(path: Path, molecules: Path) -> Path:
    """The same atoms in cells in which they see their images."""
    found = list(ase.io.iread(molecules, index=":"))
    for atoms in found:
        atoms.set_cell([4.4, 4.6, 4.8])
        atoms.pbc = True
    ase.io.write(path, found)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("what", ["molecules", "cells"])
def test_a_model_trained_on_molecules_or_cells_is_its_checkpoint_when_compiled(
    what: str, data: dict[str, Any], frames: Path, bare: BareEnvironment, tmp_path: Path
) -> None:
    file = data[FILE] if what == "molecules" else in_cells(tmp_path / "few.xyz", data[FILE])
    one_layer = {"training_module.model.num_layers": 1}  # half the time to compile
    run = train(tmp_path, {**data, **one_layer, FILE: file})
    checkpoint, model = run.output / "best.ckpt", run.output / "out.nequip.pt2"
    done = execute([*NEQUIP_COMPILE, str(checkpoint), str(model), *COMPILE], run.output)
    assert done.returncode == 0, done.stderr
    expected = ask(frames, {checkpoint: "nequip"})[checkpoint.name]
    check_equal(ask(frames, {model: "nequip"}, bare)[model.name], expected, 1e-9)
    if what == "molecules":
        (found,) = evaluate(tmp_path / "report", data, model).values()
        assert found["kind"] == "compiled (AOTInductor)"
        assert found["dtype"] == "float64"
