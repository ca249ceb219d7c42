"""README and docs are true: their Python runs, the settings are listed, what they name exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))
def test_the_python_blocks_run(block: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", block], check=True)


def test_the_tables_of_settings_are_up_to_date() -> None:
    script = ROOT / "scripts" / "settings_table.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_it_points_to_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target
    for script in re.findall(r"scripts/[\w/.]+\.py", text):
        assert (ROOT / script).exists(), script


def test_the_flags_they_name_exist() -> None:
    from piwsl_plugins.hosts.mace.flags import DATA_FLAGS, LOSSES, TEACHER
    from piwsl_plugins.settings import MaceSettings
    from piwsl_plugins.teacher.settings import TeacherSettings

    known = {f"piwsl_{name}" for name in MaceSettings.model_fields} | set(DATA_FLAGS)
    known |= {f"{TEACHER}_{name}" for name in TeacherSettings.model_fields}
    assert set(re.findall(r"--(piwsl_\w*[a-z])\b", TEXT)) <= known
    assert set(re.findall(r"--loss (piwsl\w*[a-z])", TEXT)) <= set(LOSSES)


def test_the_commands_they_name_exist() -> None:
    from piwsl_plugins.cli import COMMANDS

    assert set(re.findall(r"^ *piwsl ([a-z-]+)", TEXT, re.MULTILINE)) <= set(COMMANDS)
    assert set(re.findall(r"`piwsl ([a-z-]+)", TEXT)) <= set(COMMANDS)
