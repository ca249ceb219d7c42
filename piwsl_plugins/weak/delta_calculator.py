"""A cheap method and the models of its difference from a better one, added up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.mixing import LinearCombinationCalculator
from numpy.typing import NDArray

from piwsl_plugins.weak.committee import Opinion, opinion
from piwsl_plugins.weak.files import write_json
from piwsl_plugins.weak.low_level import LowLevel

FORMAT = "piwsl-delta-1"
MARK = ".delta.json"
"""Follows the name of a delta model's file, in the name of the file that says what it is."""
NOT_ALONE = (
    "this is a delta model: it gives the difference between a better method and {low}, not an "
    "energy surface, so that dynamics with it alone would be meaningless. Use the two together in "
    "ASE (piwsl_plugins.weak.delta_calculator.load_delta), or distil them into an ordinary model, "
    "which runs everywhere: piwsl weak train"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaModel:
    """What a file of this kind names; with no models, the cheap method alone.

    Attributes:
        low: The cheap method.
        models: Files of the models of the difference, members of one committee.
        shifts: Energy that each atom of an element adds, eV: what brings the cheap method's
            energies to the better one's where there is no model.
        host: MACE or NequIP, where this is to be used.
    """

    low: LowLevel
    models: tuple[Path, ...] = ()
    shifts: Mapping[str, float] = field(default_factory=dict)
    host: str = "MACE"

    def write(self, path: Path) -> None:
        """Write the file, and a mark beside each model; names of models are relative to it."""
        folder = path.parent.resolve()
        content = {
            "format": FORMAT,
            "low_level": {
                "method": self.low.method,
                "arguments": dict(self.low.arguments),
                "charge": self.low.charge,
                "multiplicity": self.low.multiplicity,
            },
            "models": [_relative(model, folder) for model in self.models],
            "shifts": dict(self.shifts),
            "host": self.host,
        }
        write_json(path, content)
        for model in self.models:
            mark_delta_model(model, self.low)

    def calculator(self, models: Sequence[Calculator]) -> Calculator:
        """The cheap method and these models of the difference as one ASE calculator.

        Raises:
            ValueError: The method is not there.
        """
        return cast("Calculator", DeltaCalculator(self.low.calculator(), models, self.shifts))


def _relative(model: Path, folder: Path) -> str:
    model = model.resolve()
    common = next(parent for parent in (folder, *folder.parents) if model.is_relative_to(parent))
    ups = len(folder.relative_to(common).parts)
    return Path(*[".."] * ups, model.relative_to(common)).as_posix()


def read_delta(path: Path) -> DeltaModel:
    """Read a file that names a cheap method and models of the difference.

    Raises:
        ValueError: It is none, or a model that it names is not there.
    """
    expected = "expected the JSON file of a delta model, as `piwsl weak train` writes it"
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; {expected}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: this is no JSON; {expected}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: {expected}, with the format {FORMAT!r}")
    models = tuple(path.parent / name for name in content["models"])
    missing = [str(model) for model in models if not model.is_file()]
    if missing:
        raise ValueError(f"{path}: there is no {', '.join(missing)}, which it names")
    low = LowLevel(**content["low_level"])
    return DeltaModel(low=low, models=models, shifts=content["shifts"], host=content["host"])


def mark_delta_model(model: Path, low: LowLevel) -> Path:
    """Say beside a model's file that it gives a difference.

    Args:
        model: The file.
        low: The method that it is a difference from.

    Returns:
        The file that says so.
    """
    mark = model.with_name(model.name + MARK)
    write_json(mark, {"format": FORMAT, "low_level": {"method": low.method}, "note": _note(low)})
    return mark


def refuse_delta_model(model: Path) -> None:
    """Refuse a model that has been marked as one of a difference.

    Args:
        model: A model's file, about to be exported or run.

    Raises:
        ValueError: It is one; the message says why it is of no use alone, and what to do.
    """
    mark = model.with_name(model.name + MARK)
    if mark.is_file():
        note = json.loads(mark.read_text(encoding="utf-8")).get("note", "")
        raise ValueError(f"{model}: {note}")


def _note(low: LowLevel) -> str:
    return NOT_ALONE.format(low=low.method)


class DeltaCalculator(LinearCombinationCalculator):
    """Cheap method plus the mean of the models of the difference.

    Energy, forces and stress are added; the forces are so the exact gradient of the energy wherever
    those of the parts are.

    Args:
        low: The cheap method, any ASE calculator.
        models: Models of the difference; one committee.
        shifts: Energy that each atom of an element adds, eV.
    """

    def __init__(
        self,
        low: Calculator,
        models: Sequence[Calculator] = (),
        shifts: Mapping[str, float] | None = None,
    ) -> None:
        count = max(len(models), 1)
        weights = [1.0] + [1.0 / count] * len(models)
        super().__init__([low, *models], weights)  # type: ignore[no-untyped-call]
        wanted = {"energy", "forces", "stress"}
        self.implemented_properties = sorted(wanted & set(self.mixer.implemented_properties))
        self.mixer.implemented_properties = self.implemented_properties
        self.shifts = dict(shifts or {})

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str]) -> None:
        """Add up what is asked for."""
        wanted = list(dict.fromkeys([*properties, "energy", "forces"]))
        super().calculate(atoms, wanted, system_changes)  # type: ignore[no-untyped-call]
        if self.shifts:
            self.results["energy"] += sum(self.shifts[symbol] for symbol in atoms.symbols)

    def opinion(self, atoms: Atoms) -> Opinion:
        """What the models of the difference say together: mean and disagreement.

        Raises:
            ValueError: There is no model, or one fails.
        """
        self.calculate(atoms, ["energy", "forces"], [])
        return opinion(
            np.array(self.results["energy_contributions"][1:]),
            np.array(self.results["forces_contributions"][1:]),
        )


def opinion_of(atoms: Atoms, models: Sequence[Calculator]) -> tuple[Opinion, NDArray[Any] | None]:
    """What models of a difference say of a frame, and their mean stress in a cell.

    Args:
        atoms: The frame; it is copied, not changed.
        models: The models.

    Returns:
        Mean and disagreement; the stress, shape ``[3, 3]``, eV/angstrom^3, or None for a molecule
        or where a model gives none.
    """
    energies, forces, stresses = [], [], []
    for model in models:
        frame = atoms.copy()
        frame.calc = model
        energies.append(float(frame.get_potential_energy()))
        forces.append(np.array(frame.get_forces(), dtype=np.float64))
        if atoms.pbc.all() and "stress" in model.implemented_properties:
            stresses.append(np.array(frame.get_stress(voigt=False), dtype=np.float64))
    stress = np.mean(stresses, axis=0) if len(stresses) == len(models) else None
    return opinion(np.array(energies), np.array(forces)), stress


def load_models(
    delta: DeltaModel, device: str = "cpu", dtype: str | None = None
) -> tuple[list[Calculator], frozenset[str]]:
    """The models of a difference, and the elements that all of them know.

    Raises:
        ValueError: There is none, or one cannot be loaded.
    """
    from piwsl_plugins.hosts.calculators import identify, load

    if not delta.models:
        raise ValueError("it names no model of the difference")
    loaded = [load(identify(model), dtype=dtype, device=device) for model in delta.models]
    known = frozenset.intersection(*(model.elements for model in loaded))
    return [model.calculator for model in loaded], known


def load_delta(path: Path, device: str = "cpu", dtype: str | None = None) -> Calculator:
    """Cheap method and models of a file as one ASE calculator.

    Args:
        path: As `DeltaModel.write` leaves it.
        device: cpu or cuda.
        dtype: float32 or float64 for MACE, or None for the models' own.

    Raises:
        ValueError: The file is none of these, or a model or the method cannot be loaded.
    """
    delta = read_delta(Path(path))
    models = load_models(delta, device, dtype)[0] if delta.models else []
    return delta.calculator(models)
