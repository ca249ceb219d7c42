"""Extended XYZ as programs and people write it: read, or refused with the line and the frame."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import units
from hypothesis import given, settings
from hypothesis import strategies as st
from molecules import labelled, springs, write

from piwsl_plugins.data.frames import DataError
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings

EH = units.Hartree
ENERGY = springs()[0][1]


def text(comments: list[str], label: str = "", decimals: int = 8) -> str:
    """A plain xyz file with these comment lines; the first atom may have another label."""
    lines = []
    for comment, (atoms, _, _) in zip(comments, springs(), strict=False):
        lines += [str(len(atoms)), comment]
        for i, atom in enumerate(atoms):
            symbol = label if label and i == 0 else atom.symbol
            lines.append(symbol + "".join(f" {x:.{decimals}f}" for x in atom.position))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("comment", "unit"),
    [
        ("Coordinates from ORCA-job scan E {:.9f}", EH),
        (" energy: {:.9f} gnorm: 0.031416 xtb: 6.6.1 (8d0f1dd)", EH),
        (" i =        0, time =        0.000, E =       {:.9f}", EH),
        (" i =        4, E =       {:.9f}", EH),
        ("Iteration 3 Energy {:.9f}", EH),
        ("Energy: {:.9f} Eh", EH),
        ("E = {:.9f} eV", 1.0),
        ("step=3 energy={:.9f} Eh", EH),
        ("energy = {:.9f}", 1.0),
        ("step 3 energy={:.9f} done", 1.0),
    ],
)
def test_comment_lines_of_programs_are_read_in_their_unit(
    tmp_path: Path, comment: str, unit: float
) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(text([comment.format(e / unit) for _, e, _ in springs()[:25]]))
    found = read(path, DataSettings())
    np.testing.assert_allclose(found.energies(), [e for _, e, _ in springs()[:25]], atol=1e-6)


@pytest.mark.parametrize("comment", ["SCF done at -8.22", "-8.2224", "energy: -8.2 something"])
def test_other_free_text_is_shown_and_not_guessed(tmp_path: Path, comment: str) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(text([comment] * 3))
    with pytest.raises(DataError, match="free text") as error:
        read(path, DataSettings())
    assert comment in str(error.value)


def test_exponents_of_fortran_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    made = text(["energy=-4.300D+02", "energy=-4.301d+02"], decimals=3).replace(
        " 0.000", " 0.0D+00"
    )
    path.write_text(made)
    assert read(path, DataSettings()).energies().tolist() == [-430.0, -430.1]


@pytest.mark.parametrize(("label", "symbol"), [("O1", "O"), ("8", "O"), ("o", "O"), ("O_w", "O")])
def test_labels_of_atoms_are_read_by_their_element(tmp_path: Path, label: str, symbol: str) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(text(["energy=-430.0"], label))
    found = read(path, DataSettings())
    assert found.frames[0].atoms.symbols[0] == symbol


def test_deuterium_is_hydrogen_with_its_mass(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(text(["energy=-430.0"], "D"))
    found = read(path, DataSettings())
    assert found.frames[0].atoms.numbers[0] == 1
    assert found.frames[0].atoms.get_masses()[0] == pytest.approx(2.014, abs=1e-3)
    assert any("D as H" in remark for remark in found.remarks)


@pytest.mark.parametrize("label", ["X", "Bq", "Gh(O)", "Q7"])
def test_ghost_atoms_are_refused(tmp_path: Path, label: str) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(text(["energy=-430.0"], label))
    with pytest.raises(DataError, match="no element"):
        read(path, DataSettings())


@pytest.mark.parametrize("name", ["a@1.xyz", "with space.xyz", "a@2:3.extxyz"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_names_of_files_are_names_and_files_of_notepad_are_read(
    tmp_path: Path, name: str, encoding: str
) -> None:
    text = write(tmp_path / "a.xyz", labelled(3)).read_text()
    (tmp_path / name).write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert len(read(tmp_path / name, DataSettings()).frames) == 3


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_compressed_files_are_read_and_cut_off_ones_refused(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.xyz{suffix}", labelled(30))
    assert len(read(path, DataSettings()).frames) == 30
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"end|cut off"):
        read(path, DataSettings())


TEXT = text([f"energy={-430 - i}.25" for i in range(4)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [*lines[:6], "", *lines[6:]], "line 7: an empty line after 1 frames"),
        (lambda lines: [*lines[:7], *lines[8:]], "line 7, frame 1: after 3 of 4 atoms comes '4'"),
        (lambda lines: lines[:-2], "line 19: the file ends within frame 3: 2 of 4 atoms"),
        (lambda lines: ["5", *lines[1:]], "line 1, frame 0: after 4 of 5 atoms comes '4'"),
        (lambda lines: ["four", *lines[1:]], "expected the number of atoms of frame 0"),
        (
            lambda lines: ["0", "energy=1", *lines],
            "expected the number of atoms.*found '0'",
        ),
        (lambda lines: [*lines[:2], lines[2] + "x", *lines[3:]], "could not convert"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(
    tmp_path: Path, change: object, message: str
) -> None:
    path = tmp_path / "a.xyz"
    path.write_text("\n".join(change(TEXT.splitlines())) + "\n")  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        read(path, DataSettings())


def test_a_number_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text(TEXT.rstrip("\n"))
    assert len(read(path, DataSettings()).frames) == 4
    path.write_text(TEXT.rstrip("\n")[:-3])
    with pytest.raises(DataError, match="was cut off"):
        read(path, DataSettings())


def test_text_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_bytes(TEXT.encode("utf-16"))
    with pytest.raises(DataError, match="UTF-8"):
        read(path, DataSettings())
    path.write_text("")
    with pytest.raises(DataError, match="empty"):
        read(path, DataSettings())


@settings(max_examples=150)
@given(st.data())
def test_damaged_text_gives_the_frames_of_ase_or_an_error_of_ours(data: st.DataObject) -> None:
    changed = bytearray(TEXT.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed) - 1))
        byte = data.draw(st.sampled_from(b'\n\r "=.,-0159eEnNaT:\xff'))
        changed[place : place + data.draw(st.integers(0, 1))] = bytes([byte])
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(DataError):
        path = Path(folder) / "a.xyz"
        path.write_bytes(changed)
        found = read(path, DataSettings(allow_unusual_units=True), needs_energies=False)
        assert len(found.frames) == 4
        with contextlib.suppress(Exception):
            theirs = ase.io.read(path, ":")
            for ours, other in zip(found.frames, theirs, strict=True):
                np.testing.assert_array_equal(ours.atoms.positions, other.positions)
