"""The shipped configs name settings and files that exist, and the energies of their free atoms."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import ase.io
import pytest
import yaml

from piwsl_plugins import datasets
from piwsl_plugins.settings import DEFAULT_FADE, PiwslSettings, RunSettings

MACE_CONFIGS = ("mace", "mace_weak_forces")
NEQUIP_CONFIGS = (
    "nequip",
    "allegro",
    "nequip_sparse_forces",
    "nequip_finetune",
    "nequip_weak_forces",
)
WEAK = "weak_forces"
SHIPPED = "formaldehyde_ccsdt_cbs"


@pytest.fixture(params=MACE_CONFIGS)
def config(request: pytest.FixtureRequest, repo_root: Path) -> dict[str, Any]:
    text = (repo_root / "configs" / f"piwsl_{request.param}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def test_the_energies_of_the_free_atoms_are_those_beside_the_data(
    config: dict[str, Any], repo_root: Path
) -> None:
    atoms = ase.io.iread((repo_root / config["train_file"]).with_name("isolated_atoms.xyz"))
    reference = {int(a.numbers[0]): float(a.info[config["energy_key"]]) for a in atoms}
    assert ast.literal_eval(config["E0s"]) == pytest.approx(reference, abs=1e-6)


def test_training_frames_have_energies_only_and_test_frames_have_forces(
    config: dict[str, Any], repo_root: Path
) -> None:
    for atoms in ase.io.iread(repo_root / config["train_file"]):
        assert config["energy_key"] in atoms.info
        assert config["forces_key"] not in atoms.arrays
        assert config.get("piwsl_weak_forces_key", "positions") in atoms.arrays
    for atoms in ase.io.iread(repo_root / config["test_file"]):
        assert config["energy_key"] in atoms.info
        assert config["forces_key"] in atoms.arrays


def test_the_settings_of_the_losses_are_allowed(config: dict[str, Any]) -> None:
    named = {key.removeprefix("piwsl_"): value for key, value in config.items() if "piwsl_" in key}
    assert str(named.pop("base_loss")) == "weighted"
    assert named.pop("weak_forces_key", WEAK) == WEAK
    fields = {field.name for field in dataclasses.fields(PiwslSettings)}
    PiwslSettings(**{key: value for key, value in named.items() if key in fields})
    assert set(named) <= fields


@pytest.fixture(params=NEQUIP_CONFIGS)
def nequip_config(request: pytest.FixtureRequest, repo_root: Path) -> dict[str, Any]:
    text = (repo_root / "configs" / f"piwsl_{request.param}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def shipped(reference: str) -> Path:
    """The file that a config means by ${piwsl_dataset:NAME}."""
    return datasets.path(reference.removeprefix("${piwsl_dataset:").removesuffix("}"))


def test_nequip_gets_the_energies_of_the_free_atoms_beside_the_data(
    nequip_config: dict[str, Any],
) -> None:
    train = shipped(nequip_config["data"]["split_dataset"]["file_path"])
    atoms = ase.io.iread(train.with_name("isolated_atoms.xyz"))
    reference = {str(a.symbols): float(a.info["REF_energy"]) for a in atoms}
    assert nequip_config["atomic_energies"] == pytest.approx(reference, abs=1e-6)
    assert sorted(nequip_config["type_names"]) == sorted(reference)


def test_nequip_trains_on_energies_and_is_judged_by_forces(nequip_config: dict[str, Any]) -> None:
    train = list(ase.io.iread(shipped(nequip_config["data"]["split_dataset"]["file_path"])))
    labelled = sum("REF_forces" in atoms.arrays for atoms in train)
    with_forces = "forces" in nequip_config["training_module"]["loss"]["coeffs"]
    assert labelled == (6 if with_forces else 0)
    assert all("REF_energy" in atoms.info for atoms in train)
    for atoms in ase.io.iread(shipped(nequip_config["data"]["test_file_path"])):
        assert "REF_forces" in atoms.arrays


def test_nequips_settings_of_the_losses_are_allowed(nequip_config: dict[str, Any]) -> None:
    RunSettings.from_mapping(nequip_config["training_module"]["piwsl"], "piwsl")
    displaces = nequip_config["training_module"]["loss"]["terms"] != [WEAK]
    expected = "${training_module.piwsl}" if displaces else False
    assert nequip_config["data"]["piwsl"] == expected


@pytest.mark.parametrize("host", ["mace", "nequip"])
def test_weak_forces_fade_over_half_the_run(host: str, repo_root: Path) -> None:
    text = (repo_root / "configs" / f"piwsl_{host}_weak_forces.yaml").read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    if host == "mace":
        fade = config["piwsl_weak_forces_fade"]
    else:
        fade = config["training_module"]["piwsl"]["weak_forces_fade"]
        assert config["data"]["key_mapping"][WEAK] == WEAK
    assert fade == DEFAULT_FADE[WEAK]
