"""Installing brings the losses and every flag; uninstalling leaves no trace."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from commands import start_training
from processes import BareEnvironment

from piwsl_plugins.hosts.mace.flags import DATA_FLAGS, LOSSES
from piwsl_plugins.settings import MaceSettings

RUN_TRAIN = ("-m", "mace.cli.run_train")


def help_text(bare: BareEnvironment) -> str:
    done = bare.run(*RUN_TRAIN, "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def texts_of_help(bare: BareEnvironment, repo_root: Path) -> dict[str, str]:
    """MACE's help before, while and after the package is installed."""
    texts = {"before": help_text(bare)}
    bare.install(repo_root / "piwsl_plugins")
    try:
        texts["installed"] = help_text(bare)
    finally:
        bare.uninstall()
    texts["after"] = help_text(bare)
    return texts


def test_without_the_package_mace_knows_nothing_of_it(texts_of_help: dict[str, str]) -> None:
    assert "--loss" in texts_of_help["before"]
    assert "piwsl" not in texts_of_help["before"].lower()


def test_with_the_package_help_lists_every_loss_and_every_flag(
    texts_of_help: dict[str, str],
) -> None:
    text = texts_of_help["installed"]
    listed = re.search(r"--loss \{([^}]*)\}", text)
    assert listed is not None
    assert set(LOSSES) <= set(re.split(r",\s*", listed.group(1)))
    _, *entries = text[text.index("PIWSL losses (piwsl-plugins)") :].split("\n  --piwsl_")
    explained = {entry.split()[0]: " ".join(entry.split()) for entry in entries}
    fields = dataclasses.fields(MaceSettings)
    assert list(explained) == [*(field.name for field in fields), *DATA_FLAGS]
    for field in fields:
        assert ("(default: " in explained[field.name]) == (field.default is not None)
        if field.metadata["unit"]:
            assert f"[{field.metadata['unit']}]" in explained[field.name]


def test_uninstalling_gives_the_very_help_of_before(texts_of_help: dict[str, str]) -> None:
    assert texts_of_help["after"] == texts_of_help["before"]


def test_without_the_package_the_loss_is_refused(
    texts_of_help: dict[str, str], bare: BareEnvironment, data: dict[str, Any], tmp_path: Path
) -> None:
    program = (bare.python, *RUN_TRAIN)
    run = start_training(tmp_path, {**data, "loss": "piwsl_taylor"}, program=program)
    assert run.status == 2
    assert "argument --loss: invalid choice: 'piwsl_taylor'" in run.stderr


def test_without_the_package_it_cannot_be_imported(bare: BareEnvironment) -> None:
    assert "No module named 'piwsl_plugins'" in bare.run("-c", "import piwsl_plugins").stderr
