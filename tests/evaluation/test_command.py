"""`piwsl evaluate` from its words to its report, with ASE's calculators in the place of models."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import stand_in
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write

from piwsl_plugins.cli import main
from piwsl_plugins.evaluation import evaluate, jobs
from piwsl_plugins.hosts.calculators import LoadedModel

FAST = ("--probes", "2", "--nve-steps", "12")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, and with files that stand for models."""
    stand_in.install(monkeypatch.setattr)
    monkeypatch.chdir(tmp_path)
    for name in ("good.model", "soft.model", "absent.model", "other.ckpt", "absent.ckpt"):
        (tmp_path / name).touch()
    molecules = [molecule(name) for name in ("CH4", "CH4", "H2O", "CO")]
    crystals = [bulk("Cu", cubic=True) for _ in range(2)]
    for number, atoms in enumerate([*molecules, *crystals]):
        atoms.rattle(0.05, seed=number)
        atoms.calc = EMT()
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        if atoms.pbc.all():
            atoms.info["REF_stress"] = atoms.get_stress()
        atoms.info["config_type"] = "odd" if number % 2 else "even"
        atoms.calc = None
    del molecules[0].info["REF_energy"]
    write(tmp_path / "molecules.xyz", molecules)
    write(tmp_path / "copper.xyz", crystals)
    return tmp_path


def run(*words: str) -> int:
    return main(["evaluate", *words])


def read(folder: Path) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = (folder / "piwsl-evaluation" / "evaluation.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def test_models_stand_side_by_side_in_table_json_and_page(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", "molecules.xyz", "--data", "Cu=copper.xyz"]
    assert run("good.model", "worse=soft.model", *data, *FAST) == 0
    printed = capsys.readouterr().out
    assert "energy RMSE (meV)" in printed
    assert "stress RMSE (GPa)" in printed
    found = read(folder)
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
    assert good["loops"]["n_loops"] == 2
    assert good["finite_differences"]["max_error_mev_per_angstrom"] < 1e-3
    assert good["nve"]["drift_mev_per_atom_per_ps"] is not None
    assert good["curvature"] is None
    assert worse["test_sets"]["molecules"]["force_mev_per_angstrom"]["rmse"] > 100


def test_the_page_asks_for_nothing_outside_itself(folder: Path) -> None:
    assert run("good.model", "--data", "molecules.xyz", *FAST) == 0
    page = (folder / "piwsl-evaluation" / "report.html").read_text(encoding="utf-8")

    class Links(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.ids: set[str] = set()
            self.links: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            values = dict(attrs)
            self.ids.add(values.get("id") or "")
            self.links += [v for k, v in attrs if k in ("src", "href") and v]
            assert tag not in ("script", "link", "iframe")

    parser = Links()
    parser.feed(page)
    assert sum(link.startswith("data:image/svg+xml;base64,") for link in parser.links) >= 5
    assert {link[1:] for link in parser.links if link.startswith("#")} <= parser.ids
    assert all(link.startswith(("data:", "#")) for link in parser.links)
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)
    assert "No training log was found beside good" in page
    assert len(page) < 2_000_000


def test_a_reference_calculator_gives_the_slope_of_curvatures(folder: Path) -> None:
    words = ("--data", "molecules.xyz", "--reference", "ase.calculators.emt.EMT", *FAST)
    assert run("good.model", "soft.model", *words) == 0
    good, soft = read(folder)["models"].values()
    assert good["curvature"]["slope"] == pytest.approx(1.0)
    assert soft["curvature"]["slope"] != pytest.approx(1.0, rel=0.1)


def test_learning_curves_stand_in_the_page_where_there_is_a_table(folder: Path) -> None:
    rows = ["host,method,train_size,seed,force_rmse_mev_per_angstrom"]
    rows += [f"mace,plain,{size},1,{1000 / size}" for size in (50, 100)]
    (folder / "curves.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    words = ("good.model", "--data", "molecules.xyz", "--quick", "--learning-curves")
    assert run(*words, "curves.csv") == 0
    page = (folder / "piwsl-evaluation" / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="learning">' in page


def test_quick_leaves_out_what_takes_long(folder: Path) -> None:
    assert run("good.model", "--data", "molecules.xyz", "--quick") == 0
    (good,) = read(folder)["models"].values()
    assert good["loops"] is good["finite_differences"] is good["nve"] is None
    assert good["test_sets"]["molecules"]["secant_curvature"]["slope"] == pytest.approx(1.0)


def test_frames_without_forces_have_energies_alone(folder: Path) -> None:
    text = (folder / "molecules.xyz").read_text(encoding="utf-8")
    (folder / "plain.xyz").write_text(text.replace("REF_forces", "other"), encoding="utf-8")
    assert run("good.model", "--data", "plain.xyz", "--quick") == 0
    (errors,) = read(folder)["models"]["good"]["test_sets"].values()
    assert errors["energy_mev"]["n"] == 3
    assert errors["force_mev_per_angstrom"] is errors["force_slope"] is None
    page = (folder / "piwsl-evaluation" / "report.html").read_text(encoding="utf-8")
    assert "Force components" not in page
    assert "Softening" not in page


def test_an_earlier_report_is_kept_unless_told_otherwise(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("good.model", "--data", "molecules.xyz", "--quick")
    assert run(*words) == 0
    assert run(*words) == 2
    assert "are there already; --force overwrites" in capsys.readouterr().err
    assert run(*words, "--force") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere.xyz"], "nowhere.xyz: there is no such file"),
        (["--data", "molecules.xyz", "--energy-key", "E"], "no frame has 'E'"),
        (["--data", "a=molecules.xyz", "--data", "a=copper.xyz"], "two data files are called 'a'"),
        (["--data", "molecules.xyz", "--quick", "--reference", "a.b"], "needs frames to probe"),
        (["--data", "molecules.xyz", "--log", "x=y"], "with the name of a model: good"),
        (["--data", "molecules.xyz", "--probes", "-1"], "probes must not be negative, got -1"),
        (["--data", "molecules.xyz", "--learning-curves", "x.csv"], "there is no such file"),
        (["--data", "molecules.xyz", "--learning-curves", "molecules.xyz"], "there is no column"),
        (["--data", "molecules.xyz", "--output", "good.model"], "is a file, expected a folder"),
        (
            ["--data", "molecules.xyz", "--reference", "ase.calculators.eam.EAM"],
            "--reference ase.calculators.eam.EAM: ",
        ),
    ],
)
def test_a_mistake_is_one_message(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run("good.model", *words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("piwsl evaluate: error: ")
    assert message in error
    assert not (folder / "piwsl-evaluation").exists()


def test_a_model_that_diverges_is_named_with_the_frame(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Diverged(EMT):
        def calculate(self, *arguments: Any, **names: Any) -> None:
            super().calculate(*arguments, **names)
            if "O" in self.atoms.symbols:
                self.results["energy"] = float("nan")

    loaded = LoadedModel(Diverged(), None, stand_in.ELEMENTS, 5.0)
    monkeypatch.setattr(jobs, "load", lambda *_, **__: loaded)
    assert run("good.model", "--data", "molecules.xyz") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "model 'good': molecules.xyz: the predicted energy of frame 2" in error


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
    words = ("--data", "molecules.xyz", "--reference", "ase.calculators.emt.EMT", *FAST)
    assert run("other.ckpt", "good.model", *words, "--environment", "nequip=venv") == 0
    other, good = read(folder)["models"].values()
    assert (other["host"], good["host"]) == ("NequIP", "MACE")
    for key in ("test_sets", "curvature", "loops", "finite_differences", "nve"):
        assert other[key] == good[key]  # the same calculator: handed over to the last digit


def test_a_reference_model_may_be_the_other_hosts(folder: Path, other_python: Path) -> None:
    words = ("--data", "molecules.xyz", "--reference", "other.ckpt", *FAST)
    assert run("good.model", *words, "--environment", f"nequip={other_python}") == 0
    assert read(folder)["models"]["good"]["curvature"]["slope"] == pytest.approx(1.0)


def test_an_error_in_the_other_python_is_told_once(
    folder: Path, other_python: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--data", "molecules.xyz", "--environment", "nequip=venv")
    assert run("absent.ckpt", *words) == 2
    error = capfd.readouterr().err
    assert error.count("error: ") == 1
    assert "absent.ckpt: it is not there" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "NequIP is not installed here, and 'other' needs it; name the virtual environment"),
        (["--environment", f"nequip={sys.executable}"], "nequip is not installed there"),
        (["--environment", "nequip=good.model"], "this is no Python that runs"),
    ],
)
def test_an_environment_without_the_host_is_named(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(jobs, "LOOK", jobs.LOOK.replace("bool(found(sys.argv[1]))", "False"))
    assert run("other.ckpt", "--data", "molecules.xyz", *words) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_a_missing_library_says_which_extra(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
) -> None:
    find = importlib.util.find_spec
    without = lambda name: None if name == missing else find(name)  # noqa: E731
    monkeypatch.setattr(evaluate.importlib.util, "find_spec", without)
    assert run("good.model", "--data", "molecules.xyz") == 2
    assert f"{missing} is not installed; pip install 'piwsl-plugins[evaluation]'" in (
        capsys.readouterr().err
    )


def test_help_explains_itself_without_a_host(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--help")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: piwsl evaluate ")
    assert "--environment nequip=path/to/venv" in printed
