"""The frames that a run of the accuracy benchmark may see: nested subsets, their labels, files."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from augmentations import AUGMENTATIONS, ENERGY, FORCES
from benchmark_methods import Method
from numpy.typing import NDArray

from piwsl_plugins.settings import WEAK_FORCES


@dataclass(frozen=True, slots=True, kw_only=True)
class Subset:
    """Training and validation files of one run.

    Attributes:
        train: File of the training frames, relative to the benchmark's folder.
        valid: File of the validation frames, likewise.
        n_train: Number of training frames, copies of an augmentation included.
        n_forces: How many of them have forces.
        valid_forces: Whether all validation frames have forces.
        digest: Of both files.
    """

    train: str
    valid: str
    n_train: int
    n_forces: int
    valid_forces: bool
    digest: str


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


def draw(
    frames: Sequence[Atoms], size: int, seed: int, validation: float
) -> tuple[list[Atoms], list[Atoms]]:
    """Draw the frames of a run: those of a smaller size are among those of a larger.

    Args:
        frames: All that may be drawn.
        size: Number of frames whose labels are used, those of the validation included.
        seed: Of the order in which they are drawn.
        validation: Part of them that is held back to choose the best epoch; at least 5 frames.

    Returns:
        Training and validation frames.

    Raises:
        ValueError: There are too few frames, or too few are left for the training.
    """
    if not 0 < size <= len(frames):
        raise ValueError(f"--sizes: {size} of {len(frames)} frames cannot be drawn")
    n_valid = max(5, round(validation * size))
    if n_valid >= size:
        raise ValueError(f"--sizes: {n_valid} of {size} frames validate; none is left to train on")
    order = np.random.default_rng(seed).permutation(len(frames))[:size]
    drawn = [frames[int(number)].copy() for number in order]
    return drawn[n_valid:], drawn[:n_valid]


def keep_forces(frames: Sequence[Atoms], forces: str) -> list[Atoms]:
    """Drop forces.

    Args:
        frames: Frames, changed in place.
        forces: ``none``, ``all``, a number of frames (the first ones), or a fraction below 1.

    Raises:
        ValueError: A frame that should have forces has none, or the words mean nothing.
    """
    count = count_of(forces, len(frames))
    for number, atoms in enumerate(frames):
        if number >= count:
            atoms.arrays.pop(FORCES, None)
        elif FORCES not in atoms.arrays:
            raise ValueError(
                f"--forces {forces}: a training frame has no {FORCES}; use --forces none, or a "
                "training file with forces"
            )
    return list(frames)


def count_of(forces: str, n_frames: int) -> int:
    """How many of the training frames keep their forces.

    Raises:
        ValueError: The words mean nothing.
    """
    if forces in ("none", "all"):
        return 0 if forces == "none" else n_frames
    try:
        number = float(forces)
    except ValueError:
        number = math.nan
    if 0.0 < number < 1.0:
        return max(1, round(number * n_frames))
    if number >= 1.0 and number.is_integer():
        return min(int(number), n_frames)
    raise ValueError(f"--forces: got {forces!r}, expected none, all, a number or a fraction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What all subsets are drawn from.

    Attributes:
        frames: Frames of the training file.
        forces: What the command line says about their forces.
        validation: Part of a subset that validates.
        folder: The benchmark's folder.
        weak: Where methods with weak forces are among those to be run: forces of a cheap method for
            each frame, eV/angstrom.
    """

    frames: Sequence[Atoms]
    forces: str
    validation: float
    folder: Path
    weak: Sequence[NDArray[np.float64]] | None = None

    def subset(self, method: Method, host: str, size: int, seed: int) -> Subset:
        """The files of one run, written where they are not there yet.

        Validation frames have forces only where all training frames have, and are never augmented.

        Args:
            method: Says which labels are used, and whether copies are added.
            host: MACE takes a frame without forces as it is; NequIP wants NaN.
            size: Number of frames whose labels are used.
            seed: Of the draw, and of an augmentation.

        Raises:
            ValueError: The frames do not suffice, or a file is there with other content.
        """
        forces = "all" if method.labels == "all_forces" else self.forces
        train, valid = draw(self._labelled(method), size, seed, self.validation)
        train = keep_forces(train, forces)
        valid = keep_forces(valid, "all" if forces == "all" else "none")
        if method.augmentation:
            parameters = dict(method.augmentation)
            train = AUGMENTATIONS[parameters.pop("name")](train, seed, **parameters)
        n_forces = sum(FORCES in atoms.arrays for atoms in train)
        if n_forces == 0:  # an augmentation may have used them up
            valid = keep_forces(valid, "none")
        name = f"n{size}-seed{seed}"
        if method.changes_labels:
            name += f"-{method.name}"
        if host == "nequip" and 0 < n_forces < len(train):
            name += "-nan"
            for atoms in train:
                if FORCES not in atoms.arrays:
                    atoms.arrays[FORCES] = np.full((len(atoms), 3), np.nan)
        files = {kind: f"data/{name}/{kind}.xyz" for kind in ("train", "valid")}
        texts = [
            write_once(self.folder / files[kind], frames)
            for kind, frames in (("train", train), ("valid", valid))
        ]
        return Subset(
            train=files["train"],
            valid=files["valid"],
            n_train=len(train),
            n_forces=n_forces,
            valid_forces=FORCES in valid[0].arrays,
            digest=digest("".join(texts)),
        )

    def _labelled(self, method: Method) -> Sequence[Atoms]:
        """The frames, with weak forces where a method is for them."""
        if not method.weak_forces:
            return self.frames
        if self.weak is None:
            raise ValueError(f"{method.name}: there are no weak forces")
        frames = [atoms.copy() for atoms in self.frames]
        for atoms, forces in zip(frames, self.weak, strict=True):
            atoms.arrays[WEAK_FORCES] = forces
        return frames


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
