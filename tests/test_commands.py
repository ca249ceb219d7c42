"""A command of ``piwsl`` ends with a status and at most one message."""

from __future__ import annotations

import os
import signal

import pytest

from piwsl_plugins.commands import exit_status_of


@pytest.mark.parametrize("status", [0, 1])
def test_a_command_ends_with_its_own_status(
    status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status_of("piwsl x", lambda: status) == status
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [ValueError("a.xyz: no frames"), OSError("a.xyz: no frames")])
def test_what_is_wrong_with_the_input_is_one_message(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise error

    assert exit_status_of("piwsl x", fail) == 2
    assert capsys.readouterr().err == "piwsl x: error: a.xyz: no frames\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_said_and_is_the_status(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait() -> int:
        os.kill(os.getpid(), number)
        signal.pause()
        return 0

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert exit_status_of("piwsl x", wait, interrupted="interrupted; goes on") == 128 + number
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "piwsl x: interrupted; goes on\n"


def test_other_errors_are_defects_and_are_shown_whole() -> None:
    def fail() -> int:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        exit_status_of("piwsl x", fail)
