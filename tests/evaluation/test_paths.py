"""Names of models and data on the command line, and where other Pythons are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from piwsl_plugins.evaluation.paths import environments, named_files


def test_a_file_is_called_by_its_stem_or_by_the_name_it_was_given() -> None:
    found = named_files(["a/mine.model", "other=b/best.ckpt", "c/out.nequip.zip"], "models")
    assert found == {
        "mine": Path("a/mine.model"),
        "other": Path("b/best.ckpt"),
        "out": Path("c/out.nequip.zip"),
    }


def test_the_same_stem_twice_is_told_apart_by_folder_and_then_by_number() -> None:
    found = named_files(["a/best.ckpt", "b/best.ckpt", "c/a/best.ckpt"], "models")
    assert list(found) == ["a/best", "b/best", "a/best (2)"]


def test_a_file_with_an_equals_sign_in_its_name_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "lr=1.ckpt"
    path.touch()
    assert named_files([str(path)], "models") == {"lr=1": path}


def test_two_of_the_same_given_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="two models are called 'a': x and y"):
        named_files(["a=x", "a=y"], "models")
    with pytest.raises(ValueError, match="expected FILE or NAME=FILE"):
        named_files(["=x"], "models")


def test_an_environment_is_a_folder_or_a_python(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)  # and stays a link: that is how a virtual environment is told
    assert environments([f"mace={tmp_path}"]) == {"MACE": str(python)}
    assert environments([f"nequip={python}"]) == {"NequIP": str(python)}


@pytest.mark.parametrize("word", ["mace", "mace=", "vasp=/usr", "mace=/no/such/place"])
def test_an_environment_that_is_none_is_named(word: str) -> None:
    with pytest.raises(ValueError, match=f"--environment {word}: "):
        environments([word])
