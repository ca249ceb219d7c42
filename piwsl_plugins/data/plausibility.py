"""Whether the units are right: absurd numbers are an error that names the likely unit.

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
- **Spread** of the energies of one composition: thermal motion gives hundredths of an eV per atom,
  random structures one. More than :data:`SPREAD` is absurd, and so is none at all where the
  geometries differ.
- **Bond stretching** (:func:`piwsl_plugins.data.unit_evidence.stretch_ratio`) tells energies of
  molecules that are counted from anywhere: its ratio is 0.6 to 2.3, about :data:`USUAL`, and the
  other units are a factor of 13.6 and more away, so that beyond :data:`STRETCH` is absurd.
- **Forces** beside energy differences (:func:`piwsl_plugins.data.unit_evidence.force_slope`): the
  slope is 1 to some per cent; :data:`SLOPE` is refused. Forces of a cheaper method may be softer or
  stiffer, for them it is :data:`WEAK_SLOPE`. A slope of -1 means gradients.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from piwsl_plugins.data import unit_evidence as evidence
from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.composition import formula
from piwsl_plugins.data.readers.base import DataError, Source
from piwsl_plugins.data.unit_evidence import Group
from piwsl_plugins.data.units import ENERGY_UNITS, FORCE_UNITS, LENGTH_UNITS

MOST = 2000
"""Frames that are looked at, in runs of neighbours that are spread evenly over the file."""
RUN = 20
"""Frames of such a run: forces are compared with energies of frames that are near each other."""
GEOMETRIES = 200
"""Frames whose distances are looked at."""
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
    energies = _judge_energies(groups, str(taken["energy_unit"]), atoms)
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
    return [Finding("length_unit", True, _near(1.0 / middle, factors, 1.35), reason)]


def _judge_energies(groups: list[Group], taken: str, atoms: Mapping[int, float]) -> list[Finding]:
    factors = {unit: value / ENERGY_UNITS[taken] for unit, value in ENERGY_UNITS.items()}
    judges: tuple[Callable[[list[Group], Mapping[str, float], Mapping[int, float]], _Verdict], ...]
    judges = (_by_totals, _by_atoms, _by_stretching, _by_spread)
    for by in judges:
        verdict = by(groups, factors, atoms)
        if verdict is not None:
            unusual, likely, reason = verdict
            text = f"{reason}, with energies in {taken}"
            return [Finding("energy_unit", unusual, likely if unusual else (taken,), text)]
    return []


_Verdict = tuple[bool, tuple[str, ...], str] | None


def _by_totals(
    groups: list[Group], factors: Mapping[str, float], atoms: Mapping[int, float]
) -> _Verdict:
    ratios = np.concatenate([evidence.total_energy_ratio(group) for group in groups])
    ratios = ratios[~np.isnan(ratios)]
    if not len(ratios):
        return None
    middle = float(np.median(ratios))
    reason = f"energies are {middle:.4g} times the total energies of their atoms' electrons"
    if TOTAL[0] <= middle <= TOTAL[1]:
        return False, (), reason
    hartree = 1.0 / ENERGY_UNITS["hartree"]
    if not (middle > TOTAL[0] or hartree * TOTAL[0] <= middle <= hartree * TOTAL[1]):
        return None  # pseudopotentials, binding energies, ...
    likely = tuple(u for u, f in factors.items() if TOTAL[0] <= middle * f <= TOTAL[1])
    return (True, likely, f"{reason} (expected is 1)") if likely else None


def _by_atoms(
    groups: list[Group], factors: Mapping[str, float], atoms: Mapping[int, float]
) -> _Verdict:
    def binding(factor: float, atoms_factor: float, chosen: list[Group]) -> float:
        parts = [evidence.binding_energies(g, atoms, factor, atoms_factor) for g in chosen]
        values = np.concatenate([*parts, []])
        values = values[~np.isnan(values)]
        return float(np.median(values)) if len(values) else np.nan

    covalent = [group for group in groups if _is_covalent(group)]
    found, loose = binding(1.0, 1.0, groups), binding(1.0, 1.0, covalent)
    if np.isnan(found):
        return None
    reason = f"energies are {found:.4g} eV per atom from those of the isolated atoms"
    if abs(found) > BOUND:
        ranges, chosen = (-10.0, 1.0), groups
        expected = f"expected is -9 to 0, at most {BOUND:g} away"
    elif -LOOSE < loose < -0.001:
        ranges, chosen = (-9.0, -1.5), covalent
        reason = f"covalent molecules are bound by {-loose:.4g} eV per atom"
        expected = f"expected is 2 to 7, at least {LOOSE:g}"
    else:
        return None if not covalent else (False, (), reason)
    likely = tuple(
        unit
        for unit, factor in factors.items()
        for atoms_factor in (1.0, factor)
        if ranges[0] < binding(factor, atoms_factor, chosen) < ranges[1]
    )
    return True, tuple(dict.fromkeys(likely)), f"{reason} ({expected})"


def _by_spread(
    groups: list[Group], factors: Mapping[str, float], atoms: Mapping[int, float]
) -> _Verdict:
    for group in groups:
        energies = group.label("energy") / len(group.numbers)
        known = np.flatnonzero(~np.isnan(energies))
        if len(known) < 10 or group.isolated.any():
            continue
        values = energies[known]
        spread = 1.4826 * float(np.median(np.abs(values - np.median(values))))
        name = f"energies of {len(known)} frames of {formula(group.numbers)}"
        if spread > SPREAD[1]:
            likely = tuple(u for u, f in factors.items() if 0.002 < spread * f < 1.0)
            return True, likely, f"{name} spread over {spread:.4g} eV per atom"
        if np.ptp(values) < SPREAD[0] and _differ(group, known):
            reason = f"{name} are the same to {np.ptp(values):.1g} eV per atom at different "
            return True, (), f"{reason}geometries (is their key right?)"
    return None


def _by_stretching(
    groups: list[Group], factors: Mapping[str, float], atoms: Mapping[int, float]
) -> _Verdict:
    judged = (evidence.stretch_ratio(group) for group in groups)
    found = [
        (frames, ratio)
        for ratio, correlation, frames in filter(None, judged)
        if correlation > 0.25 and correlation * np.sqrt(frames) > 4.0
    ]
    if not found:
        return None
    ratio = float(np.exp(np.average(np.log([r for _, r in found]), weights=[n for n, _ in found])))
    reason = f"energies vary {ratio:.3g} times as much as the stretching of bonds lets expect"
    if STRETCH[0] <= ratio <= STRETCH[1]:
        return False, (), reason
    return True, _near(USUAL / ratio, factors, 2.5), f"{reason} (usual is 0.6 to 2.3)"


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
            likely = _near(abs(slope) * correction, factors, math.sqrt(limit))
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
    return _near(1.0 / abs(slope), factors, within)


def _isolated_energies(groups: list[Group]) -> dict[int, float]:
    found: dict[int, float] = {}
    for group in groups:
        energies = group.label("energy")[group.isolated]
        energies = energies[~np.isnan(energies)]
        if len(energies):
            found[int(group.numbers[0])] = float(energies[0])
    return found


def _is_covalent(group: Group) -> bool:
    """Whether the frames are molecules of three and more atoms of non-metals, and not all H."""
    elements = set(group.numbers.tolist())
    return (
        group.cell is None
        and len(group.numbers) > 2
        and elements <= set(evidence.STRETCH_ELEMENTS)
        and elements != {1}
    )


def _differ(group: Group, known: Iterable[int]) -> bool:
    """Whether distances between atoms differ among frames by more than 0.02 angstrom."""
    if len(group.numbers) < 2 or group.cell is not None:
        return False
    first, second = np.triu_indices(min(len(group.numbers), 20), 1)
    positions = group.positions[list(known)[:50]]
    distances = np.linalg.norm(positions[:, first] - positions[:, second], axis=-1)
    return bool(distances.std(axis=0).max() > 0.02)


def _near(factor: float, factors: Mapping[str, float], within: float) -> tuple[str, ...]:
    """Units whose factor is that, the nearest first."""
    away = {unit: abs(math.log(value / factor)) for unit, value in factors.items()}
    return tuple(sorted((u for u in away if away[u] < math.log(within)), key=lambda u: away[u]))


def _some(number: int, most: int) -> list[int]:
    chosen = np.linspace(0, number - 1, min(number, most)).astype(int)
    return [int(i) for i in np.unique(chosen)]
