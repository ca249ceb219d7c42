"""Extended XYZ, frame by frame: each one is cut out of the file and given to ASE.

ASE's own loop stops without a word at an empty line, takes a last number that was cut off for a
whole one, and knows neither the labels nor the comment lines that some programs write.
"""

from __future__ import annotations

import io
import itertools
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import ase
import numpy as np
from ase.data import chemical_symbols
from ase.io.extxyz import read_xyz
from ase.io.formats import UnknownFileTypeError, filetype, open_with_compression

from piwsl_plugins.data.frames import DataError, RawFrame
from piwsl_plugins.data.settings import DataSettings

KIND = "extxyz"
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
PROGRAMS = {
    "ORCA": rf"\s*Coordinates from ORCA-job .*\bE\s+({NUMBER})",
    "xTB": rf"\s*energy:\s*({NUMBER})\s+gnorm:",
    "CP2K": rf"\s*i\s*=\s*\d+\s*,.*\bE\s*=\s*({NUMBER})",
    "geomeTRIC": rf"\s*Iteration\s+\d+\s+Energy\s+({NUMBER})",
}
"""Comment lines of programs whose energies are in hartree."""
WITH_UNIT = re.compile(rf"(?i)\b(?:energy|E|scf done)\s*[:=]?\s*({NUMBER})\s*(eV|hartree|Eh|Ha)\b")
DEUTERIUM = 2.01410178
_FORTRAN = re.compile(r"(?<![\w.])([-+]?(?:\d+\.?\d*|\.\d+))[dD]([-+]?\d{1,3})(?![\w.])")
_PROPERTIES = re.compile(r"""(?:^|\s)["']?Properties["']?\s*=\s*["']?([^\s"']+)""")
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)


def recognises(path: Path) -> bool:
    """Whether ASE takes the file for extxyz."""
    try:
        return path.is_file() and filetype(str(path)) == "extxyz"
    except (UnknownFileTypeError, *_BROKEN):
        return path.name.endswith(("xyz", "xyz.gz", "xyz.bz2", "xyz.xz"))


def read(path: Path, settings: DataSettings) -> Iterator[RawFrame]:
    """Frames in the file's order; a DataError names the line where a frame is broken."""
    try:
        with open_with_compression(str(path), "rb") as stream:
            lines = io.TextIOWrapper(stream, encoding="utf-8-sig")
            for number, (line, text) in enumerate(_cut(lines, path)):
                yield _build(text, f"{path}, line {line}, frame {number}", f"line {line}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {error}; the file must be text in UTF-8") from error
    except _BROKEN as error:
        raise DataError(f"{path}: cannot be read to its end: {error}") from error


def _cut(lines: Iterator[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number of each frame's first line, from 1, and its lines."""
    line = 1
    for number in itertools.count():
        head = next(lines, "")
        atoms = int(head) if head.strip().isdecimal() else 0
        text = [head, *itertools.islice(lines, atoms + 1)]
        if not head.strip() and not any(map(str.strip, itertools.chain(text, lines))):
            return
        if not head.strip():
            wrong = f"an empty line after {number} frames, with more text below it"
        elif atoms < 1:
            found = head.rstrip()[:60]
            wrong = f"expected the number of atoms of frame {number}, found {found!r}"
        elif len(text) < atoms + 2:
            there = max(0, len(text) - 2)
            wrong = f"the file ends within frame {number}: {there} of {atoms} atoms are there"
        else:
            yield line, text
            line += atoms + 2
            continue
        why = "it was cut off, or has a line too many or too few"
        raise DataError(f"{path}, line {line}: {wrong}; {why}")


def _build(text: list[str], name: str, where: str) -> RawFrame:
    """What ASE makes of a frame, with the labels of atoms and Fortran's exponents mended."""
    head, line, *rows = [row.rstrip("\r\n") for row in text]
    comment, energy, unit, remark = _comment(fortran(line))
    remarks = [remark] if remark else []
    declared = _PROPERTIES.search(comment)
    columns = declared[1] if declared else "species:S:1:pos:R:3"
    width = sum(map(int, re.findall(r":(\d+)", columns)))
    for index, row in enumerate(rows):
        if (found := len(row.split())) != width and (declared or found < width):
            place = f"{name}: after {index} of {len(rows)} atoms"
            what = f"of {found} columns, but Properties={columns} are {width}"
            raise DataError(f"{place} comes {row[:60]!r}, {what}")
    if not text[-1].endswith("\n"):
        *others, last = [row.split()[-1] for row in rows]
        check_end(name, last, others or rows[0].split()[1:-1])
    try:
        atoms = _ase(head, comment, rows)
    except Exception:  # labels that are no elements, or numbers of Fortran's
        words = [fortran(row).split() for row in rows]
        labels = [row[0] for row in words] if columns.startswith("species") else []
        mended = {label: _element(label, name) for label in labels}
        rows = [" ".join([mended.get(row[0], row[0]), *row[1:]]) for row in words]
        try:
            atoms = _ase(head, comment, rows)
        except Exception as error:
            what = str(error).removeprefix("ase.io.extxyz: ")
            raise DataError(f"{name}: ASE cannot read this frame: {what}") from error
        changed = [f"{label} as {symbol}" for label, symbol in mended.items() if label != symbol]
        if changed:
            remarks.append(f"atom labels were read by their element: {', '.join(changed[:3])}")
        if {"D", "d"} & mended.keys():
            heavy = np.isin(labels, ["D", "d"])
            atoms.set_masses(np.where(heavy, DEUTERIUM, atoms.get_masses()))
    if energy is not None:
        atoms.info["energy"] = energy
    elif not comment and line.strip():
        atoms.info["comment"] = line.strip()
    frame = RawFrame.of_atoms(atoms, where=where)
    frame.energy_unit = unit
    frame.remarks += tuple(remarks)
    return frame


def _ase(head: str, comment: str, rows: list[str]) -> ase.Atoms:
    text = "\n".join([head, comment, *rows, ""])
    atoms: ase.Atoms = next(read_xyz(io.StringIO(text), index=0))
    return atoms


def _comment(text: str) -> tuple[str, float | None, str, str]:
    """A comment line for ASE, and the energy, unit and remark found instead of it."""
    for program, pattern in PROGRAMS.items():
        if found := re.match(pattern, text):
            remark = f"energies stand in comment lines of {program}, which writes hartree"
            return "", float(found[1]), "hartree", remark
    found = WITH_UNIT.search(text)
    unit = "hartree" if found and found[2].lower() != "ev" else "eV"
    remark = f"energies stand in comment lines, in {unit}" if found else ""
    energy = float(found[1]) if found and "=" not in text else None
    return text if "=" in text else "", energy, unit, remark


def _element(label: str, name: str) -> str:
    """The element of a label such as C1, O_w, 6, or D."""
    found = re.match(r"([A-Za-z]{1,2})(?:[\d_+\-*'](?!.*(gh|bq|dummy)).*)?$", label, re.IGNORECASE)
    symbol = found[1].capitalize() if found else ""
    if label.isdigit() and int(label) < len(chemical_symbols):
        symbol = chemical_symbols[int(label)]
    if label in ("D", "d"):
        return "H"
    if symbol not in chemical_symbols[1:]:
        what = "is no element; expected a symbol or an atomic number; remove ghost and dummy atoms"
        raise DataError(f"{name}: atom label {label!r} {what}")
    return symbol


def fortran(text: str) -> str:
    """The same text with ``1.0D+02``, as Fortran writes it, as ``1.0e+02``."""
    return _FORTRAN.sub(r"\1e\2", text)


def check_end(where: str, last: str, others: list[str]) -> None:
    """Refuse a last number, before no end of a line, of fewer decimals than all others have."""
    decimals = {len(token.partition(".")[2]) for token in others}
    if len(decimals) == 1 and len(last.partition(".")[2]) < decimals.pop():
        why = "without the end of the line and with fewer decimals than others; it was cut off"
        raise DataError(f"{where}: the file ends with {last!r}, {why}")
