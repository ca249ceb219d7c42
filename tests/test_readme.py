"""The README is true: its Python runs, its table is the settings', its files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_python_blocks_run(block: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", block], check=True)


def test_the_tables_of_settings_are_up_to_date() -> None:
    script = ROOT / "scripts" / "settings_table.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)


def test_the_files_it_points_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_flags_it_names_exist() -> None:
    from dataclasses import fields

    from piwsl_plugins.hosts.mace.flags import DATA_FLAGS
    from piwsl_plugins.settings import MaceSettings

    known = {field.name for field in fields(MaceSettings)} | set(DATA_FLAGS)
    assert set(re.findall(r"--piwsl_(\w+)", README)) <= known
