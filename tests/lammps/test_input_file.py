"""LAMMPS input files are cut where the potential stands, and nothing else of them changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.lammps.input_file import Command, PotentialCommand, cut

STYLE, COEFFICIENTS = "pair_style piwsl\n", "pair_coeff * * my.model H C O  # water and more\n"
LINES = STYLE + COEFFICIENTS


def cut_text(folder: Path, text: str) -> list[Command]:
    path = folder / "in.file"
    path.write_text(text, encoding="utf-8")
    return cut(path)


def test_the_potential_is_its_coefficients_or_a_style_alone(tmp_path: Path) -> None:
    text = f"units metal\n\npair_style lj/cut 5\npair_coeff * * 1 1\n{LINES}run &\n 5\n{STYLE}"
    commands = cut_text(tmp_path, text)
    found = [one for one in commands if isinstance(one, PotentialCommand)]
    assert found == [PotentialCommand(6, COEFFICIENTS), PotentialCommand(9, STYLE)]
    assert [one.line for one in commands] == [1, 2, 3, 4, 6, 8, 9]
    assert commands[5] == Command(8, "run &\n 5\n")


def test_commands_between_style_and_coefficients_run_before_the_potential(tmp_path: Path) -> None:
    text = "pair_style\tpiwsl\nmass 1 1.0\npair_coeff  * *  a.model &\n H\nrun 1"
    before, potential, after = cut_text(tmp_path, text)
    assert (before.text, after.text) == ("mass 1 1.0\n", "run 1")
    assert potential.words == ("pair_coeff", "*", "*", "a.model", "H")


def test_what_is_quoted_or_a_comment_is_no_potential(tmp_path: Path) -> None:
    text = '# pair_style piwsl\nprint """\npair_style piwsl\n"""\nprint "pair_style piwsl"\n'
    with pytest.raises(ValueError, match=r"in\.file: no line says 'pair_style piwsl' \(files that"):
        cut_text(tmp_path, text)
    *before, potential = cut_text(tmp_path, text + LINES)
    assert "".join(command.text for command in before) == text
    assert isinstance(potential, PotentialCommand)


@given(
    st.lists(
        st.sampled_from(
            ["run 1\n", "\n", "# it's\n", "fix a &\n all nve\n", "print it's\n", "jump SELF\n"]
        ),
        max_size=6,
    )
)
def test_every_line_of_the_user_arrives_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for position in range(len(lines) + 1):
        found = cut_text(folder, "".join([*lines[:position], LINES, *lines[position:]]))
        (potential,) = (one for one in found if isinstance(one, PotentialCommand))
        assert "".join(one.text for one in found if one is not potential) == "".join(lines)
        if "jump SELF\n" in lines:  # a loop is read whole
            assert len(found) <= 3


@pytest.mark.parametrize("quote", ['"', "'", '"""'])
def test_a_path_in_quotes_may_have_spaces(quote: str) -> None:
    text = f"pair_coeff * * {quote}my models/a#1.model{quote} H C  # and 'more'"
    assert Command(1, text).words == ("pair_coeff", "*", "*", "my models/a#1.model", "H", "C")


WRONG = {
    "pair_style hybrid piwsl\n": "line 1: 'piwsl' cannot be part of another pair style",
    "pair_style piwsl 5.0\n": "line 1: 'pair_style piwsl' takes nothing after it",
    "pair_style piwsl\npair_coeff 1 1 a.model H\n": "line 2: 'pair_coeff 1 1 a.model H' is not",
    "pair_style piwsl\npair_coeff * * a.model\n": "line 2: 'pair_coeff * * a.model' is not",
    f"fix cold all setforce 0 0 0\n{LINES}": "'fix cold ... setforce' of line 1 stands before",
    f"fix stiff all rigid/small mol\n{LINES}": "'fix stiff ... rigid/small' of line 1 stands",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_potential_in_the_wrong_place_is_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"in\.file, line") as raised:
        cut_text(tmp_path, text)
    assert WRONG[text] in str(raised.value)


def test_a_missing_file_or_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file; expected a LAMMPS input file"):
        cut(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is a folder"):
        cut(tmp_path)
