"""A method of the accuracy benchmark: what a run trains on, and with which loss; one file each.

The files are scripts/methods/NAME.yaml, or any other by its path. Weights count from the weight of
the energies, so that one file serves both hosts::

    title: Taylor loss, first order  # what figures and tables call it
    terms: [taylor]                  # PIWSL terms; left out, the host's own loss
    piwsl: {order: 1, max_displacement: 0.05, taylor_weight: 0.01}
    of_run: {warmup: 0.1}            # settings in steps, as parts of the run's optimiser steps
    weak_forces: true                # forces of a cheap method as weak labels: --weak-method
    difference: true                 # energies less those of that method; judged on the sum
    student: {members: 2}            # the whole way of piwsl weak train: benchmark_students.py
    labels: given                    # or energies, forces, all_forces: see LABELS
    force_weight: 0.1                # instead of the command line's
    augmentation: {name: taylor_copies, copies: 4}  # a function of augmentations.py
    hosts: [mace, nequip]            # those that it makes sense for
    baseline: false                  # true: others are compared with it
    mace: {correlation: 3}           # flags of mace_run_train
    nequip: {training_module.model.l_max: 2}  # keys of NequIP's config
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from augmentations import AUGMENTATIONS
from benchmark_students import Student
from benchmark_weak import LOW_ENERGY

from piwsl_plugins.fields import unknown_name
from piwsl_plugins.settings import TERMS, WEAK_FORCES, RunSettings
from piwsl_plugins.weak.mappings import from_mapping

FOLDER = Path(__file__).with_name("methods")
HOSTS = ("mace", "nequip")
WEIGHTS = tuple(f"{term}_weight" for term in (*TERMS, WEAK_FORCES))
STEPS = ("warmup",)
"""Settings that count optimiser steps."""
LABELS = ("given", "energies", "forces", "all_forces", "cheap_forces")
"""Which labels a method is for: whatever ``--forces`` gives; energies alone; energies and some
forces at least; the forces of all frames, whatever ``--forces`` says; those of the cheap method in
their place."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method; the module's head explains the fields.

    Attributes:
        name: What the command line, records and tables call it; the file's name.

    Raises:
        ValueError: A field is out of range; the message names the file's field.
    """

    name: str
    title: str
    terms: tuple[str, ...] = ()
    piwsl: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    of_run: Mapping[str, float] = dataclasses.field(default_factory=dict)
    weak_forces: bool = False
    difference: bool = False
    student: Student | None = None
    labels: str = "given"
    force_weight: float | None = None
    augmentation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    hosts: tuple[str, ...] = HOSTS
    baseline: bool = False
    mace: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    nequip: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for field, values, known in (
            ("terms", self.terms, TERMS),
            ("hosts", self.hosts, HOSTS),
            ("labels", (self.labels,), LABELS),
        ):
            for value in values:
                if value not in known:
                    raise ValueError(f"{field}: {unknown_name(str(value), known, 'value')}")
        RunSettings.from_mapping(self.piwsl, "piwsl")
        for name, part in self.of_run.items():
            if name not in STEPS:
                raise ValueError(f"of_run: {unknown_name(str(name), STEPS)}")
            if not 0.0 < part <= 1.0:
                raise ValueError(f"of_run.{name}: got {part!r}, expected a part in (0, 1]")
        given = {*self.piwsl, *self.of_run}
        weak = {name for name in given if name.startswith(WEAK_FORCES)}
        if given - weak and not self.terms:
            raise ValueError("piwsl: nothing reads these settings, because there are no terms")
        if weak and not self.weak_forces:
            raise ValueError(f"{min(weak)}: nothing reads it without weak_forces: true")
        if self.augmentation:
            self._check_augmentation()
        if self.difference and self.labels != "energies":
            raise ValueError("difference: it is for labels: energies")
        if self.student is not None:
            self._check_student()
        elif self.labels == "cheap_forces":
            raise ValueError("labels: cheap_forces is for the training of a student")

    def _check_augmentation(self) -> None:
        name = str(self.augmentation.get("name"))
        if name not in AUGMENTATIONS:
            raise ValueError(f"augmentation.name: {unknown_name(name, AUGMENTATIONS, 'value')}")
        parameters = list(inspect.signature(AUGMENTATIONS[name]).parameters)
        known = [parameter for parameter in parameters if parameter not in ("frames", "seed")]
        for key in self.augmentation:
            if key not in ("name", *known):
                raise ValueError(f"augmentation: {unknown_name(str(key), known)}")

    def _check_student(self) -> None:
        if self.labels not in ("energies", "cheap_forces"):  # the second, for its training alone
            raise ValueError("student: it is for labels: energies")
        for name in ("terms", "weak_forces", "difference", "augmentation"):
            if getattr(self, name):
                raise ValueError(f"{name}: not with student, which is trained plainly")

    def unsuitable(self, host: str, forces: str) -> str:
        """Why the method makes no sense for a host or with the labels at hand; empty if it does.

        Args:
            host: ``mace`` or ``nequip``.
            forces: What the command line says about forces: ``none``, ``all``, or how many.
        """
        if host not in self.hosts:
            return f"it is for {', '.join(self.hosts)}"
        if self.labels == "energies" and forces != "none":
            return "it is for energies alone (--forces none)"
        if self.labels == "forces" and forces == "none":
            return "it needs reference forces (--forces)"
        return ""

    def settings(self, steps: int) -> dict[str, Any]:
        """Settings of the terms in a run of so many optimiser steps."""
        parts = {name: max(1, round(part * steps)) for name, part in self.of_run.items()}
        return dict(self.piwsl) | parts

    @property
    def way(self) -> Student | None:
        """The student whose whole way a run of this method is; None for one training alone."""
        return self.student if self.labels == "energies" else None

    @property
    def changes_labels(self) -> bool:
        """Whether it trains on other labels or frames than the command line gives."""
        forces = self.labels in ("all_forces", "cheap_forces")
        return forces or self.weak_forces or self.difference or bool(self.augmentation)

    @property
    def cheap_labels(self) -> tuple[str, ...]:
        """Names of the cheap method's labels that it needs for the training frames."""
        if self.student is not None:  # what its trainings cost is measured with these
            return (LOW_ENERGY, WEAK_FORCES)
        return (LOW_ENERGY,) * self.difference + (WEAK_FORCES,) * self.weak_forces


def read(name: str) -> Method:
    """Read a method.

    Args:
        name: The name of a file in scripts/methods, without its suffix, or a file's path.

    Raises:
        ValueError: There is no such file, or it has unknown keys or bad values; the message names
            the file.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in FOLDER.glob("*.yaml"))
        raise ValueError(f"no method {name!r}: expected the path of a file, or one of {known}")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    fields = [field.name for field in dataclasses.fields(Method) if field.name != "name"]
    try:
        for key in content:
            if key not in fields:
                raise ValueError(unknown_name(str(key), fields))
        for key, order in (("terms", TERMS), ("hosts", HOSTS)):
            if key in content:  # in one order, and what is unknown last
                found = content[key]
                content[key] = (
                    *(n for n in order if n in found),
                    *(n for n in found if n not in order),
                )
        if "student" in content:
            content["student"] = from_mapping(Student, content["student"], "student")
        return Method(name=path.stem, **content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
