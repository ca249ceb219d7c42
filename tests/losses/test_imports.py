"""The physics knows no host: it imports torch, the standard library and the settings."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import piwsl_plugins.fields
import piwsl_plugins.losses
import piwsl_plugins.settings

LOSSES = Path(piwsl_plugins.losses.__file__).parent
SETTINGS = Path(piwsl_plugins.settings.__file__)
FIELDS = Path(piwsl_plugins.fields.__file__)


def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: a relative import"
            assert node.module is not None
            names.add(node.module)
    return names


def allowed(name: str) -> bool:
    if name.split(".")[0] == "piwsl_plugins":
        return name == "piwsl_plugins.settings" or name.startswith("piwsl_plugins.losses")
    return name.split(".")[0] in sys.stdlib_module_names | {"torch"}


@pytest.mark.parametrize("path", sorted(LOSSES.rglob("*.py")), ids=lambda path: path.name)
def test_the_losses_import_torch_the_standard_library_and_the_settings(path: Path) -> None:
    assert {name for name in imported(path) if not allowed(name)} == set()


def test_the_settings_import_the_standard_library_alone() -> None:
    found = (imported(SETTINGS) | imported(FIELDS)) - {"piwsl_plugins.fields"}
    assert {name.split(".")[0] for name in found} <= sys.stdlib_module_names


def test_all_that_the_losses_offer_is_there_and_documented() -> None:
    for name in piwsl_plugins.losses.__all__:
        assert getattr(piwsl_plugins.losses, name).__doc__
