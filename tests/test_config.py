"""The shipped config names flags and files that exist, and the energies of its own free atoms."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import ase.io
import pytest
import yaml

from piwsl_plugins.settings import PiwslSettings


@pytest.fixture
def config(repo_root: Path) -> dict[str, Any]:
    text = (repo_root / "configs" / "piwsl_mace.yaml").read_text(encoding="utf-8")
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
    for atoms in ase.io.iread(repo_root / config["test_file"]):
        assert config["energy_key"] in atoms.info
        assert config["forces_key"] in atoms.arrays


def test_the_settings_of_the_losses_are_allowed(config: dict[str, Any]) -> None:
    named = {key.removeprefix("piwsl_"): value for key, value in config.items() if "piwsl_" in key}
    assert str(named.pop("base_loss")) == "weighted"
    fields = {field.name for field in dataclasses.fields(PiwslSettings)}
    PiwslSettings(**{key: value for key, value in named.items() if key in fields})
    assert set(named) <= fields
