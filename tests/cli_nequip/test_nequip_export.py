"""Packaged and compiled, the model of a PIWSL run works where this package is not installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from nequip_commands import NEQUIP_COMPILE, NEQUIP_PACKAGE, Trained
from processes import PYTHON, BareEnvironment, execute

USE = """
import json, sys
import ase.io
from nequip.integrations.ase import NequIPCalculator
try:
    import piwsl_plugins
except ModuleNotFoundError:
    installed = False
else:
    installed = True
frames = ase.io.read(sys.argv[1], index="12:")
for path in sys.argv[2:]:
    compiled = path.endswith(".pt2")
    load = NequIPCalculator.from_compiled_model if compiled else NequIPCalculator._from_saved_model
    calculator = load(path, device="cpu")
    for atoms in frames:
        atoms.calc = calculator
    energies = [atoms.get_potential_energy() for atoms in frames]
    forces = [atoms.get_forces().tolist() for atoms in frames]
    found = {"installed": installed, "path": path, "energies": energies, "forces": forces}
    print(json.dumps(found))
"""


def use(text: str) -> dict[str, dict[str, Any]]:
    """What USE has printed, by the model's file."""
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {Path(entry["path"]).name: entry for entry in found}


@pytest.fixture(scope="module")
def checkpoint(short_run: Trained) -> Path:
    return short_run.output / "best.ckpt"


@pytest.fixture(scope="module")
def reference(checkpoint: Path, data: dict[str, Any]) -> dict[str, Any]:
    """Energies and forces of the checkpoint, where this package is installed."""
    few = str(data["data.split_dataset.file_path"])
    done = execute([PYTHON, "-c", USE, few, str(checkpoint)], checkpoint.parent)
    assert done.returncode == 0, done.stderr
    found = use(done.stdout)[checkpoint.name]
    assert found["installed"]
    energies = [atoms.info["REF_energy"] for atoms in ase.io.iread(few, index="12:")]
    assert found["energies"] == pytest.approx(energies, abs=5.0)
    assert np.abs(np.array(found["forces"])).max() > 1e-4
    return found


def check_without_package(
    bare: BareEnvironment, data: dict[str, Any], model: Path, reference: dict[str, Any]
) -> None:
    few = str(data["data.split_dataset.file_path"])
    done = bare.run("-c", USE, few, str(model))
    assert done.returncode == 0, done.stderr
    found = use(done.stdout)[model.name]
    assert not found["installed"]
    assert found["energies"] == pytest.approx(reference["energies"], abs=1e-9)
    np.testing.assert_allclose(found["forces"], reference["forces"], rtol=0.0, atol=1e-9)


@pytest.fixture(scope="module")
def package(checkpoint: Path) -> Path:
    model = checkpoint.with_name("out.nequip.zip")
    command = [*NEQUIP_PACKAGE, "build", str(checkpoint), str(model)]
    done = execute(command, checkpoint.parent)
    assert done.returncode == 0, done.stderr
    return model


def test_a_packaged_model_is_the_checkpoint(
    package: Path, reference: dict[str, Any], data: dict[str, Any], bare: BareEnvironment
) -> None:
    check_without_package(bare, data, package, reference)


def evaluate(folder: Path, data: dict[str, Any], *models: Path) -> dict[str, Any]:
    """Numbers of `piwsl evaluate`, by the model's file."""
    few = str(data["data.split_dataset.file_path"])
    words = ["--data", few, "--probes", "1", "--nve-steps", "10", "--output", str(folder)]
    command = [PYTHON, "-m", "piwsl_plugins", "evaluate", *map(str, models), *words]
    done = execute(command, folder.parent)
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
    one, two = (model["test_sets"]["few"]["energy_mev"]["rmse"] for model in found.values())
    assert one == pytest.approx(two, rel=1e-9)
    assert found["best.ckpt"]["test_sets"]["few"]["force_mev_per_angstrom"] is None
    assert found["best.ckpt"]["finite_differences"]["max_error_mev_per_angstrom"] < 0.01
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "metrics.csv" in page


@pytest.mark.slow
def test_a_compiled_model_is_the_checkpoint(
    checkpoint: Path,
    reference: dict[str, Any],
    data: dict[str, Any],
    bare: BareEnvironment,
    tmp_path: Path,
) -> None:
    model = checkpoint.with_name("out.nequip.pt2")
    how = ["--mode", "aotinductor", "--device", "cpu", "--target", "ase"]
    done = execute([*NEQUIP_COMPILE, str(checkpoint), str(model), *how], checkpoint.parent)
    assert done.returncode == 0, done.stderr
    check_without_package(bare, data, model, reference)
    (found,) = evaluate(tmp_path / "report", data, model).values()
    assert found["kind"] == "compiled (AOTInductor)"
    assert found["dtype"] == "float64"
