"""Files of MACE's models are told apart, load as ASE calculators, and pass through the command."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import write
from small_mace import ELEMENTS, make_model, molecules

from piwsl_plugins.cli import main
from piwsl_plugins.hosts.calculators import identify, load


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mace.tools  # noqa: F401  before e3nn, whose constants load by a setting of MACE's

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    path = tmp_path_factory.mktemp("models") / "small.model"
    torch.save(make_model(), path)
    torch.set_default_dtype(before)
    return path


@pytest.fixture(scope="module")
def compiled(whole: Path) -> Path:
    """The same, as MACE writes it beside the first."""
    from e3nn.util import jit

    path = whole.with_name("small_compiled.model")
    torch.jit.save(jit.compile(torch.load(whole, weights_only=False)), path)
    return path


def test_a_model_knows_its_elements_and_number_format(whole: Path) -> None:
    found = identify(whole)
    assert (found.host, found.kind) == ("MACE", "model")
    loaded = load(found)
    assert loaded.dtype == "float64"
    assert len(loaded.elements) == len(ELEMENTS)
    assert {"H", "C", "Cl"} <= loaded.elements
    assert load(found, dtype="float32").dtype == "float32"


def test_a_compiled_model_is_the_model(whole: Path, compiled: Path) -> None:
    assert identify(compiled).kind == "TorchScript"
    (atoms, _), answers = molecules(), []
    for path in (whole, compiled):
        atoms.calc = load(identify(path)).calculator
        answers.append((atoms.get_potential_energy(), atoms.get_forces()))
    assert answers[1][0] == pytest.approx(answers[0][0], abs=1e-9)
    np.testing.assert_allclose(answers[1][1], answers[0][1], atol=1e-9)


def test_a_checkpoint_says_which_file_is_meant(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "small_run-1_epoch-3.pt"
    state = torch.load(whole, weights_only=False).state_dict()
    torch.save({"model": state, "optimizer": {}, "lr_scheduler": {}}, path)
    with pytest.raises(ValueError, match=r"give the file small\.model"):
        identify(path)


def test_a_file_that_is_damaged_or_that_mace_cannot_load_is_named(
    whole: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.model"
    broken.write_bytes(whole.read_bytes().replace(b"ScaleShiftMACE", b"ScaleShiftMICE"))
    with pytest.raises(ValueError, match=r"broken\.model: the file is damaged: "):
        identify(broken)
    with zipfile.ZipFile(broken, "w") as file:
        file.writestr("x/data.pkl", b"cmace.modules.models\nNoSuchModel\n.")
    with pytest.raises(ValueError, match=r"broken\.model: MACE cannot load it: "):
        load(identify(broken))


def test_the_command_measures_both_files_alike(
    whole: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = molecules()
    for atoms in frames:
        atoms.info["REF_energy"] = -1.0
        atoms.arrays["REF_forces"] = 0.1 * atoms.positions
    write(tmp_path / "test.xyz", frames)
    monkeypatch.chdir(tmp_path)
    words = ["--data", "test.xyz", "--probes", "1", "--nve-steps", "10"]
    assert main(["evaluate", str(whole), str(compiled), *words]) == 0
    text = (tmp_path / "piwsl-evaluation" / "evaluation.json").read_text(encoding="utf-8")
    one, two = json.loads(text)["models"].values()
    assert (one["kind"], two["kind"]) == ("model", "TorchScript")
    errors = [model["test_sets"]["test"]["force_mev_per_angstrom"]["rmse"] for model in (one, two)]
    assert errors[0] == pytest.approx(errors[1])
    assert one["loops"]["ratio"] < 1e-4
    assert one["finite_differences"]["max_error_mev_per_angstrom"] < 0.01
