"""What `import nequip` gets of this package: classes, and a form of nequip-train."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from piwsl_plugins.hosts import errors
from piwsl_plugins.hosts import nequip as piwsl
from piwsl_plugins.hosts.nequip import extension


def test_the_path_of_a_config_becomes_hydras_two_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my run.yaml").touch()
    monkeypatch.chdir(tmp_path)
    expected = ["-cp", str(tmp_path), "-cn", "my run", "trainer.max_epochs=1"]
    for first in ("my run.yaml", str(tmp_path / "my run.yaml")):
        assert extension.with_config_options([first, "trainer.max_epochs=1"]) == expected
    for words in ([], ["-cp", "a"], ["--config-dir=a.yaml"], ["a=1", "my run.yaml"]):
        assert extension.with_config_options(words) == words
    with pytest.raises(ValueError, match="no such file; write nequip-train CONFIG"):
        extension.with_config_options(["no_such.yaml"])


def test_every_public_name_is_there_and_another_is_refused_with_those_that_exist() -> None:
    for name in piwsl.__all__:
        assert getattr(piwsl, name).__name__ == name
    with pytest.raises(AttributeError, match=r"no attribute 'PiwslModule'.*PiwslEMALightningModul"):
        _ = piwsl.PiwslModule


def test_an_untested_version_of_nequip_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.20.0")
    for make in (piwsl.PiwslLightningModule, lambda: piwsl.PiwslDataModule(seed=1)):
        with pytest.raises(errors.SeamError, match=r"nequip 0\.20\.0 is installed.*with 0\.19\.x"):
            make()
