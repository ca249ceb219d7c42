"""Damaged text files: the frames that ASE reads, or an error of ours; never a part in silence."""

from __future__ import annotations

import contextlib
import csv
import tempfile
import warnings
from pathlib import Path

import ase
import ase.io
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from waters import waters, write

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.readers import DataError, open_source
from piwsl_plugins.data.settings import DataSettings

KEYS = DataSettings(energy="ccsd", forces="dft_forces")
WHOLE = [*waters(3), ase.Atoms("He", info={"ccsd": -79.0})]


def _text() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder) / "a.xyz", WHOLE).read_bytes()


TEXT = _text()
TABLE = "file,frame,energy,kind\n" + "".join(
    f"all.xyz,{i},{-1.5 - i:.6f},name{i}\n" for i in range(4)
)


@st.composite
def damaged(draw: st.DrawFn, text: bytes) -> bytes:
    """Cut off, without some lines, with some lines twice, or with other characters."""
    kind = draw(st.sampled_from(["cut", "lines", "repeat", "flip", "insert"]))
    if kind == "cut":
        return text[: draw(st.integers(0, len(text)))]
    lines = text.splitlines(keepends=True)
    chosen = draw(st.sets(st.integers(0, len(lines) - 1), min_size=1, max_size=3))
    if kind == "lines":
        return b"".join(line for i, line in enumerate(lines) if i not in chosen)
    if kind == "repeat":
        return b"".join(line * (2 if i in chosen else 1) for i, line in enumerate(lines))
    changed = bytearray(text)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(changed) - 1))
        byte = draw(st.one_of(st.integers(0, 255), st.sampled_from(b'\n\r "=.,-0159eEnNaT:')))
        changed[place : place + (kind == "flip")] = bytes([byte])
    return bytes(changed)


def our_frames(path: Path, keys: DataSettings) -> list[Block] | None:
    """Blocks of one frame, or None after an error of ours; any other error fails the test."""
    try:
        opened = open_source(path, keys)
        frames = [block.take([i]) for block in opened.blocks(size=2) for i in range(len(block))]
    except DataError:
        return None
    assert len(opened) == len(frames)
    return frames


def frames_of_ase(path: Path) -> list[ase.Atoms]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(ase.io.iread(path, format="extxyz"))


@given(damaged(TEXT))
@settings(max_examples=300)
def test_damaged_extxyz_gives_what_ase_reads_or_an_error(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.xyz"
        path.write_bytes(text)
        frames = our_frames(path, KEYS)
        if frames is None:
            return
        theirs = frames_of_ase(path)
        assert len(frames) == len(theirs)
        for ours, atoms in zip(frames, theirs, strict=True):
            assert np.array_equal(ours.numbers, atoms.numbers)
            assert np.array_equal(ours.positions[0], atoms.positions)
            energy = atoms.info.get("ccsd", np.nan)
            assert np.array_equal(ours.labels["energy"][0], energy, equal_nan=True)
            if ours.has("forces")[0]:
                assert np.array_equal(ours.labels["forces"][0], atoms.arrays["dft_forces"])
            else:
                assert "dft_forces" not in atoms.arrays


@given(st.integers(0, len(TEXT) - 2))
def test_extxyz_cut_off_anywhere_within_a_frame_is_an_error(end: int) -> None:
    heads = {0}
    for frame in WHOLE:
        size = len(frame) + 2
        lines = TEXT[max(heads) :].splitlines(keepends=True)[:size]
        heads.add(max(heads) + sum(map(len, lines)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.xyz"
        path.write_bytes(TEXT[:end])
        frames = our_frames(path, KEYS)
    whole = end in heads or end + 1 in heads  # nothing but the last line's end may be lost
    assert (frames is None) == (not whole or end == 0)


@given(damaged(TABLE.encode()))
@settings(max_examples=200)
def test_a_damaged_table_gives_its_rows_or_an_error(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "all.xyz", WHOLE)
        path = Path(folder) / "a.csv"
        path.write_bytes(text)
        frames = our_frames(path, DataSettings(energy="energy"))
        if frames is None:
            return
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    assert len(frames) == len(rows) - 1
    names = [name.strip() for name in rows[0]]
    for ours, cells in zip(frames, rows[1:], strict=True):
        row = dict(zip(names, cells, strict=True))
        number = float("nan")
        with contextlib.suppress(ValueError):
            number = float(row["energy"])
        assert np.array_equal(ours.labels["energy"][0], number, equal_nan=True)
        if "frame" in row:
            expected = WHOLE[int(float(row["frame"]))]
            assert ours.numbers.tolist() == expected.numbers.tolist()
