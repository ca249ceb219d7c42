"""Extxyz: frames are what ASE makes of them, and whatever is broken is named with its line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from waters import waters, write

from piwsl_plugins.data.readers import DataError, extxyz, open_source
from piwsl_plugins.data.settings import DataSettings

TWO = """\
2
Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="F F F"
H 0.00 0.00 0.00  0.10 0.00 0.00
H 0.00 0.00 0.74 -0.10 0.00 0.00
2
Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.1 pbc="F F F"
H 0.00 0.00 0.00  0.20 0.00 0.00
H 0.00 0.00 0.75 -0.20 0.00 0.00
"""


def read(path: Path, text: str | bytes, **keys: str) -> int:
    """Number of frames of a file with that text, all of them read."""
    path = path / "a.xyz"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    opened = open_source(path, DataSettings(**keys))  # type: ignore[arg-type]
    return sum(len(block) for block in opened.blocks())


def refused(path: Path, text: str | bytes, match: str, **keys: str) -> None:
    with pytest.raises(DataError, match=match):
        read(path, text, **keys)


def line(number: int, new: str | None) -> str:
    """The two frames with one line, counted from 1, replaced or left out."""
    lines = TWO.splitlines()
    lines[number - 1 : number] = [] if new is None else [new]
    return "\n".join(lines) + "\n"


def test_the_unbroken_file_has_two_frames(tmp_path: Path) -> None:
    assert read(tmp_path, TWO) == 2


@pytest.mark.parametrize(
    ("number", "match"),
    [
        (1, r"line 1: expected the number of atoms of frame 0, found 'Properties="),
        (2, r"line 5: frame 0, which begins at line 1, has 2 atoms, but after 1 of them .* '2'"),
        (3, r"line 4: frame 0, which begins at line 1, has 2 atoms, but after 1 .* '2'"),
        (5, r"line 5: expected the number of atoms of frame 1, found 'Properties="),
        (6, r"the file ends within frame 1, which begins at line 5: 1 of 2 atoms are there"),
        (8, r"the file ends within frame 1, which begins at line 5: 1 of 2 atoms are there"),
    ],
)
def test_a_missing_line_is_named(tmp_path: Path, number: int, match: str) -> None:
    if number == 2:  # an atom's line stands for the comment then, and the next count for an atom's
        match = match.replace("line 5", "line 4")
    refused(tmp_path, line(number, None), match)


@pytest.mark.parametrize(
    ("number", "new", "match"),
    [
        (5, "two", "line 5: expected the number of atoms of frame 1, found 'two'"),
        (5, "0", "line 5: frame 1 has 0 atoms"),
        (5, "-2", "line 5: frame 1 has -2 atoms"),
        (5, "3", "the file ends within frame 1, .*: 2 of 3 atoms"),
        (5, "99999999999999999", "the file ends within frame 1"),
        (1, "5", r"line 5: frame 0, .* has 5 atoms, but after 2 of them comes '2'"),
        (7, "H 0.0 0.0 0.0x 0.2 0.0 0.0", "line 7, frame 1: ASE cannot read .*: ValueError: could"),
        (7, "H 0.0 0.0 0.0 0.2 0.0", "line 7, frame 1: 6 columns, but Properties=.* are 7"),
        (7, "H 0.0 0.0 0.0 0.2 0.0 0.0 1", "line 7, frame 1: 8 columns, but Properties=.* are 7"),
        (7, "Qq 0.0 0.0 0.0 0.2 0.0 0.0", "frame 1: ASE cannot read this frame: .*Qq"),
        (7, "X 0.0 0.0 0.0 0.2 0.0 0.0", "frame 1: atom 0 is of no element"),
        (7, "H 0.0 nan 0.0 0.2 0.0 0.0", r"frame 1: position of atom 0 is \[ 0. nan  0.\]"),
        (6, "Properties=species:S:1:pos:R:3:f:Q:3 energy=1", "frame 1: ASE cannot read"),
        (6, 'Lattice="1 0 0 0 1" energy=1', "line 6, frame 1: ASE cannot read this frame: .*Lat"),
        (6, 'Properties=species:S:1:pos:R:3:forces:R:3 energy=1 pbc="T T T"', "periodic along"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, number: int, new: str, match: str) -> None:
    refused(tmp_path, line(number, new), match)


@pytest.mark.parametrize("value", ["-1.0x", "None", "T", ""])
def test_a_label_that_is_no_number_is_not_taken_for_a_missing_one(
    tmp_path: Path, value: str
) -> None:
    text = TWO.replace("energy=-1.0", f'energy="{value}"' if value else "energy")
    refused(tmp_path, text, "frame 0: 'energy' is .*, not a number", energy="energy")


def test_forces_of_two_columns_are_refused(tmp_path: Path) -> None:
    text = TWO.replace("forces:R:3", "forces:R:2").replace("0.00 0.00\n", "0.00\n")
    refused(tmp_path, text, r"frame 0, forces: 'forces' is of shape \(2, 2\)", forces="forces")
    assert read(tmp_path, text) == 2


def test_text_after_an_empty_line_is_refused_as_others_would_not_read_it(tmp_path: Path) -> None:
    frames = TWO.splitlines(keepends=True)
    text = "".join([*frames[:4], "\n", *frames[4:]])
    (tmp_path / "ase.xyz").write_text(text)
    assert len(ase.io.read(tmp_path / "ase.xyz", ":")) == 1
    refused(tmp_path, text, "line 5: an empty line after 1 frames, with more text from line 6 on")
    assert read(tmp_path, TWO + "\n\n  \n") == 2


def test_a_frame_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    second = len(TWO) // 2
    for end in [*range(1, second - 1), *range(second + 1, len(TWO) - 1)]:
        refused(tmp_path, TWO[:end], "a.xyz")
    for end in (second - 1, len(TWO) - 1):  # nothing but the last line's end is lost
        assert read(tmp_path, TWO[:end]) == round(2 * end / len(TWO))


def test_a_last_line_without_end_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path, TWO[:-1]) == 2
    assert "line 8, frame 1: the line has no end" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert read(tmp_path, TWO) == 2
    assert caplog.text == ""


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    refused(tmp_path, line(6, "length=1Å energy=1").encode("latin-1"), "line 6: .*UTF-8")
    refused(tmp_path, TWO.replace("energy=-1.1", "note=a\0b"), "line 6: a control character")


def test_a_file_without_lines_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extxyz, "LONGEST_LINE", 1000)
    refused(tmp_path, b"7" * 5000, "line 1: too long; not a text file")


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    assert read(tmp_path, TWO.replace("\n", "\r\n")) == 2


def test_plain_xyz_with_more_columns_is_read_as_ase_does(tmp_path: Path) -> None:
    text = "2\nsome comment\nH 0.0 0.0 0.0 0.1\nH 0.0 0.0 0.7 -0.1\n"
    assert read(tmp_path, text) == 1


def test_cell_vectors_after_the_atoms_are_read(tmp_path: Path) -> None:
    text = "1\n\nCu 0.0 0.0 0.0\nVEC1 3.6 0.0 0.0\nVEC2 0.0 3.6 0.0\nVEC3 0.0 0.0 3.6\n"
    path = tmp_path / "a.xyz"
    path.write_text(text * 3)
    opened = open_source(path)
    assert len(opened) == 3
    (block,) = opened.blocks()
    assert block.cell == pytest.approx(np.stack([np.eye(3) * 3.6] * 3))
    assert opened.frame(2).cell == pytest.approx(block.cell[:1])


@pytest.mark.parametrize("frames", [1, 4])
def test_what_the_first_pass_finds_is_what_the_frames_have(tmp_path: Path, frames: int) -> None:
    structures = waters(frames)
    for i, atoms in enumerate(structures):
        atoms.info |= {"charge": 1, "note": "a b", "flag": True, "vector": np.arange(4.0)}
        atoms.arrays["q"] = np.full(3, np.nan if i == 0 else 0.1)
        atoms.arrays["kind"] = np.array(["a", "b", "c"])
        atoms.info["REF_stress"] = np.arange(9.0)
    structures.append(ase.Atoms("He", info={"ccsd": np.nan}))
    opened = open_source(write(tmp_path / "a.xyz", structures))
    expected: dict[str, int] = {}
    for number in range(frames + 1):
        for key, value in opened.record(number).values.items():  # type: ignore[attr-defined]
            expected[key] = expected.get(key, 0) + (not np.isnan(value).all())
    assert opened.keys == {key: number for key, number in expected.items() if number}
    assert set(opened.keys) >= {"ccsd", "dft_forces", "charge", "vector", "REF_stress"}
    assert opened.elements().tolist() == [1, 2, 8]


def test_what_is_kept_of_a_file_does_not_grow_with_its_frames(tmp_path: Path) -> None:
    opened = open_source(write(tmp_path / "a.xyz", waters(300)), DataSettings(energy="ccsd"))
    held = 0
    for block in opened.blocks(50):
        held = max(held, block.positions.nbytes)
    assert held == 50 * 9 * 8


CHANGES: list[Callable[[list[str]], list[str]]] = [
    lambda lines: lines[::-1],
    lambda lines: lines + lines[:3],
    lambda lines: [line.replace(".", ",") for line in lines],
    lambda lines: [*lines[:4], "5", *lines[4:]],
]


@pytest.mark.parametrize("change", CHANGES)
def test_shuffled_files_are_refused(
    tmp_path: Path, change: Callable[[list[str]], list[str]]
) -> None:
    refused(tmp_path, "\n".join(change(TWO.splitlines())) + "\n", "a.xyz")
