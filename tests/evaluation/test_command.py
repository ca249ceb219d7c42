"""`piwsl evaluate` from its words to its report, with ASE's calculators in the place of models."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import stand_in
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from piwsl_plugins.cli import main
from piwsl_plugins.evaluation import measure
from piwsl_plugins.models import LoadedModel

FAST = ("--probes", "2", "--nve-steps", "12")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, and with files that stand for models."""
    stand_in.install(monkeypatch.setattr)
    monkeypatch.chdir(tmp_path)
    for name in ("good.model", "soft.model", "absent.ckpt", "other.ckpt"):
        (tmp_path / name).touch()
    crystals = [bulk("Cu", cubic=True) for _ in range(2)]
    for number, atoms in enumerate(crystals):
        atoms.rattle(0.05, seed=number)
    molecules = stand_in.rattled("CH4", "CH4", "H2O", "CO")
    for name, structures in (("molecules", molecules), ("copper", crystals)):
        frames = stand_in.labelled(structures, EMT())
        for frame in frames:
            frame.atoms.info["config_type"] = "odd" if frame.number % 2 else "even"
            for label, value in frame.labels.items():
                own = frame.atoms.arrays if label == "forces" else frame.atoms.info
                own[f"REF_{label}"] = value
        if name == "molecules":
            del frames[0].atoms.info["REF_energy"]
        write(tmp_path / f"{name}.xyz", [frame.atoms for frame in frames])
    return tmp_path


def run(*words: str) -> int:
    return main(["evaluate", *words])


def read(folder: Path) -> tuple[dict[str, Any], str]:
    """The numbers and the page."""
    output = folder / "piwsl-evaluation"
    numbers = json.loads((output / "evaluation.json").read_text("utf-8"))
    return numbers, (output / "report.html").read_text("utf-8")


def test_models_stand_side_by_side_in_table_json_and_page(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", "molecules.xyz", "--data", "Cu=copper.xyz"]
    words += ["--reference", "ase.calculators.emt.EMT", *FAST]
    assert run("good.model", "worse=soft.model", *words) == 0
    printed = capsys.readouterr().out
    assert "molecules.xyz: energy: 'REF_energy' (eV), 3 of 4 frames; forces" in printed
    assert "energy RMSE (meV)" in printed
    assert "stress RMSE (GPa)" in printed
    found, page = read(folder)
    assert list(found["models"]) == ["good", "worse"]
    assert found["data"]["molecules"]["frames"] == 4
    good, worse = found["models"].values()
    molecules, copper = good["test_sets"].values()
    assert molecules["energy_mev"]["n"] == 3
    assert molecules["energy_mev"]["max"] < 1e-3
    assert molecules["stress_gpa"] is None
    assert copper["stress_gpa"]["rmse"] == pytest.approx(0.0, abs=1e-6)
    assert copper["stress_gpa"]["n"] == 12
    assert set(molecules["force_by_element"]) == {"C", "H", "O"}
    assert set(molecules["by_config_type"]) == {"even", "odd"}
    assert good["work"]["n_sides"] == 6
    assert good["work"]["ratio"] < 1e-3
    assert good["nve"]["drift_mev_per_atom_per_ps"] is not None
    assert good["curvature"]["slope"] == pytest.approx(1.0)
    assert worse["curvature"]["slope"] != pytest.approx(1.0, rel=0.1)
    assert worse["test_sets"]["molecules"]["force_mev_per_angstrom"]["rmse"] > 100

    assert page.count('src="data:image/svg+xml;base64,') >= 7
    bare = re.sub(r'src="data:[^"]*', "", page)  # which asks nobody for anything
    assert not re.search("http|src=|<script|<link|<iframe", bare)
    assert set(re.findall('href="#(.*?)"', bare)) <= set(re.findall('id="(.*?)"', bare))
    assert len(page) < 2_000_000


def test_frames_without_forces_have_energies_alone_and_an_earlier_report_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (folder / "molecules.xyz").read_text(encoding="utf-8")
    (folder / "plain.xyz").write_text(text.replace("REF_forces", "other"), encoding="utf-8")
    words = ("good.model", "--data", "plain.xyz", "--quick")
    assert run(*words) == 0
    found, page = read(folder)
    good = found["models"]["good"]
    assert good["work"] is good["nve"] is None
    (errors,) = good["test_sets"].values()
    assert errors["energy_mev"]["n"] == 3
    assert errors["force_mev_per_angstrom"] is errors["force_slope"] is None
    assert "Force components" not in page
    assert "Softening" not in page
    assert run(*words) == 2
    assert "is there already; --force overwrites" in capsys.readouterr().err
    assert run(*words, "--force") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere.xyz"], "nowhere.xyz: there is no such file"),
        (["--data", "molecules.xyz", "--quick", "--reference", "a.b"], "needs frames to probe"),
        (["--data", "molecules.xyz", "--probes", "-1"], "probes: got -1, expected a"),
        (["--data", "molecules.xyz", "--output", "good.model"], "File exists: 'good.model'"),
        (["--data", "molecules.xyz", "--reference", "a.B"], "--reference a.B: ModuleNotFound"),
    ],
)
def test_a_mistake_is_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run("good.model", *words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("piwsl evaluate: error: ")
    assert message in error
    assert not (folder / "piwsl-evaluation" / "report.html").exists()


def test_an_element_that_a_model_does_not_know_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = LoadedModel(EMT(), None, frozenset({"C", "H"}), 5.0)
    monkeypatch.setattr(measure, "load", lambda *_, **__: loaded)
    assert run("good.model", "--data", "molecules.xyz") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "molecules.xyz, frame 2 holds O; the model 'good' knows only C, H" in error


@pytest.fixture
def other_python(folder: Path) -> Path:
    """A virtual environment with NequIP, of which nothing but the program is there."""
    program = folder / "venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    own = [sys.executable, stand_in.__file__]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(own)} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program


def test_a_model_of_the_other_host_is_measured_by_the_other_python(
    folder: Path, other_python: Path
) -> None:
    words = ("--data", "molecules.xyz", "--reference", "good.model", *FAST)
    assert run("other.ckpt", "good.model", *words, "--environment", "nequip=venv") == 0
    other, good = read(folder)[0]["models"].values()
    assert (other["host"], good["host"]) == ("NequIP", "MACE")
    assert good["curvature"]["slope"] == pytest.approx(1.0)
    for key in ("test_sets", "curvature", "work", "nve"):
        assert other[key] == good[key]  # the same calculator: handed over to the last digit


@pytest.mark.parametrize(
    ("version", "environment", "message"),
    [
        (measure.__version__, "nequip=venv", "absent.ckpt: it is not there"),
        (measure.__version__, "", "NequIP is not installed here, and absent needs it; name the"),
        (measure.__version__, "nequip=good.model", "this Python does not run"),
        ("99.0", "nequip=venv", "it needs piwsl-plugins 99.0, and has "),
    ],
)
def test_what_is_wrong_with_another_python_is_told_once(
    folder: Path,
    other_python: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    environment: str,
    message: str,
) -> None:
    words = ["--environment", environment] if environment else []
    monkeypatch.setattr(measure, "__version__", version)
    assert run("absent.ckpt", "--data", "molecules.xyz", *words) == 2
    error = capfd.readouterr().err
    assert error.count("error: ") == 1
    assert message in error
