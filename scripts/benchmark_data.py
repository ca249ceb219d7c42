"""The frames that a run of the accuracy benchmark may see: nested subsets, their labels, files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from augmentations import AUGMENTATIONS, FORCES
from benchmark_frames import digest, write_once
from benchmark_methods import Method
from benchmark_weak import LOW_ENERGY

from piwsl_plugins.settings import WEAK_FORCES
from piwsl_plugins.weak.files import bare
from piwsl_plugins.weak.labels_summary import SUMMARY, summarise


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
        difference: What training on a difference begins with, None for other methods: ``energies``
            of the elements that fit it, eV, and its ``scale`` beside that of the energies.
    """

    train: str
    valid: str
    n_train: int
    n_forces: int
    valid_forces: bool
    digest: str
    difference: Mapping[str, Any] | None = None


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
        cheap: Where methods that need them are among those to be run: the same frames with labels
            of a cheap method.
    """

    frames: Sequence[Atoms]
    forces: str
    validation: float
    folder: Path
    cheap: Sequence[Atoms] | None = None

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
        if method.labels == "cheap_forces":
            return self._like_student(method, size, seed)
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
            difference=self._difference(files["train"]) if method.difference else None,
            train=files["train"],
            valid=files["valid"],
            n_train=len(train),
            n_forces=n_forces,
            valid_forces=FORCES in valid[0].arrays,
            digest=digest("".join(texts)),
        )

    def rest(self, size: int, seed: int) -> str | None:
        """A file of the geometries that are not drawn, without labels; None where all are drawn.

        Args:
            size: Number of frames that are drawn.
            seed: Of the draw.
        """
        order = np.random.default_rng(seed).permutation(len(self.frames))[size:]
        if not len(order):
            return None
        left = [self.frames[int(number)] for number in sorted(order)]
        path = f"data/n{size}-seed{seed}-rest/geometries.xyz"
        write_once(self.folder / path, [bare(atoms, ()) for atoms in left])
        return path

    def _like_student(self, method: Method, size: int, seed: int) -> Subset:
        """Files with which a student's training costs what it will: the drawn frames, repeated."""
        assert method.student is not None
        drawn = draw(self._labelled(method), size, seed, self.validation)
        rest = len(self.frames) - size if method.student.geometries else 0
        n_train, n_valid = method.student.frames(len(drawn[0]), len(drawn[1]), rest)
        name = f"data/n{size}-seed{seed}-{method.name}-like"
        files = [f"{name}/{kind}.xyz" for kind in ("train", "valid")]
        for file, frames, number in zip(files, drawn, (n_train, n_valid), strict=True):
            write_once(self.folder / file, [a.copy() for a in islice(cycle(frames), number)])
        return Subset(
            train=files[0],
            valid=files[1],
            n_train=n_train,
            n_forces=n_train,
            valid_forces=True,
            digest="",
        )

    def _labelled(self, method: Method) -> Sequence[Atoms]:
        """The frames, with those labels of the cheap method that a method is for."""
        wanted = {
            LOW_ENERGY: method.difference,
            WEAK_FORCES: method.weak_forces,
            FORCES: method.labels == "cheap_forces",
        }
        if not any(wanted.values()):
            return self.frames
        if self.cheap is None:
            raise ValueError(f"{method.name}: there are no labels of a cheap method")
        frames = [atoms.copy() for atoms in self.frames]
        for atoms, cheap in zip(frames, self.cheap, strict=True):
            if wanted[LOW_ENERGY]:
                atoms.info[LOW_ENERGY] = float(cheap.info[LOW_ENERGY])
            for name in (WEAK_FORCES, FORCES):
                if wanted[name]:
                    atoms.arrays[name] = cheap.arrays[WEAK_FORCES]
        return frames

    def _difference(self, train: str) -> Mapping[str, Any]:
        """Energies of the elements and scale, as the pipeline finds them."""
        path = self.folder / Path(train).with_name(SUMMARY)
        summarise(self.folder / train, -1.0, path)
        found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {name: found[name] for name in ("energies", "scale")}
