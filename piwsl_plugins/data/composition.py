"""Least-squares fit of energies to the composition, over any number of frames in one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from piwsl_plugins.data.blocks import Block, Floats

_ZERO = 1e-8  # entries of the null space's projector below it are rounding

Composition = tuple[tuple[int, int], ...]
"""Atomic numbers and how many atoms of each, sorted by atomic number."""


@dataclasses.dataclass(frozen=True, slots=True)
class FittedEnergies:
    """Energies E0 of the elements that make the sum over a frame's atoms nearest to its energy.

    Attributes:
        values: E0 by atomic number, eV.
        inseparable: groups of elements whose energies the compositions do not tell apart; only
            sums over the frames' own compositions are determined then, and the values are those
            of the smallest norm.
        compositions: number of different compositions.
    """

    values: dict[int, float]
    inseparable: tuple[tuple[int, ...], ...]
    compositions: int

    def sum(self, numbers: NDArray[np.int64]) -> float:
        """Sum of the E0s of some atoms, eV; NaN where an element has none."""
        return float(sum(self.values.get(int(number), np.nan) for number in numbers))


class CompositionFit:
    """Collects energies, and solves min over E0 of sum_frames (E - sum_atoms E0)^2.

    Frames of the same composition enter by their number and mean energy alone, which gives the
    same E0s; so the memory goes with the number of compositions.
    """

    def __init__(self) -> None:
        self._sums: dict[Composition, tuple[int, float]] = {}

    def add(self, numbers: NDArray[np.int64], energies: Floats) -> None:
        """Add frames of the same atoms.

        Args:
            numbers: atomic numbers, shape [n_atoms].
            energies: eV, shape [n_frames]; NaN where a frame has none, which is left out.
        """
        known = energies[~np.isnan(energies)]
        self.add_sum(composition(numbers), len(known), float(known.sum()))

    def add_sum(self, key: Composition, frames: int, total: float) -> None:
        """Add frames of a composition by their number and the sum of their energies, eV."""
        if frames:
            before, sum_before = self._sums.get(key, (0, 0.0))
            self._sums[key] = (before + frames, sum_before + total)

    @property
    def frames(self) -> int:
        """Frames with an energy."""
        return sum(frames for frames, _ in self._sums.values())

    @property
    def elements(self) -> list[int]:
        """Atomic numbers in frames with an energy, sorted."""
        return sorted({number for key in self._sums for number, _ in key})

    def solve(self) -> FittedEnergies:
        """The E0s; of all solutions that of the smallest norm."""
        elements = self.elements
        if not elements:
            return FittedEnergies({}, (), 0)
        column = {number: i for i, number in enumerate(elements)}
        counts = np.zeros((len(self._sums), len(elements)))
        for row, key in zip(counts, self._sums, strict=True):
            for number, count in key:
                row[column[number]] = count
        frames, totals = np.array(list(self._sums.values())).T
        root = np.sqrt(frames)
        solution = np.linalg.lstsq(counts * root[:, None], totals / root, rcond=None)[0]
        return FittedEnergies(
            {number: float(value) for number, value in zip(elements, solution, strict=True)},
            _inseparable(counts, elements),
            len(self._sums),
        )


def composition(numbers: NDArray[np.int64]) -> Composition:
    """Atomic numbers and how many atoms of each."""
    elements, counts = np.unique(numbers, return_counts=True)
    return tuple(zip(elements.tolist(), counts.tolist(), strict=True))


def formula(numbers: NDArray[np.int64]) -> str:
    """Chemical formula in Hill's order: C, H, then by symbol."""
    counts = {chemical_symbols[number]: count for number, count in composition(numbers)}
    return hill(counts)


def hill(counts: Mapping[str, int]) -> str:
    """Chemical formula in Hill's order of a symbol's number of atoms."""
    first = [symbol for symbol in ("C", "H") if "C" in counts and symbol in counts]
    rest = sorted(symbol for symbol in counts if symbol not in first)
    return "".join(
        symbol + (str(counts[symbol]) if counts[symbol] > 1 else "") for symbol in first + rest
    )


def target_energies(block: Block) -> Floats:
    """What a model is to learn: the energies, less those of the cheaper method where one is set.

    Args:
        block: frames.

    Returns:
        eV, shape [n_frames]; NaN where a frame lacks an energy that it takes.
    """
    energies = block.labels.get("energy")
    if energies is None:
        return np.full(len(block), np.nan)
    low = block.labels.get("low_energy")
    return energies if low is None else energies - low


def _inseparable(counts: Floats, elements: list[int]) -> tuple[tuple[int, ...], ...]:
    """Groups of elements that a direction of the compositions' null space mixes."""
    _, singular, rows = np.linalg.svd(np.linalg.qr(counts, mode="r"), full_matrices=True)
    rank = int((singular > singular.max() * max(counts.shape) * np.finfo(float).eps).sum())
    null = rows[rank:]
    mixed = np.abs(null.T @ null) > _ZERO
    number, group = connected_components(mixed)
    members = [np.flatnonzero(group == i) for i in range(number)]
    return tuple(
        tuple(elements[i] for i in chosen) for chosen in members if mixed[chosen, chosen].any()
    )
