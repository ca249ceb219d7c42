"""A fitted teacher as a file, and with its cheap method as an ASE calculator."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols
from torch import Tensor

from piwsl_plugins.models import LoadedModel
from piwsl_plugins.teacher.features import Basis
from piwsl_plugins.teacher.linear import Fit
from piwsl_plugins.teacher.methods import Method
from piwsl_plugins.teacher.model import Prediction, Teacher

FORMAT = {"piwsl": "teacher", "version": 1}
"""What the file begins with."""
_OF_THE_FIT = ("coefficients", "draws", "groups")


class TeacherCalculator(Calculator):
    """Energy (eV), forces (eV/angstrom) and stress (eV/angstrom^3) of a teacher.

    They are the linear model's, and the cheap method's that it corrects, if there is one. Where it
    is asked for ``energy_std`` or ``forces_std``, those of the posterior are in ``results`` too.
    """

    implemented_properties = ["energy", "forces", "stress", "energy_std", "forces_std"]  # noqa: RUF012

    def __init__(self, teacher: Teacher, low: Calculator | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.teacher, self.low = teacher, low

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute what is asked for, and energy and forces.

        Raises:
            ValueError: an element that the teacher was not fitted to.
        """
        assert atoms is not None
        self.atoms = atoms.copy()
        bare = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        errors = any(name.endswith("_std") for name in properties)
        found = Prediction(*(value.cpu() for value in self.teacher.predict([bare], errors)))
        results: dict[str, Any] = {"energy": float(found.energy), "forces": found.forces.numpy()}
        if atoms.cell.rank == 3 and (self.low is None or "stress" in properties):
            results["stress"] = found.stress.numpy().ravel()[[0, 4, 8, 5, 2, 1]]
        if self.low is not None:
            told = atoms.copy()
            for name in results:
                results[name] = results[name] + self.low.get_property(name, told)
        if errors:
            results["energy_std"] = float(found.energy_std)
            results["forces_std"] = found.forces_std.numpy()
        self.results = results


def save(path: Path, teacher: Teacher, low: Method | None = None) -> None:
    """Write a teacher to a JSON file, and the name of its cheap method."""
    fit = dataclasses.asdict(teacher.fit)
    arrays = {name: fit.pop(name) for name in _OF_THE_FIT}
    arrays |= {name: getattr(teacher, name) for name in ("scale", "offset", "columns", "closest")}
    content = {
        **FORMAT,
        "low": None if low is None else low.model_dump(),
        "basis": dataclasses.asdict(teacher.basis),
        "fit": fit,
        "groups": teacher.groups,
        "arrays": {name: _text(array) for name, array in arrays.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def read(path: Path, device: torch.device | str = "cpu") -> tuple[Teacher, Method | None]:
    """Read a teacher and its cheap method.

    Raises:
        ValueError: the file is no teacher, or one of another version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if {name: content.get(name) for name in FORMAT} != FORMAT:
            raise ValueError(f"it begins with {dict(list(content.items())[:2])}"[:100])
        arrays = {name: _array(text).to(device) for name, text in content["arrays"].items()}
        basis = content["basis"]
        basis["elements"] = tuple(basis["elements"])
        for name in ("pairs", "triples"):
            basis[name] = tuple(tuple(each) for each in basis[name])
        fit = Fit(**(content["fit"] | {name: arrays.pop(name) for name in _OF_THE_FIT}))
        teacher = Teacher(basis=Basis(**basis), fit=fit, groups=content["groups"], **arrays)
        low = content["low"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a teacher that this version can read: {error}") from error
    return teacher, None if low is None else Method(**low)


def load(path: Path, device: str = "cpu") -> LoadedModel:
    """A teacher's file as an ASE calculator, with its cheap method."""
    teacher, low = read(path, device)
    return LoadedModel(
        calculator=TeacherCalculator(teacher, None if low is None else low.calculator()),
        dtype="float64",
        elements=frozenset(chemical_symbols[z] for z in teacher.basis.elements),
        cutoff=teacher.basis.pair_cutoff or math.inf,
    )


def _text(array: Tensor) -> str:
    buffer = io.BytesIO()
    np.save(buffer, array.cpu().numpy(), allow_pickle=False)
    return base64.b64encode(buffer.getvalue()).decode()


def _array(text: str) -> Tensor:
    return torch.as_tensor(np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False))
