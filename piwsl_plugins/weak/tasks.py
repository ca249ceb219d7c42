"""What goes to a process that labels, and what comes back."""

from __future__ import annotations

import dataclasses
import hashlib

import ase
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a cheap method says of a frame.

    Attributes:
        energy: eV.
        forces: -dE/dr, shape [n_atoms, 3], eV/angstrom; None only where labels of the file are
            taken and it has none.
        stress: shape [3, 3], eV/angstrom^3, or None without a cell or where the method has none.
        seconds: what it took.
    """

    energy: float
    forces: Floats | None
    stress: Floats | None = None
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A frame to be labelled.

    Attributes:
        name: how messages call it.
        numbers: atomic numbers, shape [n_atoms].
        positions: shape [n_atoms, 3], angstrom.
        cell: shape [3, 3], angstrom, or None for a molecule.
        pbc: along which cell vectors it is periodic, shape [3].
        charge: in elementary charges, or None where the method is not told.
        spin: multiplicity 2S + 1, or None where the method is not told.
    """

    name: str
    numbers: NDArray[np.int64]
    positions: Floats
    cell: Floats | None
    pbc: NDArray[np.bool_]
    charge: int | None = None
    spin: int | None = None

    def atoms(self) -> ase.Atoms:
        """The bare geometry."""
        return ase.Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc)

    @property
    def elements(self) -> tuple[int, ...]:
        """Its atomic numbers, each once, sorted."""
        return tuple(np.unique(self.numbers).tolist())

    def key(self, method: str) -> str:
        """Digest of the frame and of the method.

        Args:
            method: digest of everything that the labels depend on beside the frame.
        """
        found = hashlib.sha256(f"{method} {self.charge} {self.spin}".encode())
        found.update(np.ascontiguousarray(self.numbers, dtype="<i8").tobytes())
        found.update(np.ascontiguousarray(self.positions, dtype="<f8").tobytes())
        if self.cell is not None:
            found.update(np.ascontiguousarray(self.pbc, dtype="u1").tobytes())
            found.update(np.ascontiguousarray(self.cell, dtype="<f8").tobytes())
        return found.hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of a task.

    Attributes:
        task: the frame.
        labels: its labels, or None.
        error: why there are none; empty where there are.
        unsuited: whether the error is that of a calculator which cannot treat such a frame at all,
            as far as can be told, and not of a calculation that did not converge.
    """

    task: Task
    labels: Labels | None
    error: str = ""
    unsuited: bool = False
