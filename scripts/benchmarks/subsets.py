"""Frames of the accuracy benchmark: read, labelled by a cheap method, and drawn into subsets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from methods import Method

from piwsl_plugins import cli

ENERGY, FORCES = "REF_energy", "REF_forces"
WEAK_ENERGY, WEAK_FORCES, UNITS = "weak_energy", "weak_forces", "piwsl_units"
"""What ``piwsl label`` writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """The files of one run, relative to the benchmark's folder, and their digest.

    ``n_train`` frames train, ``n_forces`` of which have reference forces, and ``valid_forces`` says
    whether all validation frames have them.
    """

    train: str
    valid: str
    n_train: int
    n_forces: int
    valid_forces: bool
    digest: str


def read_frames(path: Path) -> list[Atoms]:
    """Read frames with their labels, and nothing else that a file may hold.

    Args:
        path: any file that ASE reads; each frame with ``REF_energy``, eV, and perhaps
            ``REF_forces``, eV/angstrom, and what ``piwsl label`` has added.

    Raises:
        ValueError: a frame has no energy.
    """
    frames = []
    for number, found in enumerate(ase.io.iread(path, index=":")):
        if ENERGY not in found.info:
            keys = ", ".join(sorted(found.info)) or "none"
            raise ValueError(f"{path}, frame {number}: expected {ENERGY}, found the keys {keys}")
        atoms = Atoms(found.numbers, found.positions, cell=found.cell, pbc=found.pbc)
        for key in (ENERGY, WEAK_ENERGY, UNITS):
            atoms.info |= {key: found.info[key]} if key in found.info else {}
        for key in (FORCES, WEAK_FORCES):
            atoms.arrays |= {key: found.arrays[key]} if key in found.arrays else {}
        frames.append(atoms)
    return frames


def free_atoms(path: Path) -> dict[str, float]:
    """Energies of the free atoms, eV, by element, in the order of the atomic number."""
    atoms = sorted(read_frames(path), key=lambda one: int(one.numbers[0]))
    return {one.symbols[0]: float(one.info[ENERGY]) for one in atoms}


def label(path: Path, method: str, output: Path) -> list[Atoms]:
    """The frames of a file with labels of a cheap method, which are computed once.

    Raises:
        ValueError: not all frames could be labelled.
    """
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        cli.main(["label", str(path), "--method", method, "-o", str(output)])
    wanted, found = read_frames(path), read_frames(output) if output.exists() else []
    if len(found) != len(wanted):
        raise ValueError(f"{path}: {method} labelled {len(found)} of {len(wanted)} frames")
    return found


def count_of(forces: str, n_frames: int) -> int:
    """How many of the training frames keep their forces: none, all, a number or a fraction."""
    words = {"none": 0.0, "all": float(n_frames)}
    number = words.get(forces, -1.0) if not forces[:1].isdigit() else float(forces)
    if number < 0.0:
        raise ValueError(f"--forces: got {forces!r}, expected none, all, a number or a fraction")
    return min(max(1, round(number * n_frames)) if 0.0 < number < 1.0 else int(number), n_frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What all subsets are drawn from.

    Attributes:
        frames: frames of the training file, with a cheap method's labels where they are needed.
        forces: what the command line says about their forces.
        validation: part of a subset that validates, to choose the best epoch; at least 5 frames.
        folder: the benchmark's folder.
    """

    frames: Sequence[Atoms]
    forces: str
    validation: float
    folder: Path

    def draw(self, size: int, seed: int) -> tuple[list[Atoms], list[Atoms], list[Atoms]]:
        """Draw frames: those of a smaller size are among those of a larger.

        Returns:
            Training and validation frames, ``size`` together, and those that are left.

        Raises:
            ValueError: there are too few frames, or too few are left for the training.
        """
        n_valid = max(5, round(self.validation * size))
        if not n_valid < size <= len(self.frames):
            raise ValueError(
                f"--sizes: {size} frames, {n_valid} of them to validate, cannot be drawn from "
                f"{len(self.frames)}"
            )
        order = np.random.default_rng(seed).permutation(len(self.frames))
        drawn = [self.frames[int(number)].copy() for number in order]
        return drawn[n_valid:size], drawn[:n_valid], drawn[size:]

    def subset(self, method: Method, size: int, seed: int) -> Subset:
        """Write the files of one run.

        Validation frames have forces only where all training frames have.

        Raises:
            ValueError: the frames do not suffice, or lack forces.
        """
        forces = "all" if method.labels == "all_forces" else self.forces
        train, valid, _ = self.draw(size, seed)
        n_forces = count_of(forces, len(train))
        valid_forces = n_forces == len(train)
        _keep(train, n_forces, method)
        _keep(valid, len(valid) if valid_forces else 0, method)
        place = f"data/n{size}-seed{seed}" + (f"-{method.name}" if method.changes_labels else "")
        texts = [self.write(f"{place}/train.xyz", train), self.write(f"{place}/valid.xyz", valid)]
        return Subset(
            train=f"{place}/train.xyz",
            valid=f"{place}/valid.xyz",
            n_train=len(train),
            n_forces=n_forces,
            valid_forces=valid_forces,
            digest=digest("".join(texts)),
        )

    def rest(self, size: int, seed: int) -> str | None:
        """A file of the geometries that are not drawn, without labels; None where all are."""
        *_, left = self.draw(size, seed)
        path = f"data/n{size}-seed{seed}/rest.xyz"
        bare = [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in left]
        return path if bare and self.write(path, bare) else None

    def write(self, path: str, frames: Sequence[Atoms]) -> str:
        """Write a file, relative to the benchmark's folder; returns what it holds."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        ase.io.write(file, list(frames), format="extxyz")
        return file.read_text(encoding="utf-8")


def _keep(frames: Sequence[Atoms], n_forces: int, method: Method) -> None:
    """Drop the labels that a method is not for, and the forces beyond the first frames."""
    cheap = set(method.cheap.values())
    for number, atoms in enumerate(frames):
        if number >= n_forces:
            atoms.arrays.pop(FORCES, None)
        elif FORCES not in atoms.arrays:
            raise ValueError(f"{method.name}: it needs forces, and a training frame has none")
        for key in {WEAK_ENERGY, UNITS} - cheap - ({UNITS} if cheap else set()):
            atoms.info.pop(key, None)
        if WEAK_FORCES not in cheap:
            atoms.arrays.pop(WEAK_FORCES, None)


def digest(text: str) -> str:
    """A short name of a text's content."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
