"""The cheap method as one ASE calculator for any frames, told of charge and spin by each."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from piwsl_plugins.weak.methods import method_of
from piwsl_plugins.weak.states import task_of
from piwsl_plugins.weak.tasks import Task


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LowLevel:
    """A cheap method, and what all frames have in common.

    Attributes:
        method: As of ``piwsl weak label --method``.
        arguments: Keyword arguments of the method.
        charge: Of every frame, in elementary charges, or None for that in each one's ``info``.
        multiplicity: Of every frame, 2S + 1, or None likewise.
    """

    method: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    charge: int | None = None
    multiplicity: int | None = None

    @property
    def words(self) -> list[str]:
        """The same as options of ``piwsl weak label``."""
        found = ["--method", self.method]
        if self.arguments:
            found += ["--arguments", json.dumps(dict(self.arguments))]
        for name in ("charge", "multiplicity"):
            value = getattr(self, name)
            found += [] if value is None else [f"--{name}", str(value)]
        return found

    def calculator(self) -> LowLevelCalculator:
        """A calculator that any frame may be given to.

        Raises:
            ValueError: There is no such method, or it is not installed.
        """
        return LowLevelCalculator(self)


class LowLevelCalculator(Calculator):
    """A cheap method; frames of the same atoms, charge and spin share one of its calculators.

    Args:
        low: The method.

    Raises:
        ValueError: There is no such method, or it is not installed.
    """

    implemented_properties: list[str]

    def __init__(self, low: LowLevel) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.low = low
        scratch = tempfile.gettempdir()
        self._method = method_of(low.method, _text(low.arguments), scratch)
        self._make: Callable[[Task], Calculator] = self._method.calculators()
        self._made: dict[tuple[Any, ...], Calculator] = {}
        self.implemented_properties = ["energy", "forces", "stress"]

    def of(self, atoms: Atoms) -> Calculator:
        """The method's own calculator for a frame.

        Raises:
            ValueError: The method cannot treat it; the message says why.
        """
        low, takes_state = self.low, self._method.takes_state
        task = task_of(str(atoms.symbols), atoms, takes_state, low.charge, low.multiplicity)
        key = (task.numbers.tobytes(), task.pbc.tobytes(), task.charge, task.spin)
        if key not in self._made:
            why = self._method.unfit(task)
            if why:
                raise ValueError(f"{self.low.method}: {why}")
            self._made[key] = self._make(task)
        return self._made[key]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Energy, eV, forces, eV/angstrom, and, where it is asked for, stress, eV/angstrom^3."""
        assert atoms is not None
        self.atoms = atoms.copy()
        calculator, bare = self.of(atoms), atoms.copy()
        wanted = {"energy", "forces", *properties} & {"energy", "forces", "stress"}
        self.results = {
            name: np.array(calculator.get_property(name, bare), dtype=np.float64)
            for name in sorted(wanted)
        }
        self.results["energy"] = float(self.results["energy"])


def _text(arguments: Mapping[str, Any]) -> str | None:
    return json.dumps(dict(arguments)) if arguments else None
