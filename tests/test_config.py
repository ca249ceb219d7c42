"""The shipped configs name settings and files that exist; `piwsl config` copies and fills them."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import ase.io
import pytest
import yaml
from ase.data import atomic_numbers

from piwsl_plugins import datasets
from piwsl_plugins.cli import main
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.settings import PiwslSettings, RunSettings
from piwsl_plugins.teacher.settings import TeacherSettings
from piwsl_plugins.templates.command import templates

SHIPPED = "formaldehyde_ccsdt_cbs"
MACE = sorted(name for name in templates() if name.startswith("mace"))
NEQUIP = sorted(name for name in templates() if name.startswith(("nequip", "allegro")))


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load(templates()[name].read_text(encoding="utf-8"))


def energies_of_free_atoms() -> dict[int, float]:
    atoms = ase.io.iread(datasets.path(f"{SHIPPED}/isolated_atoms.xyz"))
    return {int(a.numbers[0]): float(a.info["REF_energy"]) for a in atoms}


def shipped(reference: str) -> Path:
    """The file that a config means by ${piwsl_dataset:NAME}."""
    return datasets.path(reference.removeprefix("${piwsl_dataset:").removesuffix("}"))


@pytest.mark.parametrize("name", MACE)
def test_maces_configs_agree_with_the_data_and_the_settings(name: str, repo_root: Path) -> None:
    config = load(name)
    expected = pytest.approx(energies_of_free_atoms(), abs=1e-6)
    assert ast.literal_eval(config["E0s"]) == expected
    for key, has_forces in (("train_file", False), ("test_file", True)):
        for atoms in ase.io.iread(repo_root / config[key]):
            assert config["energy_key"] in atoms.info
            assert (config["forces_key"] in atoms.arrays) == has_forces
    named = {key.removeprefix("piwsl_"): value for key, value in config.items() if "piwsl_" in key}
    known = set(PiwslSettings.model_fields)
    PiwslSettings(**{key: value for key, value in named.items() if key in known})
    others = {key.removesuffix("_key") for key in set(named) - known - {"base_loss"}}
    of_teacher = {f"teacher_{name}" for name in TeacherSettings.model_fields}
    assert others <= set(DataSettings.model_fields) | of_teacher


@pytest.mark.parametrize("name", NEQUIP)
def test_nequips_configs_agree_with_the_data_and_the_settings(name: str) -> None:
    config = load(name)
    energies = {atomic_numbers[s]: energy for s, energy in config["atomic_energies"].items()}
    assert energies == pytest.approx(energies_of_free_atoms(), abs=1e-6)
    assert sorted(config["type_names"]) == sorted(config["atomic_energies"])
    data, module = config["data"], config["training_module"]
    DataSettings.from_mapping(data["labels"], "data.labels")
    RunSettings.from_mapping(module.get("piwsl", {}), "piwsl")
    train = list(ase.io.iread(shipped(data["split_dataset"]["file_path"])))
    with_forces = "forces" in module["loss"]["coeffs"]
    assert sum("REF_forces" in atoms.arrays for atoms in train) == (6 if with_forces else 0)
    for atoms in ase.io.iread(shipped(data["test_file_path"])):
        assert "REF_forces" in atoms.arrays


@pytest.fixture
def energies(tmp_path: Path) -> Path:
    """Molecules of two compositions with an energy under a name of their own."""
    frames = [ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74 + 0.01 * k]]) for k in range(3)]
    frames += [ase.Atoms("CO", [[0, 0, 0], [0, 0, 1.13 + 0.01 * k]]) for k in range(3)]
    frames += [ase.Atoms(symbol) for symbol in ("H", "C", "O")]
    known = {"H": -13.6, "C": -1028.0, "O": -2041.0}
    for k, atoms in enumerate(frames):
        bound = -4.0 - 0.01 * k if len(atoms) > 1 else 0.0
        atoms.info["ccsdt"] = sum(known[symbol] for symbol in atoms.symbols) + bound
    path = tmp_path / "my molecules.xyz"
    ase.io.write(path, frames, format="extxyz")
    return path


def test_the_list_names_every_configuration_with_its_title(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["config", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(templates())
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize("name", [*MACE, *NEQUIP])
def test_a_filled_configuration_has_the_users_file_elements_and_energies(
    name: str, energies: Path, tmp_path: Path
) -> None:
    output = tmp_path / "my.yaml"
    arguments = ["--train", str(energies), "--energy-key", "ccsdt"]
    assert main(["config", name, "-o", str(output), *arguments]) == 0
    text = output.read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    used = [line for line in text.splitlines() if SHIPPED in line.partition("#")[0]]
    assert used == []
    expected = {1: -13.6, 6: -1028.0, 8: -2041.0}
    if name in MACE:
        assert config["train_file"] == str(energies)
        assert config["energy_key"] == "ccsdt"
        assert "test_file" not in config
        assert ast.literal_eval(config["E0s"]) == pytest.approx(expected)
    else:
        assert config["run"] == ["train"]
        assert config["data"]["split_dataset"]["file_path"] == str(energies)
        assert config["data"]["labels"]["energy"] == "ccsdt"
        assert config["type_names"] == ["H", "C", "O"]
        assert list(config["atomic_energies"].values()) == pytest.approx(list(expected.values()))
    # all else, comments included, is the template's
    template = templates()[name].read_text(encoding="utf-8").splitlines()
    assert len(set(template) - set(text.splitlines())) <= 11


def test_without_a_file_the_shipped_data_are_named_and_nothing_is_overwritten_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "my.yaml"
    assert main(["config", "mace", "-o", str(output)]) == 0
    text = output.read_text(encoding="utf-8")
    assert f"mace_run_train --config {output}" in text
    assert Path(yaml.safe_load(text)["train_file"]) == datasets.path(f"{SHIPPED}/train.xyz")
    output.write_text("mine")
    assert main(["config", "mace", "-o", str(output)]) == 2
    assert "exists; choose another -o, or add --overwrite" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main(["config", "mace", "-o", str(output), "--overwrite"]) == 0
    assert output.read_text() != "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nequipp", "-o", "x"], "unknown configuration 'nequipp'; did you mean 'nequip'?"),
        (["nequip"], "-o FILE is missing"),
        (["nequip", "-o", "x", "--train", "none.xyz"], "none.xyz"),
        (["lammps/nve.in", "-o", "x", "--train", "none.xyz"], "no configuration of a training"),
    ],
)
def test_a_wrong_call_is_one_message(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["config", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
