"""Files of frames of the accuracy benchmark."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import ase.io
from ase import Atoms
from ase.data import chemical_symbols
from augmentations import ENERGY, FORCES


def read_frames(path: Path) -> list[Atoms]:
    """Read frames with their energies and forces, and nothing else that a file may hold.

    Args:
        path: Any file that ASE reads; each frame with ``REF_energy``, eV, and perhaps
            ``REF_forces``, eV/angstrom.

    Raises:
        ValueError: There is no such file, or a frame has no energy.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    frames = []
    for number, found in enumerate(ase.io.iread(path, index=":")):
        if ENERGY not in found.info:
            raise ValueError(
                f"{path}, frame {number}: expected an energy under {ENERGY}, found the keys "
                f"{', '.join(sorted(found.info)) or 'none'}; rename the energy's"
            )
        atoms = Atoms(found.numbers, found.positions, cell=found.cell, pbc=found.pbc)
        atoms.info[ENERGY] = float(found.info[ENERGY])
        if FORCES in found.arrays:
            atoms.arrays[FORCES] = found.arrays[FORCES]
        frames.append(atoms)
    return frames


def free_atoms(path: Path) -> dict[str, float]:
    """Energies of the free atoms, eV, by element, in the order of the atomic number."""
    found = {int(a.numbers[0]): float(a.info[ENERGY]) for a in read_frames(path)}
    return {chemical_symbols[number]: found[number] for number in sorted(found)}


def write_once(path: Path, frames: Sequence[Atoms]) -> str:
    """Write a file of frames, unless it is there.

    Returns:
        What the file holds.

    Raises:
        ValueError: It is there and holds something else.
    """
    text = io.StringIO()
    ase.io.write(text, list(frames), format="extxyz")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.getvalue(), encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text.getvalue():
        raise ValueError(
            f"{path} was made from other data or by another method; choose another --output"
        )
    return text.getvalue()


def digest(text: str) -> str:
    """A short name of a text's content."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
