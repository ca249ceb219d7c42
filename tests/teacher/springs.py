"""Springs between all pairs, for tests of labelling: slow, failing, hanging or deadly at will."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path
from typing import Any, ClassVar

import ase
import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

STIFFNESS, LENGTH = 3.0, 1.0  # eV/angstrom^2, angstrom


class Springs(Calculator):
    """Springs between all pairs of atoms.

    It writes a line into `log` and sleeps `delay` seconds for each frame, does not converge, hangs
    or ends its process where the first two atoms are farther apart than a number of angstrom, and
    gives NaN for sulphur. It cannot treat gold.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(
        self,
        log: str | None = None,
        delay: float = 0.0,
        fails_above: float = np.inf,
        hangs_above: float = np.inf,
        dies_above: float = np.inf,
    ) -> None:
        super().__init__()
        self.log, self.delay, self.fails_above = log, delay, fails_above
        self.hangs_above, self.dies_above = hangs_above, dies_above

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        positions = self.atoms.positions
        apart = np.linalg.norm(positions[1] - positions[0])
        if 79 in self.atoms.numbers:
            raise NotImplementedError("no springs for gold")
        if apart > self.dies_above:
            os.kill(os.getpid(), signal.SIGKILL)
        if apart > self.hangs_above:
            time.sleep(1000.0)
        if apart > self.fails_above:
            raise CalculationFailed("the springs did not converge")
        if self.log:
            with Path(self.log).open("a") as stream:
                stream.write(f"{positions[1, 0]!r} {os.environ.get('OMP_NUM_THREADS')}\n")
        time.sleep(self.delay)
        energy, forces = springs(positions)
        self.results: dict[str, Any] = {"energy": energy, "forces": forces}
        if 16 in self.atoms.numbers:
            self.results["forces"] = np.full_like(forces, np.nan)


def springs(positions: np.ndarray) -> tuple[float, np.ndarray]:
    """Energy, eV, and forces, eV/angstrom."""
    energy, forces = 0.0, np.zeros_like(positions)
    for i, j in itertools.combinations(range(len(positions)), 2):
        bond = positions[i] - positions[j]
        length = np.linalg.norm(bond)
        energy += 0.5 * STIFFNESS * (length - LENGTH) ** 2
        pull = -STIFFNESS * (length - LENGTH) * bond / length
        forces[i] += pull
        forces[j] -= pull
    return float(energy), forces
