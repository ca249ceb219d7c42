"""Labels of a cheap method, corrected by models of the difference that judge each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from piwsl_plugins.data.progress import each
from piwsl_plugins.evaluation.predict import reference_forces
from piwsl_plugins.weak.committee import Verdict, judge
from piwsl_plugins.weak.delta_calculator import load_models, opinion_of, read_delta
from piwsl_plugins.weak.files import read_frames, write_frames

ENERGY, FORCES, STRESS = "target_energy", "target_forces", "target_stress"
"""Names of the labels that are written: cheap method plus mean difference."""
ENERGY_STD, FORCES_STD, MAX_FORCES_STD = "energy_std", "forces_std", "max_forces_std"
"""Names of the disagreement: eV per atom, eV/angstrom over all components, eV/angstrom of the
worst atom."""
WEIGHT = "config_weight"
"""Name of a frame's weight, as MACE reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectSettings:
    """What is done with the committee's disagreement.

    Attributes:
        max_forces_std: Disagreement above which a frame is left out, eV/angstrom; None for five
            times the median.
        weigh: Write a weight for each frame.
        keep_all: Leave no frame out.
    """

    max_forces_std: float | None = None
    weigh: bool = True
    keep_all: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """What was done.

    Attributes:
        frames: Number of frames that were read.
        written: Number of frames that were written.
        members: Number of models.
        median: Median disagreement of an atom's force, eV/angstrom; None for a committee of one.
        threshold: That above which frames were left out, or None.
    """

    frames: int
    written: int
    members: int
    median: float | None
    threshold: float | None

    def lines(self) -> list[str]:
        """The same for people."""
        found = [f"{self.written} of {self.frames} frames, by {self.members} models"]
        if self.median is not None:
            found[0] += f", which disagree by {self.median:.3f} eV/angstrom (median of worst atoms)"
        if self.threshold is not None:
            left_out = self.frames - self.written
            found.append(f"left out above {self.threshold:.3f} eV/angstrom: {left_out} frames")
        return found


def correct(
    file: Path, delta_file: Path, out: Path, settings: CorrectSettings, device: str = "cpu"
) -> Corrected:
    """Add the mean of the models of the difference to the cheap method's labels.

    Args:
        file: Frames with ``weak_energy``, ``weak_forces`` and perhaps ``weak_stress``, as
            ``piwsl weak label`` writes them.
        delta_file: Names the models.
        out: Extended xyz; the frames with their disagreement and weight.
        settings: What is done with the disagreement.
        device: cpu or cuda.

    Raises:
        ValueError: A file cannot be used, or a frame lacks a label, or a model fails.
    """
    delta = read_delta(delta_file)
    models, known = load_models(delta, device)
    frames = read_frames(file)
    if not frames:
        raise ValueError(f"{file}: there are no frames")
    corrected = []
    for number, frame in enumerate(each(frames, "correcting")):
        where = f"{file}: frame {number} (counted from 0)"
        unknown = sorted(set(frame.symbols) - known)
        if unknown:
            raise ValueError(f"{where}: the models of the difference know no {', '.join(unknown)}")
        try:
            corrected.append(_corrected(frame, models))
        except Exception as error:  # whatever a model raises about a frame
            raise ValueError(f"{where}: {error}") from error
    verdict = None
    if len(models) > 1:
        spread = np.array([frame.info[MAX_FORCES_STD] for frame in corrected])
        verdict = judge(spread, settings.max_forces_std)
        corrected = _apply(corrected, verdict, settings)
    if not corrected:
        raise ValueError(f"{file}: no frame is left; raise the largest disagreement")
    write_frames(out, corrected)
    left_out = verdict is not None and not settings.keep_all
    return Corrected(
        frames=len(frames),
        written=len(corrected),
        members=len(models),
        median=None if verdict is None else verdict.median,
        threshold=verdict.threshold if verdict is not None and left_out else None,
    )


def _corrected(frame: Atoms, models: Sequence[Any]) -> Atoms:
    """A frame with the sum of both labels, and how far the models disagree."""
    low_forces = reference_forces(frame, "weak_forces")
    if "weak_energy" not in frame.info or np.isnan(low_forces).any():
        raise ValueError("it has no weak_energy or weak_forces, as piwsl weak label writes them")
    said, stress = opinion_of(frame, models)
    made: Atoms = frame.copy()
    made.calc = frame.calc
    made.info[ENERGY] = float(frame.info["weak_energy"]) + said.energy
    made.arrays[FORCES] = low_forces + said.forces
    low_stress = frame.info.get("weak_stress")
    if stress is not None and low_stress is not None:
        made.info[STRESS] = (np.reshape(low_stress, (3, 3)) + stress).ravel()
    if said.max_forces_std is not None:
        made.info |= {
            ENERGY_STD: said.energy_std,
            FORCES_STD: said.forces_std,
            MAX_FORCES_STD: said.max_forces_std,
        }
    return made


def _apply(frames: list[Atoms], verdict: Verdict, settings: CorrectSettings) -> list[Atoms]:
    if settings.weigh:
        for frame, weight in zip(frames, verdict.weights, strict=True):
            frame.info[WEIGHT] = float(weight)
    if settings.keep_all:
        return frames
    return [frame for frame, kept in zip(frames, verdict.kept, strict=True) if kept]
