"""The `piwsl` command itself, without its subcommands."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable

import pytest

import piwsl_plugins
from piwsl_plugins import cli


def piwsl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "piwsl_plugins", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_help_names_every_command_and_version_is_the_packages() -> None:
    done = piwsl("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name in cli.COMMANDS:
        assert f"\n    {name}" in done.stdout
    done = piwsl("--version")
    assert (done.returncode, done.stdout.strip()) == (0, piwsl_plugins.__version__)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "required: COMMAND"),
        (("evalute",), "unknown command 'evalute'; did you mean 'evaluate'?"),
        (("nonsense",), "unknown command 'nonsense'; expected one of config, "),
        (("--nonsense",), "required: COMMAND"),
    ],
)
def test_a_wrong_command_is_one_message_that_helps(arguments: tuple[str, ...], told: str) -> None:
    done = piwsl(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", [n for n in cli.COMMANDS if n != "mace-train"])
def test_every_command_explains_itself_without_torch_or_a_host(name: str) -> None:
    code = (
        "import sys\nfrom piwsl_plugins.cli import main\n"
        f"try:\n    main([{name!r}, '--help'])\nexcept SystemExit as end:\n    status = end.code\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'mace', 'nequip'} & set(sys.modules)\n"
        "print(*sorted(heavy), file=sys.stderr)\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: piwsl {name} ")
    assert done.stderr.strip() == ""


Run = Callable[[argparse.Namespace], int]


def end_with(run: Run, monkeypatch: pytest.MonkeyPatch, name: str = "stand-in") -> int:
    """Run a command that does what a function does."""
    module = types.ModuleType("piwsl_plugins.stand_in", "A stand-in.")
    module.run = run  # type: ignore[attr-defined]
    module.add_options = lambda parser: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "piwsl_plugins.stand_in", module)
    monkeypatch.setitem(cli.COMMANDS, name, ("stand_in", "does what it is told"))
    return cli.main([name])


def test_a_command_ends_with_its_own_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [end_with(lambda options, s=status: s, monkeypatch) for status in (0, 1)] == [0, 1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [ValueError("a.xyz: no frames"), OSError("a.xyz: no frames")])
def test_what_is_wrong_with_the_input_is_one_message(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: argparse.Namespace) -> int:
        raise error

    assert end_with(fail, monkeypatch) == 2
    assert capsys.readouterr().err == "piwsl stand-in: error: a.xyz: no frames\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_said_and_is_the_status(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait(options: argparse.Namespace) -> int:
        os.kill(os.getpid(), number)
        signal.pause()
        return 0

    assert end_with(wait, monkeypatch) == 128 + number
    assert capsys.readouterr().err == "piwsl stand-in: interrupted; rerun to resume\n"


@pytest.mark.parametrize(("name", "error"), [("x", RuntimeError), ("mace-train", ValueError)])
def test_defects_and_what_goes_wrong_inside_mace_are_shown_whole(
    name: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(options: argparse.Namespace) -> int:
        raise error("a defect")

    with pytest.raises(error, match="a defect"):
        end_with(fail, monkeypatch, name)


def test_mace_train_without_mace_says_what_to_install() -> None:
    code = (
        "import sys\nsys.modules['mace'] = None\n"
        "from piwsl_plugins.cli import main\nsys.exit(main(['mace-train', '--name', 'run']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'piwsl-plugins[mace]'" in done.stderr
    assert "Traceback" not in done.stderr
