"""What the numbers of frames say about their units: lengths, energies, and forces beside both.

Every function here measures one figure that is about 1 (or within a known range) where the units
are right. What follows from it is decided by the limits in :mod:`piwsl_plugins.data.unit_limits`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
from ase import units
from ase.cell import Cell
from ase.data import covalent_radii
from ase.geometry import get_distances, minkowski_reduce, wrap_positions
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist, squareform

from piwsl_plugins.data.blocks import FORCES, Block, Floats
from piwsl_plugins.data.composition import composition
from piwsl_plugins.data.isolated import is_isolated

MOST_FRAMES = 400
"""Frames with the same atoms that are compared with each other."""
MOST_CENTRES = 50
"""Atoms of a frame whose neighbours are looked for."""
NOBLE_GASES = (2, 10, 18, 36, 54, 86)
"""Held together by no bonds, so that distances between them tell little."""
STRETCH_CONSTANT = 0.35 * units.Hartree / units.Bohr**2
"""Force constant of a bond as long as its atoms' covalent radii, eV/angstrom^2 (Swart and
Bickelhaupt, Int. J. Quantum Chem. 106, 2536 (2006)); exp(3 - 3 r / (R_i + R_j)) times this at r."""
STRETCH_ELEMENTS = (1, 5, 6, 7, 8, 9, 16)
"""Elements of covalent molecules, with which that was compared."""
ALL_ELECTRON = {1: -0.5, 6: -37.8450, 7: -54.5892, 8: -75.0673, 9: -99.7339}
"""Exact non-relativistic energies of atoms, hartree (Chakravorty et al., Phys. Rev. A 47, 3649
(1993)). Of these elements only, as heavier ones with pseudopotentials may come to any ratio."""


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Frames with the same atoms in the same order, NaN for a missing label.

    Attributes:
        numbers: atomic numbers, shape [n_atoms].
        positions: shape [n_frames, n_atoms, 3], angstrom.
        labels: as in a block.
        cell: shape [n_frames, 3, 3], angstrom, or None.
        pbc: shape [n_frames, 3], or None.
        isolated: which frames are isolated atoms, shape [n_frames].
    """

    numbers: NDArray[np.int64]
    positions: Floats
    labels: Mapping[str, Floats]
    cell: Floats | None
    pbc: NDArray[np.bool_] | None
    isolated: NDArray[np.bool_]

    def label(self, name: str) -> Floats:
        """A label, NaN where there is none."""
        atoms = len(self.numbers)
        shape = (len(self.positions), atoms, 3) if name in FORCES else (len(self.positions),)
        return self.labels.get(name, np.full(shape, np.nan))


def groups_of(blocks: Iterable[Block]) -> list[Group]:
    """Put the frames with the same atoms, and periodic alike, together."""
    alike: dict[tuple[bytes, bytes], list[Block]] = {}
    for block in blocks:
        pbc = b"" if block.pbc is None else block.pbc[0].tobytes()
        alike.setdefault((block.numbers.tobytes(), pbc), []).append(block)
    return [_join(parts) for parts in alike.values()]


def _join(blocks: list[Block]) -> Group:
    first = blocks[0]
    names = sorted({name for block in blocks for name in block.labels})
    shapes = {
        name: next(b.labels[name].shape[1:] for b in blocks if name in b.labels) for name in names
    }
    return Group(
        first.numbers,
        np.concatenate([block.positions for block in blocks]),
        {
            name: np.concatenate(
                [b.labels.get(name, np.full((len(b), *shapes[name]), np.nan)) for b in blocks]
            )
            for name in names
        },
        None
        if first.cell is None
        else np.concatenate([b.cell for b in blocks if b.cell is not None]),
        None if first.pbc is None else np.concatenate([b.pbc for b in blocks if b.pbc is not None]),
        np.concatenate([is_isolated(block) for block in blocks]),
    )


def nearest_neighbours(group: Group, frame: int) -> tuple[Floats, Floats]:
    """Distances of some atoms to their nearest neighbours, periodic images included.

    Args:
        group: frames.
        frame: which of them.

    Returns:
        Distances, angstrom, and the same over the sum of the two covalent radii; neither of noble
        gases, nor of isolated atoms.
    """
    numbers, positions = group.numbers, group.positions[frame]
    centres = np.unique(np.linspace(0, len(numbers) - 1, MOST_CENTRES).astype(int))
    if group.cell is None or group.pbc is None:
        distances = cdist(positions[centres], positions)
        itself = np.inf
    else:
        cell, pbc = group.cell[frame], group.pbc[frame]
        distances = get_distances(positions[centres], positions, cell, pbc)[1]
        reduced = minkowski_reduce(cell, pbc)[0]
        itself = float(np.linalg.norm(reduced[pbc], axis=1).min())
    distances[np.arange(len(centres)), centres] = itself
    nearest = distances.argmin(axis=1)
    found = distances[np.arange(len(centres)), nearest]
    radii = covalent_radii[numbers]
    kept = np.isfinite(found) & ~np.isin(numbers[centres], NOBLE_GASES) & ~group.isolated[frame]
    return found[kept], (found / (radii[centres] + radii[nearest]))[kept]


def total_energy_ratio(group: Group) -> Floats:
    """Energies over the sums of the atoms' all-electron energies, shape [n_frames].

    It is 0.98 to 1.03 for total energies of all electrons, whatever the method, as binding is a
    small part of them. With pseudopotentials it is 0.14 (carbon) to 0.24 (fluorine), with GFN-xTB
    0.06 to 0.10, with the tight binding of DFTB 0.042 and more, and for energies counted from atoms
    0.022 (methane) and less: nothing lies around 1/27.2 = 0.037. Hydrogen alone would: of it there
    must be no more than in methane.
    """
    nothing = np.full(len(group.positions), np.nan)
    counts = dict(composition(group.numbers))
    heavy = sum(n for number, n in counts.items() if number != 1)
    if set(counts) - set(ALL_ELECTRON) or heavy == 0 or counts.get(1, 0) > 4 * heavy:
        return nothing
    total = sum(n * ALL_ELECTRON[number] for number, n in counts.items()) * units.Hartree
    return group.label("energy") / total


def binding_energies(
    group: Group, atomic_energies: Mapping[int, float], factor: float, atoms_factor: float
) -> Floats:
    """Energies less those of the isolated atoms, per atom, eV, shape [n_frames].

    Args:
        group: frames.
        atomic_energies: E0 by atomic number, eV.
        factor: what to multiply the energies with.
        atoms_factor: what to multiply the E0s with.
    """
    atoms = sum(n * atomic_energies.get(z, np.nan) for z, n in composition(group.numbers))
    energies = group.label("energy") * factor - atoms * atoms_factor
    return np.where(group.isolated, np.nan, energies / len(group.numbers))


def stretch_ratio(group: Group) -> tuple[float, float, int] | None:
    """How much energies vary, beside what chemistry says of the stretching of bonds.

    The energies of a molecule's geometries are compared with the sum over pairs of
    1/2 k_ij (r_ij - median r_ij)^2, by the ratio of their standard deviations. It was 0.6 to 2.3
    for thermal geometries of acetylacetone and formaldehyde, and the correlation 0.3 to 0.8, as
    bonds are not all that moves.

    Returns:
        Ratio, correlation and number of frames; None where there are no such frames, or where
        bonds hardly stretch (relaxed scans), so that other motions would pass for theirs.
    """
    energies = group.label("energy")
    known = np.flatnonzero(~np.isnan(energies))[:MOST_FRAMES]
    if group.cell is not None or not 3 <= len(group.numbers) <= 60 or len(known) < 20:
        return None
    if set(group.numbers.tolist()) - set(STRETCH_ELEMENTS):
        return None
    first, second = np.triu_indices(len(group.numbers), 1)
    reach = covalent_radii[group.numbers[first]] + covalent_radii[group.numbers[second]]
    distances = np.stack([pdist(frame) for frame in group.positions[known]])
    relative = distances / reach
    # bonds, and next neighbours, which stand for angles; not what breaks or turns
    kept = (relative.max(axis=0) < 2.0) & (np.ptp(relative, axis=0) < 0.4)
    bonds = int((kept & (np.median(relative, axis=0) < 1.3)).sum())
    if bonds < 2:
        return None
    middle = np.median(distances, axis=0)
    constants = STRETCH_CONSTANT * np.exp(3.0 * (1.0 - middle / reach))
    stretch = (0.5 * constants * (distances - middle) ** 2)[:, kept].sum(axis=1)
    if stretch.mean() < 0.008 * bonds or np.std(energies[known]) == 0.0:
        return None  # kT/2 a bond is 0.013 eV at 300 K
    correlation = float(np.corrcoef(stretch, energies[known])[0, 1])
    return float(np.std(energies[known]) / np.std(stretch)), correlation, len(known)


def force_slope(group: Group, energy: str, forces: str) -> tuple[float, float, int] | None:
    """Slope of energy differences against the work -F.dr of the forces, between near frames.

    F is the mean of both frames' forces, so that the error is of third order in dr; molecules are
    turned onto each other, frames of a cell are compared where it is the same.

    Args:
        group: frames.
        energy: name of the energies.
        forces: name of the forces.

    Returns:
        Slope, correlation and number of pairs; None where there are fewer than five.
    """
    energies, vectors = group.label(energy), group.label(forces)
    usable = ~np.isnan(energies) & ~np.isnan(vectors).any(axis=(1, 2)) & (len(group.numbers) > 1)
    if group.cell is not None:
        usable &= np.isclose(group.cell, group.cell[0], atol=1e-6).all(axis=(1, 2))
    known = np.flatnonzero(usable)[:MOST_FRAMES]
    if len(known) < 3:
        return None
    pairs = _near_pairs(group, known)
    work = np.array([_work(group, vectors, i, j) for i, j in pairs])
    change = np.array([energies[j] - energies[i] for i, j in pairs])
    if len(pairs) < 5 or np.std(work) == 0.0 or np.std(change) == 0.0:
        return None
    correlation = float(work @ change / np.sqrt((work @ work) * (change @ change)))
    return float(work @ change / (work @ work)), correlation, len(pairs)


def _near_pairs(group: Group, known: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Pairs of each frame and its nearest, the nearer half of them."""
    positions = group.positions[known]
    if group.cell is None or group.pbc is None:
        chosen = np.random.default_rng(0).permutation(positions.shape[1])[:MOST_CENTRES]
        shapes = np.stack([pdist(frame[chosen]) for frame in positions])
    else:
        cell, pbc = Cell(group.cell[known[0]]), group.pbc[known[0]]
        moved = [_unwrapped(frame, positions[0], cell, pbc) for frame in positions]
        shapes = np.stack([(frame - frame.mean(axis=0)).ravel() for frame in moved])
    apart = squareform(pdist(shapes))
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argmin(axis=1)
    distance = apart[np.arange(len(known)), nearest]
    order = np.argsort(distance, kind="stable")
    order = order[distance[order] > 0.0][: max(10, len(known) // 2)]
    pairs = {(min(i, j), max(i, j)) for i, j in zip(order, nearest[order], strict=True)}
    return [(int(known[i]), int(known[j])) for i, j in sorted(pairs)]


def _work(group: Group, vectors: Floats, i: int, j: int) -> float:
    """-F.dr from frame i to frame j, eV."""
    one, other = group.positions[i], group.positions[j]
    if group.cell is None or group.pbc is None:
        turn = _rotation(one - one.mean(axis=0), other - other.mean(axis=0))
    else:
        other = _unwrapped(other, one, Cell(group.cell[i]), group.pbc[i])
        turn = np.eye(3)
    moved = (other - other.mean(axis=0)) - (one - one.mean(axis=0)) @ turn
    return -float(np.sum(0.5 * (vectors[i] @ turn + vectors[j]) * moved))


def _unwrapped(positions: Floats, reference: Floats, cell: Cell, pbc: NDArray[np.bool_]) -> Floats:
    """Positions, each in the periodic image nearest to its reference, in a not too skewed cell."""
    moved = wrap_positions(positions - reference, cell, pbc, center=(0.0, 0.0, 0.0))
    return np.asarray(reference + moved)


def _rotation(one: Floats, other: Floats) -> Floats:
    """The proper rotation that turns one onto the other best, as ``one @ rotation`` (Kabsch)."""
    left, _, right = np.linalg.svd(one.T @ other)
    left[:, -1] *= np.sign(np.linalg.det(left @ right))
    return np.asarray(left @ right)
