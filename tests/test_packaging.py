"""The package as a whole: version, imports that cost nothing, files that belong to everybody."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import piwsl_plugins


def tracked_files(root: Path) -> list[Path]:
    """Text files under version control; the test is skipped where there is none."""
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    )
    return [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def test_the_version_is_that_of_the_newest_changelog_entry(repo_root: Path) -> None:
    changelog = (repo_root / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", changelog, flags=re.MULTILINE)
    assert newest is not None
    assert piwsl_plugins.__version__ == newest.group(1)
    citation = yaml.safe_load((repo_root / "CITATION.cff").read_text(encoding="utf-8"))
    assert piwsl_plugins.__version__ == citation["version"]


def test_the_wheel_has_the_templates_the_data_and_what_python_reads_at_start(
    repo_root: Path, tmp_path: Path
) -> None:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=repo_root, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    listed = set(zipfile.ZipFile(wheel).namelist())
    tracked = [path.relative_to(repo_root) for path in tracked_files(repo_root)]
    expected = {path.as_posix() for path in tracked if path.parts[0] == "piwsl_plugins"}
    for path in tracked:
        if path.parts[0] == "configs":
            expected.add(Path("piwsl_plugins/templates", *path.parts[1:]).as_posix())
        elif path.parts[0] == "autoload":
            expected.add(path.name)
    assert expected <= listed


@pytest.mark.parametrize("module", ["", ".losses", ".data.reading", ".evaluation", ".templates"])
def test_importing_the_package_brings_no_host(module: str) -> None:
    heavy = {"mace", "nequip", "e3nn", "lightning", "matplotlib"}
    heavy |= {"torch", "numpy", "ase", "pydantic"} if not module else set()
    code = f"import sys, piwsl_plugins{module}\nprint(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_tracked_files_name_no_machine(repo_root: Path) -> None:
    # Put together here, so that this file does not find itself.
    forbidden = ["/" + "home/", "/" + "root/", "/" + "Users/", "--" + "index-url"]
    forbidden += ["--" + "extra-index-url", f"{repo_root.parent}/"]
    found = [
        f"{path.relative_to(repo_root)}: {text}"
        for path in tracked_files(repo_root)
        for text in forbidden
        if text in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []
