"""What Python reads when it starts: light, and never the reason of a failure."""

from __future__ import annotations

import shutil
import sysconfig
from importlib import metadata
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from processes import PYTHON, BareEnvironment, execute

FILES = ("piwsl_plugins.pth", "_piwsl_autoload.py")
LOADED = "import sys; print('_piwsl_autoload' in sys.modules)"


def run(code: str, folder: Path) -> CompletedProcess[str]:
    """Run code in a fresh process that also finds modules in ``folder``."""
    return execute([PYTHON, "-c", code], folder, {"PYTHONPATH": str(folder)})


@pytest.fixture
def mace_alone(tmp_path: Path) -> Path:
    """A folder with a package that is called ``mace`` and is empty."""
    (tmp_path / "mace").mkdir()
    for name in ("__init__", "tools", "data"):
        (tmp_path / "mace" / f"{name}.py").write_text("")
    return tmp_path


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareEnvironment:
    return BareEnvironment(tmp_path_factory.mktemp("environment") / "bare")


def test_nothing_heavy_is_imported_when_python_starts(tmp_path: Path) -> None:
    heavy = "{'ase', 'importlib.metadata', 'mace', 'numpy', 'piwsl_plugins', 'torch', 'wrapt'}"
    done = run(f"{LOADED}; print(*sorted({heavy} & set(sys.modules)))", tmp_path)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["True"], "")


def test_an_installer_knows_the_files_and_they_are_those_of_this_checkout(repo_root: Path) -> None:
    found = {file.name: file for file in metadata.files("piwsl-plugins") or ()}
    for name in FILES:  # `pip uninstall` removes what is listed
        assert found[name].read_text() == (repo_root / "autoload" / name).read_text()
    entry_points = metadata.distribution("piwsl-plugins").entry_points
    assert not [point for point in entry_points if point.group == "torch.backends"]


def test_only_a_module_of_mace_installs_the_hooks_and_once(mace_alone: Path) -> None:
    done = run(
        "import _piwsl_autoload\n"
        "_piwsl_autoload._install = lambda: print('installed')\n"
        "import mace, json\nprint('so far none')\nimport mace.tools, mace.data",
        mace_alone,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[:-1] == ["so far none", "installed"]


BROKEN = """
import sys, types
seams = types.ModuleType("seams")
def install():
    raise RuntimeError("broken on purpose")
seams.install = install
sys.modules["piwsl_plugins.hosts.mace.seams"] = seams
"""


@pytest.mark.parametrize(
    ("defect", "told"),
    [(BROKEN, "broken on purpose"), ("import sys; sys.modules['wrapt'] = None", "wrapt")],
)
def test_a_defect_of_ours_is_told_and_mace_is_imported_all_the_same(
    defect: str, told: str, mace_alone: Path
) -> None:
    code = f"{defect}\nimport mace.tools, mace.data\nprint(mace.tools.__name__, mace.data.__name__)"
    done = run(code, mace_alone)
    assert (done.returncode, done.stdout.strip()) == (0, "mace.tools mace.data")
    assert done.stderr.count(told) == 1
    assert "MACE runs as without this package" in done.stderr
    assert "Traceback" not in done.stderr


ELSEWHERE = """
import importlib.machinery, sys, types
class Elsewhere:  # as an editable installation of MACE has one
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'mace':
            return importlib.machinery.ModuleSpec(name, self, is_package=name == 'mace')
    def create_module(self, spec): return types.ModuleType(spec.name)
    def exec_module(self, module): pass
sys.meta_path.insert(1, Elsewhere())
import _piwsl_autoload
_piwsl_autoload._install = lambda: None
import mace.tools
print(mace.tools.__name__)
"""


def test_the_finder_behind_ours_is_asked_for_the_first_module_of_mace_too(tmp_path: Path) -> None:
    done = run(ELSEWHERE, tmp_path)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "mace.tools", "")


def test_a_foreign_environment_that_sees_the_metadata_alone_imports_torch(
    bare: BareEnvironment,
) -> None:
    # LAMMPS's own Python, for which an environment is named in PYTHONPATH, reads no .pth files
    variables = {"PYTHONPATH": sysconfig.get_path("purelib")}
    code = f"import importlib.metadata as m, torch\nprint(m.version('piwsl-plugins'))\n{LOADED}"
    done = bare.run("-c", code, variables=variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [metadata.version("piwsl-plugins"), "False"]


@pytest.mark.parametrize("lost", ["piwsl_plugins", "_piwsl_autoload.py"])
def test_where_modules_were_lost_mace_says_so_and_uninstalling_leaves_nothing(
    lost: str, bare: BareEnvironment, mace_alone: Path, repo_root: Path
) -> None:
    before = {path.name for path in bare.site.iterdir()}
    bare.install(repo_root / "piwsl_plugins")
    assert bare.run("-c", LOADED).stdout.strip() == "True"
    path = bare.site / lost
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    variables = {"PYTHONPATH": str(mace_alone)}
    done = bare.run("-c", "import torch, mace.tools; print('well')", variables=variables)
    assert (done.returncode, done.stdout) == (0, "well\n")
    assert ("MACE runs as without this package" in done.stderr) == (lost == "piwsl_plugins")
    assert "Traceback" not in done.stderr
    bare.uninstall()
    assert bare.run("-c", LOADED).stdout.strip() == "False"
    assert {path.name for path in bare.site.iterdir()} - {"__pycache__"} == before
