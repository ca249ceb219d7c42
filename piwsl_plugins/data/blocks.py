"""What every reader hands on: frames of the same atoms, in eV and angstrom, NaN for no label."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.data.checks import Frame

Floats = NDArray[np.float64]

ENERGIES = ("energy", "low_energy")
"""Labels of shape [n_frames]."""
FORCES = ("forces", "weak_forces", "low_forces")
"""Labels of shape [n_frames, n_atoms, 3]."""
LABELS = (*ENERGIES, *FORCES, "stress")
"""Names of all labels; stress is of shape [n_frames, 3, 3]."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some frames with the same atoms in the same order, e.g. conformers of one molecule.

    Attributes:
        source: path of the file.
        places: number of each frame in the file, from 0, shape [n_frames].
        group: what the file calls these frames together (formula, molecule), or "".
        numbers: atomic numbers, shape [n_atoms].
        positions: shape [n_frames, n_atoms, 3], angstrom.
        labels: some of :data:`LABELS`; eV, eV/angstrom, eV/angstrom^3. A frame without the label
            has NaN throughout, and a label that no frame of the file has is left out.
        cell: shape [n_frames, 3, 3], angstrom, or None for molecules.
        pbc: shape [n_frames, 3], or None for molecules.
        info: further values of each frame by name, e.g. ``config_type``, ``smiles``.
    """

    source: str
    places: NDArray[np.int64]
    group: str
    numbers: NDArray[np.int64]
    positions: Floats
    labels: Mapping[str, Floats]
    cell: Floats | None = None
    pbc: NDArray[np.bool_] | None = None
    info: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.positions)

    def name(self, number: int) -> str:
        """What to call a frame of this block in a message."""
        group = f", {self.group}" if self.group else ""
        return f"{self.source}, frame {self.places[number]}{group}"

    def has(self, label: str) -> NDArray[np.bool_]:
        """Which frames have a label (any number in it that is not NaN), shape [n_frames]."""
        values = self.labels.get(label)
        if values is None:
            return np.zeros(len(self), dtype=bool)
        missing = np.isnan(values.reshape(len(self), -1)).all(axis=1)
        return np.logical_not(missing)

    def take(self, chosen: slice | NDArray[np.bool_] | NDArray[np.int64] | Sequence[int]) -> Block:
        """The frames of an index array, boolean mask or slice."""
        if isinstance(chosen, slice):
            numbers = np.arange(len(self))[chosen]
        else:
            numbers = np.asarray(chosen)
            numbers = numbers.nonzero()[0] if numbers.dtype == bool else numbers
        return dataclasses.replace(
            self,
            places=self.places[numbers],
            positions=self.positions[numbers],
            labels={label: values[numbers] for label, values in self.labels.items()},
            cell=None if self.cell is None else self.cell[numbers],
            pbc=None if self.pbc is None else self.pbc[numbers],
            info={key: [values[i] for i in numbers] for key, values in self.info.items()},
        )

    def scalar(self, label: str, number: int) -> float | None:
        """A frame's energy or the like, or None where it has none."""
        values = self.labels.get(label)
        return None if values is None or np.isnan(values[number]) else float(values[number])

    def array(self, label: str, number: int) -> Floats | None:
        """A frame's forces or stress, or None where it has none."""
        values = self.labels.get(label)
        return None if values is None or np.isnan(values[number]).all() else values[number]

    def atoms(self, number: int) -> ase.Atoms:
        """A frame's geometry, with its ``info`` and without labels."""
        return ase.Atoms(
            numbers=self.numbers,
            positions=self.positions[number],
            cell=None if self.cell is None else self.cell[number],
            pbc=None if self.pbc is None else self.pbc[number],
            info={key: values[number] for key, values in self.info.items()},
        )

    def frames(self) -> Iterator[Frame]:
        """The frames one by one, as the checks take them."""
        for number in range(len(self)):
            yield Frame(
                self.name(number),
                self.atoms(number),
                self.scalar("energy", number),
                self.array("forces", number),
                self.array("stress", number),
            )
