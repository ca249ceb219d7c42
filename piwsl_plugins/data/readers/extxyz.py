"""Extxyz frame by frame: where each one is in the file, and what ASE makes of it.

ASE's own reader goes through the whole file before it hands on the first frame, stops without a
word at an empty line, and names no line where it fails; so the frames are cut out here, and each
one is given to ASE.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import re
from collections.abc import Iterator
from typing import BinaryIO

import ase
from ase.data import atomic_numbers
from ase.io.extxyz import key_val_str_to_dict, parse_properties, read_xyz

from piwsl_plugins.data.blocks import Floats
from piwsl_plugins.data.readers.base import DataError
from piwsl_plugins.data.readers.records import numeric, record_of

LONGEST_LINE = 2**24
"""Bytes; whatever has longer lines is no text."""
MANY_LINES = 4096
"""Lines that are read before they are looked at, as a wrong count may ask for any number."""
DEFAULT_PROPERTIES = "species:S:1:pos:R:3"
_PROPERTIES = re.compile(r"""(?:^|\s)["']?Properties["']?\s*=\s*["']?([^\s"']+)""")
_NOT_LABELS = {"symbols", "positions", "numbers", "move_mask", "Lattice", "pbc"}


@dataclasses.dataclass(frozen=True, slots=True)
class FrameText:
    """The lines of one frame.

    Attributes:
        path: the file.
        number: of the frame, from 0.
        line: number of its first line, from 1.
        offset: of its first byte in the file.
        atoms: how many it has.
        lines: all of its lines, without their ends.
    """

    path: str
    number: int
    line: int
    offset: int
    atoms: int
    lines: list[str]

    def at(self, index: int) -> str:
        """How a message calls one of its lines."""
        return f"{self.path}, line {self.line + index}, frame {self.number}"


class _Lines:
    """Lines of a stream, with one to look ahead, their numbers and offsets."""

    def __init__(self, stream: BinaryIO, path: str, line: int) -> None:
        self.path = path
        self.line = line - 1  # of the last line handed on
        self.offset = stream.tell()  # of the next
        self._readline = stream.readline
        self._ahead: bytes | None = None
        self.complete = True  # whether the last line handed on has an end

    def peek(self) -> bytes:
        """The next line as it is; empty at the end."""
        if self._ahead is None:
            self._ahead = self._readline(LONGEST_LINE)
        return self._ahead

    def take(self, number: int) -> list[str]:
        """The next lines without their ends; fewer at the end of the file.

        Raises:
            DataError: a line that is not text.
        """
        raw = [] if self._ahead is None else [self._ahead]
        raw += [self._readline(LONGEST_LINE) for _ in range(number - len(raw))]
        self._ahead = None
        whole = b"".join(raw)
        if not whole:
            return []
        if b"\r" in whole or b"\0" in whole or len(whole) >= LONGEST_LINE or not whole.isascii():
            self._check(raw)
        self.complete = whole.endswith(b"\n")
        lines = whole.decode("utf-8").split("\n")
        if self.complete:
            lines.pop()
        self.line += len(lines)
        self.offset += len(whole)
        return [line.removesuffix("\r") for line in lines] if b"\r" in whole else lines

    def _check(self, raw: list[bytes]) -> None:
        for number, line in enumerate(raw, start=self.line + 1):
            where = f"{self.path}, line {number}"
            if len(line) >= LONGEST_LINE:
                raise DataError(f"{where}: too long; not a text file")
            if b"\r" in line.removesuffix(b"\n").removesuffix(b"\r") or b"\0" in line:
                raise DataError(f"{where}: a control character amid the line")
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{where}: {error.reason} (byte {error.start}); the file must be text in UTF-8"
                ) from error


def frame_texts(stream: BinaryIO, path: str, number: int = 0, line: int = 1) -> Iterator[FrameText]:
    """Cut a stream into frames.

    Args:
        stream: at the first byte of a frame.
        path: the file, for messages.
        number: of that frame, from 0.
        line: number of its first line, from 1.

    Yields:
        The frames.

    Raises:
        DataError: a frame that is not whole, or anything else between the frames.
    """
    lines, start = _Lines(stream, path, line), stream.tell()
    while head := lines.take(1):
        if not head[0].strip():
            _only_empty_lines_follow(lines, number)
            return
        atoms = _count(head[0], lines, number)
        text = FrameText(path, number, lines.line, start, atoms, head)
        _take_frame(lines, text)
        yield text
        number, start = number + 1, lines.offset


def _count(head: str, lines: _Lines, number: int) -> int:
    where = f"{lines.path}, line {lines.line}"
    try:
        atoms = int(head)
    except ValueError:
        raise DataError(
            f"{where}: expected the number of atoms of frame {number}, found {head[:60]!r}; a "
            "line is missing or too many before it"
        ) from None
    if atoms < 1:
        raise DataError(f"{where}: frame {number} has {atoms} atoms; remove it")
    return atoms


def _take_frame(lines: _Lines, text: FrameText) -> None:
    wanted = 2 + text.atoms
    while len(text.lines) < wanted:
        before = len(text.lines)
        text.lines.extend(lines.take(min(wanted - before, MANY_LINES)))
        for index in range(max(before, 2), len(text.lines)):
            if len(text.lines[index].split(maxsplit=1)) < 2:
                raise DataError(
                    f"{text.path}, line {text.line + index}: frame {text.number}, which begins at "
                    f"line {text.line}, has {text.atoms} atoms, but after {index - 2} of them "
                    f"comes {text.lines[index][:60]!r}"
                )
        if len(text.lines) == before:
            raise DataError(
                f"{text.path}: the file ends within frame {text.number}, which begins at line "
                f"{text.line}: {max(0, before - 2)} of {text.atoms} atoms are there; it was cut off"
            )
    while lines.peek().lstrip().startswith(b"VEC"):
        text.lines.extend(lines.take(1))
    if not lines.complete:
        *others, last = [line.split()[-1] for line in text.lines[2:]]
        check_end(text.at(len(text.lines) - 1), last, others or text.lines[-1].split()[1:-1])


def check_end(where: str, last: str, others: list[str]) -> None:
    """Refuse a last line without its end that stops amid a number, as far as that can be told.

    Args:
        where: how a message calls the line.
        last: its last number.
        others: numbers that should look like it.

    Raises:
        DataError: the others all have the same number of decimals, and it has fewer.
    """
    decimals = {len(token.partition(".")[2]) for token in others}
    if len(decimals) == 1 and len(last.partition(".")[2]) < decimals.pop():
        raise DataError(
            f"{where}: the file ends with {last!r}, without the end of the line and with fewer "
            "decimals than other numbers have; it was cut off"
        )
    logging.getLogger(__name__).warning(
        f"{where}: the line has no end; if the file was cut off, the last number, {last}, is wrong"
    )


def _only_empty_lines_follow(lines: _Lines, number: int) -> None:
    empty = lines.line
    while line := lines.take(1):
        if line[0].strip():
            raise DataError(
                f"{lines.path}, line {empty}: an empty line after {number} frames, with more "
                f"text from line {lines.line} on; most programs read no further. Remove it"
            )


def build(text: FrameText) -> ase.Atoms:
    """What ASE makes of a frame.

    Raises:
        DataError: ASE cannot read it, or a line has more columns than it should.
    """
    _check_columns(text)
    try:
        atoms: ase.Atoms = next(read_xyz(io.StringIO("\n".join(text.lines) + "\n"), index=0))
    except Exception as error:
        raise DataError(f"{text.at(_broken_line(text))}: {_reason(error)}") from error
    return atoms


def header(text: FrameText) -> tuple[set[int], dict[str, Floats | None]]:
    """Elements of a frame, and its numbers by name, without reading those of the atoms.

    Returns:
        Atomic numbers, and what :func:`piwsl_plugins.data.readers.records.record_of` would find,
        None for an array that has numbers.
    """
    if len(text.lines) > 2 + text.atoms or any("nan" in line.lower() for line in text.lines[2:]):
        atoms = build(text)
        return set(atoms.numbers.tolist()), dict(record_of(text.number, atoms).values)
    try:
        info = key_val_str_to_dict(text.lines[1])
        columns, _, _, converters = parse_properties(info.pop("Properties", DEFAULT_PROPERTIES))
        elements, first, arrays = set[int](), 0, []
        for name, (key, width) in columns.items():
            if name in ("species", "Z"):
                elements = {_element(line.split()[first]) for line in text.lines[2:]}
            elif key not in _NOT_LABELS and converters[first] in (int, float):
                arrays.append(key)
            first += width
    except Exception as error:
        raise DataError(f"{text.at(1)}: {_reason(error)}") from error
    values: dict[str, Floats | None] = dict.fromkeys(arrays)
    for key, value in info.items():
        array = None if key in _NOT_LABELS else numeric(value)
        if array is not None:
            values[key] = array.reshape(()) if array.size == 1 else array
    return elements, values


def _element(token: str) -> int:
    return int(token) if token.isdigit() else atomic_numbers[token.capitalize()]


def _check_columns(text: FrameText) -> None:
    """Refuse lines with more columns than they should have, which ASE would not read."""
    declared = _PROPERTIES.search(text.lines[1])
    if declared is None or len(text.lines) > 2 + text.atoms:
        return
    widths = declared[1].split(":")[2::3]
    if not all(width.isdigit() for width in widths):
        return  # ASE says what is wrong
    expected = sum(map(int, widths))
    for index, line in enumerate(text.lines[2:], start=2):
        found = len(line.split())
        if found != expected:
            raise DataError(
                f"{text.at(index)}: {found} columns, but Properties={declared[1]} are {expected}"
            )


def _broken_line(text: FrameText) -> int:
    """Which line of a frame ASE cannot read: that of the first bad number, or the second line."""
    try:
        info = key_val_str_to_dict(text.lines[1])
        converters = parse_properties(info.get("Properties", DEFAULT_PROPERTIES))[3]
    except Exception:
        return 1
    for index, line in enumerate(text.lines[2 : 2 + text.atoms], start=2):
        tokens = line.split()
        if len(tokens) < len(converters):
            return index
        try:
            for convert, token in zip(converters, tokens, strict=False):
                convert(token)
        except ValueError:
            return index
    return 1


def _reason(error: Exception) -> str:
    """ASE's words, and the name of the error where they say too little alone."""
    words = str(error).removeprefix("ase.io.extxyz: ")
    return f"ASE cannot read this frame: {type(error).__name__}: {words}"
