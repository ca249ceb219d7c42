"""The student's row of the accuracy benchmark: ``piwsl weak train`` as one run, its whole way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from piwsl_plugins.fields import setting
from piwsl_plugins.training.mace_runs import MaceRun
from piwsl_plugins.training.nequip_runs import NequipRun
from piwsl_plugins.training.runs import Run
from piwsl_plugins.weak.files import read_frames
from piwsl_plugins.weak.sample_tasks import SampleSettings
from piwsl_plugins.weak.trainings import MACE_OWN, NEQUIP_OWN, NEQUIP_OWN_DATA

VALID_FRACTION = 0.1
"""Part of the weakly labelled frames that validates the student."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """The block ``student`` of a method's file.

    Raises:
        ValueError: A value out of range.
    """

    difference: str = setting("delta", "method by which the models of the difference are trained")
    members: int = setting(2, "models of the difference; one has no committee")
    difference_budget: float = setting(0.5, "of each of them, as a part of the run's")
    budget: float = setting(1.0, "of the student, as a part of the run's")
    geometries: bool = setting(
        True, "geometries of the training file that are not drawn are labelled for the student"
    )
    sample: SampleSettings = dataclasses.field(default_factory=SampleSettings)
    sample_by: str = setting("delta", "as of piwsl weak train")

    def __post_init__(self) -> None:
        if self.members < 1:
            raise ValueError(f"members must be at least 1, got {self.members}")
        for name in ("difference_budget", "budget"):
            if not 0.0 < getattr(self, name) <= 10.0:
                raise ValueError(f"{name} must be a part from 0 to 10, got {getattr(self, name)}")

    def frames(self, n_train: int, n_valid: int, rest: int) -> tuple[int, int]:
        """About how many frames train and validate the student; some may be left out as alike.

        Args:
            n_train: Training frames with energies.
            n_valid: Validation frames with energies.
            rest: Geometries without labels.
        """
        sample = self.sample
        found = rest + len(sample.lengths) * sample.rattled
        found += len(sample.temperatures) * sample.trajectories * (sample.steps // sample.interval)
        found += len(sample.mode_temperatures) * sample.displaced
        weak = min(found, sample.select or found)
        held_back = round(VALID_FRACTION * weak)
        return n_train + weak - held_back, n_valid + held_back

    def config(
        self,
        host: str,
        files: Mapping[str, Any],
        low: str,
        free_atoms: Mapping[str, float],
        device: str,
        seed: int,
        difference: Mapping[str, Any],
        student: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The config of ``piwsl weak train``, but for its output.

        Args:
            host: ``mace`` or ``nequip``.
            files: ``train``, ``valid`` and ``geometries``.
            low: The cheap method.
            free_atoms: Energies of the free atoms by element, eV.
            device: cpu or cuda.
            seed: Of everything.
            difference: The host's config for a model of the difference.
            student: The host's config for the student.
        """
        sample = {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in dataclasses.fields(self.sample)
            if (value := getattr(self.sample, field.name)) != field.default
        }
        return {
            "host": host,
            "device": device,
            "processes": 1,  # and one training at a time: a run has one core
            "seed": seed,
            "data": dict(files)
            | {"valid_fraction": VALID_FRACTION, "atomic_energies": dict(free_atoms)},
            "low_level": {"method": low, "min_correlation": -1.0},
            "committee": {"members": self.members, "allow_single": self.members == 1},
            "sample": sample | {"seed": seed},
            "sample_by": self.sample_by,
            "plain": False,
            "delta": _of_user(host, difference),
            "student": _of_user(host, student),
        }


def _of_user(host: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a host's config is not the pipeline's to say."""
    if host == "mace":
        return {key: value for key, value in config.items() if key not in MACE_OWN}
    found = {key: value for key, value in config.items() if key not in NEQUIP_OWN}
    found["data"] = {k: v for k, v in found["data"].items() if k not in NEQUIP_OWN_DATA}
    return found


@dataclasses.dataclass(kw_only=True)
class StudentRun(Run):
    """One run of ``piwsl weak train CONFIG``, whose progress is that of the student's training."""

    program: ClassVar[str] = "piwsl"
    trainer: ClassVar[type[Run]]

    @cached_property
    def student(self) -> Run:
        """The student's training, which the command itself starts."""
        return self.trainer(
            label=self.label,
            arguments=(),
            folder=self.folder / "student" / "student",
            root=self.root,
            epochs=self.epochs,
        )

    @property
    def n_train(self) -> int:
        """Training frames of the student; 0 where the run has not come so far."""
        file = self.root / self.folder / "distil" / "train.xyz"
        return len(read_frames(file)) if file.exists() else 0

    @property
    def command(self) -> list[str]:
        """The command as a user types it; it ends with the student, whom the benchmark judges."""
        return [self.program, "weak", "train", *self.arguments, "--until", "student"]

    @property
    def model(self) -> Path:
        """The student."""
        return self.student.model

    @property
    def milliseconds_a_step(self) -> float:
        """Mean time of a step of the student's training, ms."""
        return self.student.milliseconds_a_step

    @property
    def epoch_times(self) -> list[float]:
        """Readings of the clock in the student's training."""
        return self.student.epoch_times

    def read_progress(self) -> None:
        """Take over what the student's training has written."""
        self.student.read_progress()
        self.epoch, self.validation = self.student.epoch, self.student.validation


class MaceStudentRun(StudentRun):
    """The same with MACE."""

    host: ClassVar[str] = MaceRun.host
    trainer: ClassVar[type[Run]] = MaceRun


class NequipStudentRun(StudentRun):
    """The same with NequIP."""

    host: ClassVar[str] = NequipRun.host
    trainer: ClassVar[type[Run]] = NequipRun


STUDENT_RUNS: dict[str, type[Run]] = {"mace": MaceStudentRun, "nequip": NequipStudentRun}
