"""What energies say of their unit, by four kinds of evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from piwsl_plugins.data import unit_evidence as evidence
from piwsl_plugins.data.composition import formula
from piwsl_plugins.data.unit_evidence import Group
from piwsl_plugins.data.unit_limits import (
    BOUND,
    LOOSE,
    SPREAD,
    STRETCH,
    TOTAL,
    USUAL,
    Finding,
    near,
)
from piwsl_plugins.data.units import ENERGY_UNITS

_Verdict = tuple[bool, tuple[str, ...], str] | None
"""Whether the energies are absurd, the likely units, and why; None where there is no telling."""


def judge_energies(groups: list[Group], taken: str, atoms: Mapping[int, float]) -> list[Finding]:
    """What the energies of some frames say of their unit.

    Args:
        groups: the frames.
        taken: the unit that they were taken to be in.
        atoms: energies of the isolated atoms by atomic number, eV.

    Returns:
        One finding, of the strongest evidence there is, or none.
    """
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
    return True, near(USUAL / ratio, factors, 2.5), f"{reason} (usual is 0.6 to 2.3)"


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
