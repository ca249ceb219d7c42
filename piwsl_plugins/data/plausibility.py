"""Whether the units are right: absurd numbers are an error that names the likely unit.

The evidence and its limits stand in :mod:`piwsl_plugins.data.unit_limits`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from piwsl_plugins.data import unit_evidence as evidence
from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.readers.base import DataError, Source
from piwsl_plugins.data.unit_energies import judge_energies
from piwsl_plugins.data.unit_evidence import Group
from piwsl_plugins.data.unit_limits import (
    CORRELATED,
    GRADIENT,
    LONG,
    SHORT,
    SLOPE,
    WEAK_SLOPE,
    Finding,
    near,
)
from piwsl_plugins.data.units import ENERGY_UNITS, FORCE_UNITS, LENGTH_UNITS

__all__ = ["GRADIENT", "MOST", "Finding", "check_units", "judge", "sample"]

MOST = 2000
"""Frames that are looked at, in runs of neighbours that are spread evenly over the file."""
RUN = 20
"""Frames of such a run: forces are compared with energies of frames that are near each other."""
GEOMETRIES = 200
"""Frames whose distances are looked at."""


def check_units(
    source: Source, atomic_energies: Mapping[int, float] | None = None, most: int = MOST
) -> list[Finding]:
    """Compare the numbers of a file with what nature allows.

    Args:
        source: the file; at most ``most`` of its frames are read.
        atomic_energies: E0 by atomic number, eV, where they are known; isolated atoms among the
            frames that are read are found without.
        most: frames.

    Returns:
        What was found, the unusual first; empty where there is nothing to judge by.

    Raises:
        DataError: a unit makes the numbers absurd, unless ``allow_unusual_units`` is set. The
            message names the likely unit.
    """
    settings = source.settings
    taken = {
        "energy_unit": settings.energy_unit or source.energy_unit,
        "length_unit": settings.length_unit or source.length_unit,
        "forces_unit": settings.forces_unit,
        "weak_forces_unit": settings.weak_forces_unit,
    }
    found = judge(sample(source, most), taken, atomic_energies)
    unusual = [finding for finding in found if finding.unusual]
    if unusual and not settings.allow_unusual_units:
        raise DataError(
            f"{source.path}: the numbers look as if they were in other units:\n  "
            + "\n  ".join(finding.reason + _remedy(finding) for finding in unusual)
            + "\nIf they are right all the same, set allow_unusual_units"
        )
    return found


def sample(source: Source, most: int = MOST) -> Iterator[Block]:
    """Some frames of a file: all, or runs of neighbours that are spread evenly over it."""
    if len(source) <= most:
        yield from source.blocks()
        return
    starts = np.linspace(0, len(source) - RUN, most // RUN).astype(int)
    for start in starts.tolist():
        yield from (source.frame(number) for number in range(start, start + RUN))


def judge(
    blocks: Iterable[Block],
    taken: Mapping[str, str | None],
    atomic_energies: Mapping[int, float] | None = None,
) -> list[Finding]:
    """The same for frames that were read.

    Args:
        blocks: the frames, in eV and angstrom if the units were right.
        taken: the unit that each of the file's quantities was taken to be in; None for forces in
            energy unit per length unit.
        atomic_energies: E0 by atomic number, eV.
    """
    groups = evidence.groups_of(blocks)
    lengths = _judge_lengths(groups, str(taken["length_unit"]))
    if lengths and lengths[0].unusual:
        return lengths  # everything else would only echo it
    atoms = _isolated_energies(groups) | dict(atomic_energies or {})
    energies = judge_energies(groups, str(taken["energy_unit"]), atoms)
    forces = _judge_forces(groups, taken, energies)
    return sorted([*lengths, *energies, *forces], key=lambda finding: not finding.unusual)


def _remedy(finding: Finding) -> str:
    if not finding.likely:
        return ""
    unit, *others = finding.likely
    more = f" or {' or '.join(others)}" if others else ""
    if unit == GRADIENT:
        return ": they look like gradients, which are minus the forces; write the key as -KEY"
    return f": looks like {unit}{more}; set {finding.setting} to {unit}"


def _judge_lengths(groups: list[Group], taken: str) -> list[Finding]:
    found = [
        evidence.nearest_neighbours(group, frame)
        for group in groups
        if len(group.numbers) > 2 or group.cell is not None
        for frame in _some(len(group.positions), GEOMETRIES // len(groups) + 1)
    ]
    distances = np.concatenate([pair[0] for pair in found] or [np.empty(0)])
    ratios = np.concatenate([pair[1] for pair in found] or [np.empty(0)])
    if not len(ratios):
        return []
    middle, low = float(np.median(ratios)), float(np.percentile(ratios, 5))
    reason = (
        f"nearest neighbours are {distances.min():.4g} angstrom apart at least, "
        f"{np.median(distances):.4g} in the median, {middle:.3g} times the sum of covalent radii "
        f"(expected is about 1), with positions in {taken}"
    )
    if middle >= SHORT and low <= LONG:
        return [Finding("length_unit", False, (taken,), reason)]
    factors = {unit: value / LENGTH_UNITS[taken] for unit, value in LENGTH_UNITS.items()}
    return [Finding("length_unit", True, near(1.0 / middle, factors, 1.35), reason)]


def _judge_forces(
    groups: list[Group], taken: Mapping[str, str | None], energies: list[Finding]
) -> list[Finding]:
    energy_unit, length_unit = str(taken["energy_unit"]), str(taken["length_unit"])
    true_unit = energies[0].likely[0] if energies and energies[0].likely else energy_unit
    correction = ENERGY_UNITS[true_unit] / ENERGY_UNITS[energy_unit]
    findings = []
    for label, limit in (("forces", SLOPE), ("weak_forces", WEAK_SLOPE)):
        slopes = [evidence.force_slope(group, "energy", label) for group in groups]
        good = [found for found in slopes if found and abs(found[1]) > CORRELATED]
        if not good:
            continue
        slope, _, pairs = max(good, key=lambda found: found[2])
        setting = f"{label}_unit"
        unit = taken[setting] or (taken["forces_unit"] if label == "weak_forces" else None)
        unit = unit or f"{energy_unit}/{length_unit}"
        reason = (
            f"energy differences of {pairs} pairs of near frames are {slope:.3g} times the work "
            f"of the {label.replace('_', ' ')} (expected is 1), with these in {unit}"
        )
        if 1.0 / limit < slope < limit:
            findings.append(Finding(setting, False, (unit,), reason))
        elif -limit < slope < -1.0 / limit:
            findings.append(Finding(setting, True, (GRADIENT,), reason))
        else:
            factors = {u: value / FORCE_UNITS[unit] for u, value in FORCE_UNITS.items()}
            likely = near(abs(slope) * correction, factors, math.sqrt(limit))
            if taken[setting] is None and likely[:1] == (f"{true_unit}/{length_unit}",):
                continue  # it follows from the energy unit
            others = () if energies else _energy_units(slope, energy_unit, math.sqrt(limit))
            if likely and others:
                reason += f" (if those are right, energy_unit may be {' or '.join(others)})"
            elif others:
                setting, likely = "energy_unit", others
            findings.append(Finding(setting, bool(likely), likely, reason))
    return findings


def _energy_units(slope: float, taken: str, within: float) -> tuple[str, ...]:
    """What the energies may be in, where nothing else tells and the forces may be right."""
    factors = {unit: value / ENERGY_UNITS[taken] for unit, value in ENERGY_UNITS.items()}
    return near(1.0 / abs(slope), factors, within)


def _isolated_energies(groups: list[Group]) -> dict[int, float]:
    found: dict[int, float] = {}
    for group in groups:
        energies = group.label("energy")[group.isolated]
        energies = energies[~np.isnan(energies)]
        if len(energies):
            found[int(group.numbers[0])] = float(energies[0])
    return found


def _some(number: int, most: int) -> list[int]:
    chosen = np.linspace(0, number - 1, min(number, most)).astype(int)
    return [int(i) for i in np.unique(chosen)]
