"""What `import nequip` gets of this package: a resolver, and a form of nequip-train."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from piwsl_plugins import datasets
from piwsl_plugins.hosts import nequip as piwsl
from piwsl_plugins.hosts.nequip import extension, seams


def test_nequip_finds_the_adapter_by_its_entry_point() -> None:
    found = {entry.value for entry in entry_points(group="nequip.extension")}
    assert "piwsl_plugins.hosts.nequip" in found


def test_the_resolver_is_the_path_of_a_shipped_data_set() -> None:
    name = "formaldehyde_ccsdt_cbs/train.xyz"
    config = OmegaConf.create({"path": f"${{{extension.RESOLVER}:{name}}}"})
    assert config.path == str(datasets.path(name))
    assert Path(config.path).is_file()


def test_registering_twice_is_registering_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest", "config.yaml"])
    extension.register()
    extension.register()
    assert OmegaConf.has_resolver(extension.RESOLVER)
    assert sys.argv == ["pytest", "config.yaml"]


def test_the_path_of_a_config_becomes_hydras_two_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my run.yaml").write_text("run: [train]")
    monkeypatch.chdir(tmp_path)
    expected = ["-cp", str(tmp_path), "-cn", "my run", "trainer.max_epochs=1"]
    for first in ("my run.yaml", "./my run.yaml", str(tmp_path / "my run.yaml")):
        words = [first, "trainer.max_epochs=1"]
        assert extension.with_config_options(words) == expected
    monkeypatch.setattr(sys, "argv", ["/somewhere/nequip-train", "my run.yaml"])
    extension.register()
    assert sys.argv == ["/somewhere/nequip-train", *expected[:4]]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-cp", "configs", "-cn", "piwsl_nequip"],
        ["no_such.yaml"],
        ["folder.yaml"],
        ["data.csv"],
        ["trainer.max_epochs=1", "a.yaml"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_everything_else_is_left_to_hydra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "a.yaml").touch()
    (tmp_path / "data.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert extension.with_config_options(words) == words


def test_a_name_that_hydra_cannot_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"nequip-train: error: config\.yml: .* end in \.yaml"):
        extension.with_config_options(["config.yml"])
    assert extension.with_config_options(["other.yml"]) == ["other.yml"]


@pytest.mark.parametrize("name", piwsl.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(piwsl, name).__name__ == name


def test_another_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'PiwslModule'.*PiwslEMALightningModul"):
        _ = piwsl.PiwslModule


def test_an_untested_version_of_nequip_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    seams.check_version()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.20.0")
    expected = r"nequip 0\.20\.0 is installed.*tested with 0\.19\.x.*pip install 'nequip>=0\.19,<0"
    with pytest.raises(seams.errors.SeamError, match=expected):
        piwsl.PiwslLightningModule()
    with pytest.raises(seams.errors.SeamError, match=expected):
        piwsl.PiwslASEDataModule(seed=1)
