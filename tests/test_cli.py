"""The `piwsl` command itself, with and without MACE."""

from __future__ import annotations

import subprocess
import sys

import pytest

import piwsl_plugins


def piwsl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "piwsl_plugins", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_help_names_the_commands() -> None:
    done = piwsl("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: piwsl ")
    assert "mace-train" in done.stdout
    assert "evaluate" in done.stdout


def test_version_is_the_packages() -> None:
    done = piwsl("--version")
    assert (done.returncode, done.stdout.strip()) == (0, piwsl_plugins.__version__)


def test_an_unknown_command_is_an_error_that_names_the_commands() -> None:
    done = piwsl("nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'nonsense' (choose from " in done.stderr
    assert "mace-train" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_is_an_error_that_says_so() -> None:
    done = piwsl()
    assert (done.returncode, done.stdout) == (2, "")
    assert "required: COMMAND" in done.stderr


@pytest.mark.parametrize("missing", ["mace", "torch"])
def test_training_without_a_host_says_what_to_install(missing: str) -> None:
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {missing!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from piwsl_plugins.cli import main\n"
        "sys.exit(main(['mace-train', '--name', 'run']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{missing} is not installed; pip install 'piwsl-plugins[mace]'" in done.stderr
    assert "Traceback" not in done.stderr
