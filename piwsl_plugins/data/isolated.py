"""Isolated atoms among the frames."""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import Block, Floats
from piwsl_plugins.data.composition import target_energies
from piwsl_plugins.data.readers.base import DataError

CONFIG_TYPE = "IsolatedAtom"
"""How ``config_type`` marks them, as MACE knows it."""
FAR = 6.0
"""Distance to a periodic image, angstrom, from which a lone atom counts as isolated."""
TOLERANCE = 1e-5
"""Energies of one element's isolated atoms that differ by more, eV, contradict each other."""


def is_isolated(block: Block) -> NDArray[np.bool_]:
    """Which frames are isolated atoms, shape [n_frames].

    A frame of one atom is, where ``config_type`` says so, or it has no periodic image nearer than
    :data:`FAR`; a crystal with one atom in its cell is not.
    """
    if len(block.numbers) != 1:
        return np.zeros(len(block), dtype=bool)
    marked = np.array([kind == CONFIG_TYPE for kind in block.info.get("config_type", ())])
    marked = marked if len(marked) else np.zeros(len(block), dtype=bool)
    if block.cell is None or block.pbc is None:
        return np.ones(len(block), dtype=bool)
    return marked | (_nearest_image(block.cell, block.pbc) >= FAR)


class IsolatedAtoms:
    """Collects the energies of isolated atoms, element by element."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[str, float]] = {}
        self._without: dict[int, str] = {}

    def add(self, block: Block) -> None:
        """Add the isolated atoms of a block.

        Raises:
            DataError: an element's second energy differs from its first.
        """
        number = int(block.numbers[0])
        energies = target_energies(block)
        for i in np.flatnonzero(is_isolated(block)):
            name, energy = block.name(int(i)), float(energies[i])
            if np.isnan(energy):
                self._without.setdefault(number, name)
                continue
            first, known = self._found.setdefault(number, (name, energy))
            if not abs(known - energy) <= TOLERANCE:
                raise DataError(
                    f"isolated atoms of {chemical_symbols[number]} have different energies: "
                    f"{known:.8f} eV in {first}, {energy:.8f} eV in {name} (frames counted from "
                    "0); leave the one that is right"
                )

    def known(self) -> dict[int, float]:
        """Energy of each element that has one, eV."""
        return {number: energy for number, (_, energy) in self._found.items()}

    def energies(self) -> dict[int, float]:
        """The same, where no isolated atom may lack it.

        Raises:
            DataError: an element's isolated atoms have no energy.
        """
        for number, name in self._without.items():
            if number not in self._found:
                raise DataError(
                    f"{name} (frames counted from 0): this isolated atom of "
                    f"{chemical_symbols[number]} has no energy under the key that is read; give "
                    "it one, or give the energies of the atoms (E0s)"
                )
        return self.known()


def _nearest_image(cells: Floats, pbcs: NDArray[np.bool_]) -> Floats:
    """Least distance between lattice planes along the periodic directions, shape [n_frames]."""
    nearest = np.full(len(cells), np.inf)
    for i, (cell, pbc) in enumerate(zip(cells, pbcs, strict=True)):
        vectors = cell[pbc]
        if len(vectors):
            # columns of the pseudo-inverse are the planes' normals over their distance
            nearest[i] = 1.0 / np.linalg.norm(np.linalg.pinv(vectors), axis=0).max()
    return nearest
