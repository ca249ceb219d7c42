"""What a student is trained on: weak labels of many geometries, and the reference energies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from piwsl_plugins.weak.correct import ENERGY, FORCES, STRESS, WEIGHT
from piwsl_plugins.weak.files import bare, read_frames, write_frames
from piwsl_plugins.weak.sample_tasks import KEPT as STATE

REFERENCE = "REF_energy"
REFERENCE_FORCES = "REF_forces"
SOURCE = "label_source"
"""Name of what a frame says of its labels."""
KEPT = (
    *(*STATE, SOURCE, WEIGHT),
    *("energy_std", "forces_std", "max_forces_std"),
    *("sampled_by", "sampled_seed", "sampled_step", "sampled_parent"),
    *("sampled_temperature", "sampled_length", "sampled_potential"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """How many frames a student gets.

    Attributes:
        reference: Training frames with the reference's energy.
        weak: Training frames with weak labels alone.
        valid: Validation frames.
    """

    reference: int
    weak: int
    valid: int

    @property
    def text(self) -> str:
        """The same for people."""
        return (
            f"{self.reference} frames with their reference energy and {self.weak} weakly labelled "
            f"ones to train on, {self.valid} to validate"
        )


def assemble(
    reference_train: Path,
    reference_valid: Path,
    weak: Path | None,
    out_train: Path,
    out_valid: Path,
    *,
    valid_fraction: float,
    train_on_forces: bool,
    seed: int,
) -> Distilled:
    """Write the student's training and validation files.

    Frames with a reference energy keep it, with full weight; their forces are those of cheap
    method and models of the difference, unless the reference has forces that are to be used.

    Args:
        reference_train: Training frames with reference energies and target labels.
        reference_valid: Validation frames likewise.
        weak: Frames with target labels alone, or None.
        out_train: The student's training file.
        out_valid: The student's validation file.
        valid_fraction: Fraction of the weak frames that is held back for validation.
        train_on_forces: Take the reference's forces where frames have them.
        seed: Of the split.

    Raises:
        ValueError: A frame lacks a label.
    """
    train = [_true(frame, train_on_forces) for frame in _labelled(reference_train)]
    valid = [_true(frame, train_on_forces) for frame in _labelled(reference_valid)]
    others = [] if weak is None else [_weak(frame) for frame in _labelled(weak)]
    order = np.random.default_rng(seed).permutation(len(others))
    held_back = round(valid_fraction * len(others))
    write_frames(out_train, [*train, *_pick(others, order[held_back:])])
    write_frames(out_valid, [*valid, *_pick(others, order[:held_back])])
    return Distilled(
        reference=len(train), weak=len(others) - held_back, valid=len(valid) + held_back
    )


def _labelled(path: Path) -> list[Atoms]:
    """The frames of a file, of which each must have the labels.

    Raises:
        ValueError: One has not.
    """
    frames = read_frames(path)
    for number, frame in enumerate(frames):
        if ENERGY not in frame.info or FORCES not in frame.arrays:
            raise ValueError(
                f"{path}: frame {number} (counted from 0) has no {ENERGY} or {FORCES}, as piwsl "
                "weak correct writes them"
            )
    return frames


def _pick(frames: Sequence[Atoms], numbers: np.ndarray) -> list[Atoms]:
    return [frames[number] for number in sorted(numbers.tolist())]


def _true(frame: Atoms, train_on_forces: bool) -> Atoms:
    made = _labels_of(frame)
    energy = frame.info.get(REFERENCE)
    own_forces = train_on_forces and REFERENCE_FORCES in frame.arrays
    if energy is not None:
        made.info[ENERGY] = float(energy)
    if own_forces:
        made.arrays[FORCES] = frame.arrays[REFERENCE_FORCES]
    made.info.pop(WEIGHT, None)
    forces = "reference forces" if own_forces else "weak forces"
    made.info[SOURCE] = f"reference energy, {forces}" if energy is not None else "weak"
    return made


def _weak(frame: Atoms) -> Atoms:
    made = _labels_of(frame)
    made.info[SOURCE] = "weak"
    return made


def _labels_of(frame: Atoms) -> Atoms:
    """A frame with its target labels and provenance, and nothing else."""
    made = bare(frame, KEPT)
    made.info[ENERGY] = float(frame.info[ENERGY])
    made.arrays[FORCES] = np.array(frame.arrays[FORCES], dtype=np.float64)
    if STRESS in frame.info:
        made.info[STRESS] = frame.info[STRESS]
    return made
