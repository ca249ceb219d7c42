"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms

from piwsl_plugins.weak.extxyz import exact_text


def write_text(path: Path, text: str) -> None:
    """Write a file under another name first, so that a kill leaves none or all of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401  any tree of numbers and names
    """Write JSON, indented; a number that is not finite is an error."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_frames(path: Path, frames: Iterable[Atoms]) -> None:
    """Write extended xyz without loss of digits."""
    write_text(path, "".join(exact_text(frame) for frame in frames))


def read_frames(path: Path) -> list[Atoms]:
    """Read all frames of a file that ASE reads.

    Raises:
        ValueError: There is no such file, or ASE cannot read it.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        return []
    try:
        return list(ase.io.iread(path, index=":", do_not_split_by_at_sign=True))
    except Exception as error:  # whatever a reader raises about a file that it cannot read
        raise ValueError(f"{path}: ASE cannot read it: {error}") from error


def bare(frame: Atoms, kept: Iterable[str]) -> Atoms:
    """A geometry without labels, of whatever name, that it may bring.

    Args:
        frame: The geometry.
        kept: What it keeps of its ``info``.
    """
    made = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    made.info = {key: frame.info[key] for key in kept if key in frame.info}
    return made


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def digest_of(content: Any) -> str:  # noqa: ANN401  whatever JSON holds
    """SHA-256 of JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def geometry_hash(atoms: Atoms) -> str:
    """Short name of a geometry: digest of species, positions and, if periodic, cell."""
    found = hashlib.sha256(atoms.numbers.astype("<i8").tobytes())
    found.update(atoms.positions.astype("<f8").tobytes())
    if atoms.pbc.any():
        found.update(atoms.pbc.astype("u1").tobytes())
        found.update(atoms.cell.array.astype("<f8").tobytes())
    return found.hexdigest()[:16]
