"""What the numbers of frames say of the units that they were taken to be in.

Only what can be proved is refused; the limits are far from what right data show.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import covalent_radii
from ase.geometry import get_distances
from scipy.spatial.distance import pdist

from piwsl_plugins.data import units
from piwsl_plugins.data.atomic_energies import isolated_energies
from piwsl_plugins.data.frames import Frame
from piwsl_plugins.data.labels import Converter
from piwsl_plugins.data.slopes import MOST_ATOMS, evenly, slope_of, works
from piwsl_plugins.settings import STRETCH_CONSTANT

Group = list[Frame]  # with the same atoms in the same order, periodic alike
MOST_FRAMES, MOST_GROUPS = 400, 100  # frames of a group, and groups, that are looked at
SHORT, LONG = 0.65, 1.5
"""Nearest neighbours over the sum of covalent radii, median and nearest twentieth; 1 is usual."""
NOBLE_GASES = (2, 10, 18, 36, 54, 86)  # their distances tell little
ALL_ELECTRON = {1: -0.5, 6: -37.8450, 7: -54.5892, 8: -75.0673, 9: -99.7339}
"""Exact non-relativistic energies of atoms, hartree (Chakravorty et al., Phys. Rev. A 47, 3649
(1993)); heavier ones with pseudopotentials may come to any ratio."""
TOTAL = (0.975, 1.03)
"""Energies over the sums of these; right data have 0.98 to 1.03, or pseudopotentials 0.14 to 0.24,
tight binding 0.042 to 0.10, less in energies counted from atoms: nothing is near 1/27.2."""
COVALENT = {1, 5, 6, 7, 8, 9, 16}  # with which the next two were found
STRETCH, USUAL = (0.17, 6.0), 1.3
"""Spread of energies over that of bonds' stretching; right data have 0.6 to 2.3."""
BOUND, LOOSE = 15.0, 0.75
"""Binding energies per atom, eV: at most (9 is usual), and of covalent molecules at least (1)."""
SLOPES = {"forces": 1.3, "weak_forces": 2.0, "low_forces": 2.0, "stress": 1.3}
"""Energy differences over work: beyond this factor from 1, either way."""
STRESS = (0.5, 10.0)  # rms that is odd, and that no experiment has reached, eV/angstrom^3


def judge(
    frames: Sequence[Frame], converter: Converter, atoms: Mapping[int, float]
) -> tuple[list[str], list[str]]:
    """Say what is proved to be wrong with the units of frames, and what is odd or not judged.

    The frames are in eV and angstrom if the units that ``converter`` took were right; ``atoms`` are
    the E0s by atomic number, eV, that a model will use.
    """
    alike: dict[tuple[bytes, bytes], Group] = {}
    for frame in frames:
        if not frame.is_isolated_atom:
            key = (frame.atoms.numbers.tobytes(), frame.atoms.pbc.tobytes())
            alike.setdefault(key, []).append(frame)
    largest = sorted(alike.values(), key=len, reverse=True)[:MOST_GROUPS]
    groups = [[group[i] for i in evenly(len(group), MOST_FRAMES)] for group in largest]
    case, unjudged = _Case(groups, converter), []
    for label, unit in converter.taken.items():  # the length first
        if label == "length":
            judged = case.lengths()
        elif label in SLOPES:
            judged = case.slope(label)
        else:
            judged = case.by_totals(label) or case.by_stretching(label)
        if label == "energy":
            own = case.by_atoms(isolated_energies(frames), True, judged)
            judged = case.by_atoms(atoms, False, judged or own) or judged or own
        if case.refused:  # all else would only echo it
            return case.refused, case.remarks
        if not judged and label not in converter.stated:
            unjudged.append(f"{label.replace('_', ' ')} ({unit})")
    if unjudged:
        why = "too few near frames of any one molecule, and no energies of isolated atoms"
        case.remarks.append(f"the units of {' and '.join(unjudged)} could not be judged: {why}")
    return [], case.remarks


@dataclasses.dataclass(slots=True)
class _Case:
    """What is known of some frames; its methods say whether they could judge a label's unit."""

    groups: list[Group]
    converter: Converter
    refused: list[str] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)

    def refuse(self, label: str, likely: Sequence[str], reason: str) -> None:
        taken, option = self.converter.taken[label], self.converter.option(f"{label}_unit")
        reason += f", with {label} in {taken}"
        if likely:
            reason += f": looks like {' or '.join(likely)}; set {option} to {likely[0]}"
        self.refused.append(reason)

    def factors(self, label: str) -> dict[str, float]:
        """Other units over the one that was taken."""
        known = units.UNITS_OF[label]
        taken = known.get(self.converter.taken[label], 1.0)  # several units, where files state them
        return {unit: value / taken for unit, value in known.items()}

    def near(self, label: str, factor: float, within: float) -> list[str]:
        """Units whose factor is that, the nearest first."""
        away = {unit: abs(math.log(f / factor)) for unit, f in self.factors(label).items()}
        return sorted((u for u in away if away[u] < math.log(within)), key=away.__getitem__)

    def lengths(self) -> bool:
        frames = [f for g in self.groups for f in g if f.atoms.pbc.any() or len(f.atoms) > 2]
        ratios: list[float] = []
        for atoms in (frames[i].atoms for i in evenly(len(frames), 200)):
            some, radii = np.array(evenly(len(atoms), MOST_ATOMS)), covalent_radii[atoms.numbers]
            apart = get_distances(atoms.positions[some], atoms.positions, atoms.cell, atoms.pbc)[1]
            apart[np.arange(len(some)), some] = np.inf
            ratio = apart.min(axis=1) / (radii[some] + radii[apart.argmin(axis=1)])
            kept = np.isfinite(ratio) & ~np.isin(atoms.numbers[some], NOBLE_GASES)
            ratios += ratio[kept].tolist()
        middle = float(np.median(ratios)) if ratios else 1.0
        if middle < SHORT or (ratios and np.percentile(ratios, 5) > LONG):
            reason = f"nearest neighbours are {middle:.3g} times the sum of covalent radii apart"
            likely = self.near("length", 1.0 / middle, 1.35)
            self.refuse("length", likely, f"{reason} (expected is about 1)")
        return True

    def by_totals(self, label: str) -> bool:
        ratios = []
        for group in self.groups:
            numbers = group[0].atoms.numbers.tolist()
            if 5 * numbers.count(1) <= 4 * len(numbers) and {*numbers} <= ALL_ELECTRON.keys():
                total = units.ENERGY_UNITS["hartree"] * sum(ALL_ELECTRON[z] for z in numbers)
                ratios += [f.labels[label] / total for f in group if label in f.labels]
        middle, factors = float(np.median(ratios)) if ratios else 0.0, self.factors(label)
        if middle < TOTAL[0]:  # or pseudopotentials, tight binding, binding energies
            factors = {"hartree": factors["hartree"]}
        likely = [u for u, factor in factors.items() if TOTAL[0] <= middle * factor <= TOTAL[1]]
        if likely and not TOTAL[0] <= middle <= TOTAL[1]:
            reason = f"energies are {middle:.4g} times those of their atoms' electrons"
            self.refuse(label, likely, f"{reason} (expected is 1)")
        return bool(likely)

    def by_stretching(self, label: str) -> bool:
        ratios = [r for group in self.groups for r in stretch_ratios(group, label)]
        ratio = float(np.median(ratios)) if ratios else 1.0
        if ratio == 0.0:
            self.refuse(label, (), "energies are all the same, at different geometries")
        elif not STRETCH[0] <= ratio <= STRETCH[1]:
            reason = f"energies vary {ratio:.3g} times as much as the stretching of bonds"
            likely = self.near(label, USUAL / ratio, 2.5)
            self.refuse(label, likely, f"{reason} (usual is 0.6 to 2.3)")
        return bool(ratios)

    def by_atoms(self, atoms: Mapping[int, float], own: bool, judged: bool) -> bool:
        """By E0s in eV, or where they are the file's ``own``, in the energies' unit."""
        groups = [g for g in self.groups if set(g[0].atoms.numbers.tolist()) <= atoms.keys()]
        frames = [frame for group in groups for frame in group if "energy" in frame.labels]
        if self.refused or not frames:
            return False
        whole = np.array([frame.labels["energy"] / len(frame.atoms) for frame in frames])
        free = np.array([np.mean([atoms[z] for z in frame.atoms.numbers]) for frame in frames])
        found = float(np.median(whole - free))
        loose = own and -LOOSE < found < -0.001 and all(map(is_covalent, groups))
        if abs(found) <= BOUND and not loose:
            return True
        reason = f"energies are {found:.4g} eV per atom from those of the free atoms"
        likely = [
            unit
            for unit, factor in self.factors("energy").items()
            if -9.0 < np.median(factor * whole - (factor if own else 1.0) * free) < -1.0
        ]
        if likely and not judged:
            self.refuse("energy", likely, f"{reason} (expected is -9 to 0)")
        elif not loose:
            self.refused.append(
                f"{reason}: E0s and energies are of different methods, or the E0s are not in eV; "
                "take E0s of the energies' own method, or 'average'"
            )
        return True

    def slope(self, label: str) -> bool:
        if label == "stress":
            known = [f.labels[label] for g in self.groups for f in g if label in f.labels]
            rms = float(np.sqrt(np.mean(np.square(known)))) if known else 0.0
            if rms > STRESS[0]:
                told = self.refused if rms > STRESS[1] else self.remarks
                size = f"{rms:.4g} eV/angstrom^3 ({rms / units.STRESS_UNITS['GPa']:.4g} GPa)"
                told.append(f"the stress is {size} rms; is its unit right?")
        energy = "low_energy" if label == "low_forces" else "energy"
        pairs = [pair for group in self.groups for pair in works(group, label, energy)]
        (slope, number, sure), limit = slope_of(pairs), SLOPES[label]
        fits = 1.0 / limit < slope < limit
        if fits or not sure:
            return fits
        reason = (
            f"energy differences of {number} pairs of near frames are {slope:.3g} times the work "
            f"of the {label.replace('_', ' ')} (expected is 1)"
        )
        if slope > 0.0 and (likely := self.near(label, slope, math.sqrt(limit))):
            self.refuse(label, likely, reason)
        elif 1.0 / limit < -slope < limit:
            option, key = self.converter.option("stress_sign"), self.converter.option(label)
            what = f"set {option}" if label == "stress" else f"gradients, -F? write {key} as -KEY"
            self.refused.append(f"{reason}: the sign is the other way round; {what}")
        else:
            self.remarks.append(f"{reason}, with these in {self.converter.taken[label]}")
        return True


def is_covalent(group: Group) -> bool:
    """Whether they are molecules of three and more atoms of non-metals, and not all H."""
    atoms = group[0].atoms
    elements = set(atoms.numbers.tolist())
    return not atoms.pbc.any() and len(atoms) > 2 and elements <= COVALENT and elements != {1}


def stretch_ratios(group: Group, label: str) -> list[float]:
    """How much energies vary, beside what chemistry says of the stretching of bonds, once a frame.

    The ratio of standard deviations of the energies and of the sum over pairs of
    1/2 k_ij (r_ij - median r_ij)^2, k_ij as in the curvature loss; nothing where it tells little.
    """
    known, numbers = [f for f in group if label in f.labels], group[0].atoms.numbers
    if not is_covalent(group) or len(numbers) > 60 or len(known) < 20:
        return []
    energies = np.array([frame.labels[label] for frame in known])
    first, second = np.triu_indices(len(numbers), 1)
    reach = covalent_radii[numbers[first]] + covalent_radii[numbers[second]]
    distances = np.stack([pdist(frame.atoms.positions) for frame in known])
    relative = distances / reach
    # bonds, and next neighbours, which stand for angles; not what breaks or turns
    kept = (relative.max(axis=0) < 2.0) & (np.ptp(relative, axis=0) < 0.4)
    bonds = int((kept & (np.median(relative, axis=0) < 1.3)).sum())
    middle = np.median(distances, axis=0)
    constants = STRETCH_CONSTANT * np.exp(3.0 * (1.0 - middle / reach))
    stretch = (0.5 * constants * (distances - middle) ** 2)[:, kept].sum(axis=1)
    if bonds < 2 or stretch.mean() < 0.008 * bonds:  # kT/2 a bond is 0.013 eV at 300 K
        return []
    correlation = float(np.corrcoef(stretch, energies)[0, 1]) if np.ptp(energies) else 1.0
    if correlation < max(0.25, 4.0 / np.sqrt(len(known))):
        return []
    return [float(np.std(energies) / np.std(stretch))] * len(known)
