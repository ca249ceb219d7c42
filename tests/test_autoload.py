"""The entry point that torch calls: light, idempotent, never the reason of a failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh process that also finds modules in ``folder``."""
    code = f"import sys\nsys.path.insert(0, {str(folder)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.fixture
def mace_alone(tmp_path: Path) -> Path:
    """A folder with a package that is called ``mace`` and is empty."""
    (tmp_path / "mace").mkdir()
    for name in ("__init__", "tools", "data"):
        (tmp_path / "mace" / f"{name}.py").write_text("")
    return tmp_path


FINDERS = "[f for f in sys.meta_path if type(f).__module__ == 'piwsl_plugins.autoload']"


def test_importing_torch_brings_the_entry_point_and_nothing_more(tmp_path: Path) -> None:
    done = run(
        "import torch\n"
        "ours = [m for m in sys.modules if m.split('.')[0] in ('piwsl_plugins', 'mace', 'wrapt')]\n"
        f"print(*sorted(ours), len({FINDERS}))",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["piwsl_plugins", "piwsl_plugins.autoload", "1"]


def test_registering_twice_adds_one_finder(mace_alone: Path) -> None:
    done = run(
        "from piwsl_plugins.autoload import register\n"
        "register()\nregister()\nimport mace.tools\nregister()\n"
        f"print(len({FINDERS}))",
        mace_alone,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "1", "")


def test_only_a_module_of_mace_installs_the_hooks(mace_alone: Path) -> None:
    done = run(
        "from piwsl_plugins import autoload\n"
        "autoload._install = lambda: print('installed')\n"
        "autoload.register()\n"
        "import mace, json\nprint('so far none')\nimport mace.tools, mace.data",
        mace_alone,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[:-1] == ["so far none", "installed"]


BROKEN = """
import types
seams = types.ModuleType("seams")
def install():
    raise RuntimeError("broken on purpose")
seams.install = install
sys.modules["piwsl_plugins.hosts.mace.seams"] = seams
"""


def test_a_defect_of_ours_is_told_and_mace_is_imported_all_the_same(mace_alone: Path) -> None:
    done = run(
        f"{BROKEN}\nfrom piwsl_plugins.autoload import register\nregister()\n"
        "import mace.tools, mace.data\nprint(mace.tools.__name__, mace.data.__name__)",
        mace_alone,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "mace.tools mace.data")
    assert done.stderr.count("broken on purpose") == 1
    assert "MACE runs as without this package" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_dependency_of_ours_is_told_and_mace_is_imported_all_the_same(
    mace_alone: Path,
) -> None:
    done = run(
        "sys.modules['wrapt'] = None\n"
        "from piwsl_plugins.autoload import register\nregister()\n"
        "import mace.tools\nprint(mace.tools.__name__)",
        mace_alone,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "mace.tools")
    assert "wrapt" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_finder_behind_ours_is_asked_for_the_first_module_of_mace_too(tmp_path: Path) -> None:
    done = run(
        "import importlib.machinery, types\n"
        "class Elsewhere:\n"  # as an editable installation of MACE has one
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'mace':\n"
        "            return importlib.machinery.ModuleSpec(name, self, is_package=name == 'mace')\n"
        "    def create_module(self, spec): return types.ModuleType(spec.name)\n"
        "    def exec_module(self, module): pass\n"
        "sys.meta_path.insert(0, Elsewhere())\n"
        "from piwsl_plugins.autoload import register\nregister()\n"
        "import mace.tools\nprint(mace.tools.__name__)",
        tmp_path,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "mace.tools", "")
