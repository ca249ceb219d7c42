"""`piwsl lammps` explains itself without LAMMPS, torch or a host, and says what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from piwsl_plugins.cli import main
from piwsl_plugins.deploy.command import lammps_options, parser


def test_help_shows_the_lines_of_an_input_file_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom piwsl_plugins.cli import main\n"
        "try:\n    main(['lammps', '--help'])\nexcept SystemExit:\n"
        "    print(*sorted({'torch', 'lammps', 'mace', 'nequip'} & set(sys.modules)), 'loaded')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded"
    assert "pair_coeff  * * my.model H C O" in done.stdout


def test_options_of_lammps_are_handed_on() -> None:
    words = [
        "-in",
        "a",
        "-var",
        "T",
        "300",
        "-v",
        "list",
        "1",
        "-2",
        "3",
        "-log",
        "none",
        "-sc",
        "none",
        "-e",
        "both",
    ]
    assert lammps_options(parser().parse_args(words)) == [
        *("-nocite", "-log", "none", "-screen", "none", "-echo", "both"),
        *("-var", "T", "300", "-var", "list", "1", "-2", "3"),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-in", "nothing"], "nothing: there is no such file; expected a LAMMPS input file"),
        (["-in", "in.file", "--model", "no.model"], "no.model: there is no such file"),
        (["-in", "in.file", "--model", "in.file"], "in.file: this is not a file of PyTorch"),
    ],
)
def test_bad_words_are_one_message(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.file").write_text("pair_style piwsl\n", encoding="utf-8")
    assert main(["lammps", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"piwsl lammps: error: {message}")
    assert "checkpoint" not in said  # it would be refused
