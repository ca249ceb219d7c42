"""The tutorials of docs/tutorials run, each in its host's environment, from first to last cell.

A run leaves the figures that the pages show; to make these anew:

  .venv/mace/bin/python -m pytest tests/test_tutorials.py --basetemp build/tutorials
  .venv/nequip/bin/python -m pytest tests/test_tutorials.py --basetemp build/tutorials_nequip

and copy the PNG files to docs/tutorials.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from processes import execute

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
HOSTS = {"coupled_cluster": "mace", "mace": "mace", "nequip": "nequip"}
"""The host whose environment a tutorial needs."""
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = "%%bash\n"


def script_of(page: Path) -> str:
    """A page's cells as one Python script, without Jupyter; those of %%bash go to the shell."""
    cells = ["import subprocess\n", *CELL.findall(page.read_text(encoding="utf-8"))]
    for number, cell in enumerate(cells):
        if cell.startswith(SHELL):
            command = ["bash", "-ec", cell.removeprefix(SHELL)]
            cells[number] = f"subprocess.run({command!r}, check=True)\n"
    return "\n".join(cells)


def test_every_tutorial_is_run() -> None:
    assert {page.stem for page in FOLDER.glob("*.md")} == set(HOSTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=getattr(pytest.mark, host)) for name, host in HOSTS.items()]
)
def test_the_cells_of_a_tutorial_run(name: str, tmp_path: Path) -> None:
    page = FOLDER / f"{name}.md"
    script = tmp_path / "tutorial.py"
    script.write_text(script_of(page), encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = execute([sys.executable, str(script)], tmp_path, {"PATH": path, "MPLBACKEND": "Agg"})
    assert done.returncode == 0, done.stdout + done.stderr
    figures = re.findall(r"\]\((\w+\.png)\)", page.read_text(encoding="utf-8"))
    assert figures
    for figure in figures:  # the page shows what the cells make
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")
        assert (FOLDER / figure).is_file()
