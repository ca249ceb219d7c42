"""What is absurd in a unit: the limits, and why they are where they are.

The evidence, the strongest first, and what each threshold rests on:

- **Lengths.** Nearest neighbours over the sum of their covalent radii are 0.9 to 1.25 in molecules,
  metals and salts; bohr taken for angstrom gives 1.9, nm 0.1, angstrom taken for bohr 0.53. Beyond
  :data:`SHORT` in the median, or :data:`LONG` even for the nearest twentieth of the atoms, is
  absurd. Noble gases, isolated atoms and, for being stretched, lone pairs of atoms are not judged.
- **Total energies** of all electrons of H, C, N, O and F compounds, to 3 %, tell hartree from eV by
  themselves (:func:`piwsl_plugins.data.unit_evidence.total_energy_ratio`).
- **Isolated atoms**, where their energies are known: no compound is bound by more than 9 eV per
  atom (tungsten), so more than :data:`BOUND` is absurd, and covalent molecules of three atoms and
  more by less than :data:`LOOSE` as well (ozone has 2).
- **Bond stretching** (:func:`piwsl_plugins.data.unit_evidence.stretch_ratio`) tells energies of
  molecules that are counted from anywhere: its ratio is 0.6 to 2.3, about :data:`USUAL`, and the
  other units are a factor of 13.6 and more away, so that beyond :data:`STRETCH` is absurd.
- **Spread** of the energies of one composition: thermal motion gives hundredths of an eV per atom,
  random structures one. More than :data:`SPREAD` is absurd, and so is none at all where the
  geometries differ.
- **Forces** beside energy differences (:func:`piwsl_plugins.data.unit_evidence.force_slope`): the
  slope is 1 to some per cent; :data:`SLOPE` is refused. Forces of a cheaper method may be softer or
  stiffer, for them it is :data:`WEAK_SLOPE`. A slope of -1 means gradients.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

SHORT, LONG = 0.65, 1.5
"""Distances of nearest neighbours over the sum of covalent radii."""
TOTAL = (0.975, 1.03)
"""Total energies over the atoms' all-electron energies; minimal basis sets give 0.98."""
BOUND = 15.0
"""Binding energy per atom, eV."""
LOOSE = 0.75
"""The same of covalent molecules, at least."""
SPREAD = (1e-6, 3.0)
"""Robust standard deviation of energies per atom, eV."""
STRETCH, USUAL = (0.17, 6.0), 1.3
"""Ratio of the energies' spread to that of the stretching model."""
SLOPE, WEAK_SLOPE = 1.3, 2.0
"""Energy differences over the work of forces: beyond this factor from 1, either way."""
GRADIENT = "gradient"
"""Stands among the likely units where the sign of the forces is wrong."""
CORRELATED = 0.9
"""Correlation from which that slope counts."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What the numbers say of a unit.

    Attributes:
        setting: the setting it concerns, e.g. ``energy_unit``.
        unusual: whether the numbers are absurd in the unit that was taken.
        likely: units, the likeliest first, in which they would make sense; where not ``unusual``,
            the unit that was taken, or none where the numbers are odd and no unit explains it.
        reason: what was found, and what is expected.
    """

    setting: str
    unusual: bool
    likely: tuple[str, ...]
    reason: str


def near(factor: float, factors: Mapping[str, float], within: float) -> tuple[str, ...]:
    """Units whose factor is that, the nearest first."""
    away = {unit: abs(math.log(value / factor)) for unit, value in factors.items()}
    return tuple(sorted((u for u in away if away[u] < math.log(within)), key=lambda u: away[u]))
