"""Imports go one way, those inside functions too, and never round a circle."""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import piwsl_plugins
import piwsl_plugins.losses

ROOT = Path(piwsl_plugins.__file__).parent
LAYERS = (
    {"", "fields", "settings", "datasets"},
    {"losses"},
    {"data"},
    {"models"},
    {"teacher"},
    {"hosts"},
    {"evaluation", "lammps", "templates"},
    {"cli"},
    {"__main__"},
)
HOSTS = {"mace": "mace", "nequip": "nequip", "lightning": "nequip", "e3nn": ""}
"""Packages, and the host below ``hosts`` that may import them."""


def name_of(path: Path) -> str:
    """Name of a module below the package; empty for the package itself."""
    return (
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").strip(".")
    )


MODULES = {name_of(path): path for path in ROOT.rglob("*.py")}


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from nodes(node)


@cache
def imported(module: str) -> frozenset[str]:
    """Full names of what a module imports, wherever in it."""
    names: set[str] = set()
    for node in nodes(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            of_package = {f"{node.module}.{alias.name}" for alias in node.names}
            found = {name for name in of_package if name.partition(".")[2] in MODULES}
            names |= found or {str(node.module)}
    return frozenset(names)


def ours(module: str) -> set[str]:
    """Modules of this package that a module imports."""
    split = [name.partition(".") for name in imported(module)]
    return {rest for package, _, rest in split if package == "piwsl_plugins" and rest in MODULES}


def foreign(module: str) -> set[str]:
    """Other packages that a module imports, without those of Python."""
    packages = {name.partition(".")[0] for name in imported(module)}
    return packages - {"piwsl_plugins"} - sys.stdlib_module_names


def layer_of(module: str) -> int:
    (level,) = (k for k, names in enumerate(LAYERS) if module.partition(".")[0] in names)
    return level


def test_imports_go_down_the_layers() -> None:
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        for name in ours(module)
        if layer_of(name) > layer_of(module)
        or (layer_of(name) == layer_of(module) > 0 and name.split(".")[0] != module.split(".")[0])
    ]
    assert wrong == []


def test_no_circle_of_imports() -> None:
    graph = {module: ours(module) - {module, ""} for module in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("top", ["losses", "data"])
def test_physics_needs_torch_alone_and_data_do_without_it(top: str) -> None:
    modules = [module for module in MODULES if module.partition(".")[0] == top]
    found = set().union(*(foreign(module) for module in modules))
    if top == "losses":
        assert found == {"torch"}
    else:
        assert not found & {"torch", *HOSTS}


def test_a_host_is_imported_by_its_adapter_and_by_what_loads_its_models() -> None:
    wrong = [
        f"{module} imports {package}"
        for module in MODULES
        for package in foreign(module) & set(HOSTS)
        if module != "models" and not module.startswith(f"hosts.{HOSTS[package]}")
    ]
    assert wrong == []


def test_all_that_the_losses_offer_is_there_and_documented() -> None:
    for name in piwsl_plugins.losses.__all__:
        assert getattr(piwsl_plugins.losses, name).__doc__
