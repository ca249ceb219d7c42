"""LAMMPS input files are cut where the potential stands, and nothing else of them changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.deploy.input_file import Place, cut

LINES = "pair_style piwsl\npair_coeff * * my.model H C O  # water and more\n"


def cut_text(folder: Path, text: str) -> list[str | Place]:
    path = folder / "in.file"
    path.write_text(text, encoding="utf-8")
    return cut(path)


def test_the_text_around_the_potential_stays_as_it_is(tmp_path: Path) -> None:
    before, after = "units metal\n\nread_data x # a, b\n", "pair_modify shift no\nrun 5"
    parts = cut_text(tmp_path, f"{before}{LINES}{after}")
    assert parts == [before, Place(5, "my.model H C O"), after]


def test_the_potential_may_be_one_line(tmp_path: Path) -> None:
    parts = cut_text(tmp_path, "units metal\npair_style piwsl\nrun 5\n")
    assert parts == ["units metal\n", Place(2, None), "run 5\n"]


def test_commands_between_style_and_coefficients_run_before_the_potential(tmp_path: Path) -> None:
    parts = cut_text(
        tmp_path, "pair_style\tpiwsl\nmass 1 1.0\npair_coeff  * *  a.model &\n H\nrun 1"
    )
    assert parts == ["mass 1 1.0\n", Place(4, "a.model H"), "run 1"]


def test_other_potentials_are_left_to_lammps(tmp_path: Path) -> None:
    other = "pair_style lj/cut 5.0\npair_coeff * * 1.0 1.0\nrun 1\n"
    parts = cut_text(tmp_path, f"{other}{LINES}run 2\n{other}{LINES}")
    assert parts == [
        other,
        Place(5, "my.model H C O"),
        f"run 2\n{other}",
        Place(11, "my.model H C O"),
    ]


def test_what_is_quoted_or_a_comment_is_no_potential(tmp_path: Path) -> None:
    text = '# pair_style piwsl\nprint """\npair_style piwsl\n"""\nprint "pair_style piwsl"\n'
    with pytest.raises(ValueError, match=r"in\.file: no line says 'pair_style piwsl' \(files that"):
        cut_text(tmp_path, text)
    assert cut_text(tmp_path, text + LINES)[0] == text


@given(
    st.lists(st.sampled_from(["run 1\n", "\n", "# x\n", "fix a &\n all nve\n", "mass 1 &\n1\n"]))
)
def test_every_line_of_the_user_arrives_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for position in range(len(lines) + 1):
        text = "".join([*lines[:position], LINES, *lines[position:]])
        parts = cut_text(folder, text)
        assert "".join(part for part in parts if isinstance(part, str)) == "".join(lines)
        assert len([part for part in parts if isinstance(part, Place)]) == 1


WRONG = {
    "pair_style hybrid piwsl\n": "line 1: 'piwsl' cannot be part of another pair style",
    "pair_style piwsl 5.0\n": "line 1: 'pair_style piwsl' takes nothing after it",
    "pair_style piwsl\npair_coeff 1 1 a.model H\n": "line 2: 'pair_coeff 1 1 a.model H' is not",
    "pair_style piwsl\npair_coeff * * a.model\n": "line 2: 'pair_coeff * * a.model' is not",
    "fix cold all setforce 0 0 0\n" + LINES: "'fix cold ... setforce' of line 1 stands before",
    "fix stiff all rigid/small molecule\n" + LINES: "'fix stiff ... rigid/small' of line 1 stands",
    LINES + "fix a all &": "the last command of the input file is not complete: fix a all &",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_potential_in_the_wrong_place_is_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pair_coeff|potential|complete") as raised:
        cut_text(tmp_path, text)
    assert WRONG[text] in str(raised.value)


def test_a_fix_that_only_adds_may_stand_before(tmp_path: Path) -> None:
    assert len(cut_text(tmp_path, f"fix a all property/atom mol\n{LINES}")) == 2


def test_a_missing_file_or_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file; expected a LAMMPS input file"):
        cut(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is a folder"):
        cut(tmp_path)
