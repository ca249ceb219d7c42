"""Energies per atom: their range, what composition explains of it, and outliers."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import Block, Floats
from piwsl_plugins.data.composition import Composition, CompositionFit, FittedEnergies, composition
from piwsl_plugins.data.fingerprints import Numbers

FAR = 10.0
"""Robust standard deviations from the median beyond which an energy is an outlier."""
_ENOUGH = 30  # frames from which a composition has a median and spread of its own
_LEAST_SPREAD = 1e-4  # eV per atom; a smaller spread makes no outliers
_NORMAL = 1.4826  # standard deviation over median absolute deviation, of normal numbers


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """Energies per atom, eV.

    Attributes:
        fit: energies of the elements that explain most of the energies.
        per_atom: least, mean and greatest energy per atom.
        residual: the same of what the fit leaves, and its standard deviation, outliers left out.
        outliers: indices of outlying frames, the farthest first.
        deviations: energy per atom of each outlier less the median that it is compared with.
    """

    fit: FittedEnergies
    per_atom: tuple[float, float, float]
    residual: tuple[float, float, float, float]
    outliers: Numbers
    deviations: Floats


class Energies:
    """Collects energies, 12 bytes a frame; isolated atoms are to be left out."""

    def __init__(self) -> None:
        self._energies: list[Floats] = []
        self._kinds: list[NDArray[np.int32]] = []
        self._compositions: dict[Composition, int] = {}

    def add(self, block: Block, energies: Floats) -> None:
        """Add the energies of a block, eV; NaN where a frame has none."""
        key = composition(block.numbers)
        kind = self._compositions.setdefault(key, len(self._compositions))
        self._energies.append(energies)
        self._kinds.append(np.full(len(block), kind, dtype=np.int32))

    @property
    def values(self) -> Floats:
        """All energies, eV, NaN where a frame has none, shape [n_frames]."""
        if len(self._energies) != 1:
            self._energies = [np.concatenate([*self._energies, []])]
        return self._energies[0]

    def spread(self) -> Spread | None:
        """Range and outliers, or None where there are no energies."""
        energies = self.values
        known = np.flatnonzero(~np.isnan(energies))
        if not len(known):
            return None
        kinds = np.concatenate(self._kinds)[known]
        atoms = np.array([sum(n for _, n in key) for key in self._compositions])[kinds]
        per_atom = energies[known] / atoms
        order = np.argsort(kinds, kind="stable")
        runs = np.split(order, np.flatnonzero(np.diff(kinds[order])) + 1)
        deviations = np.zeros(len(known))
        far = np.zeros(len(known), dtype=bool)
        for run in runs:
            if len(run) >= _ENOUGH:
                deviations[run], far[run] = _compare(per_atom[run])
        fit = self._fit(energies[known], kinds, ~far)
        residual = per_atom - self._explained(fit)[kinds] / atoms
        small = np.concatenate([run for run in runs if len(run) < _ENOUGH] or [order[:0]])
        if len(small) >= _ENOUGH:
            deviations[small], far[small] = _compare(residual[small])
        good = residual[~far]
        chosen = np.flatnonzero(far)
        chosen = chosen[np.argsort(-np.abs(deviations[chosen]))]
        return Spread(
            fit,
            (float(per_atom.min()), float(per_atom.mean()), float(per_atom.max())),
            (float(good.min()), float(good.mean()), float(good.max()), float(good.std())),
            known[chosen],
            deviations[chosen],
        )

    def _fit(
        self, energies: Floats, kinds: NDArray[np.int32], good: NDArray[np.bool_]
    ) -> FittedEnergies:
        fit = CompositionFit()
        frames = np.bincount(kinds[good], minlength=len(self._compositions))
        sums = np.bincount(kinds[good], energies[good], minlength=len(self._compositions))
        for key, n, total in zip(self._compositions, frames.tolist(), sums.tolist(), strict=True):
            fit.add_sum(key, n, total)
        return fit.solve()

    def _explained(self, fit: FittedEnergies) -> Floats:
        """Sum of the fitted energies of each composition's atoms, eV."""
        return np.array(
            [sum(fit.values.get(z, np.nan) * n for z, n in key) for key in self._compositions]
        )


def _compare(values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Deviations from the median, and which of them are outliers."""
    deviations = values - np.median(values)
    spread = max(_NORMAL * float(np.median(np.abs(deviations))), _LEAST_SPREAD)
    return deviations, np.abs(deviations) > FAR * spread
