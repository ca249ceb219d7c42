"""Conservation of energy in molecular dynamics, and whether a trajectory leaves what is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list

from piwsl_plugins.evaluation.comparison import Floats

#: How far from the data's range a nearest neighbour may be before a trajectory counts as exploded.
CLOSEST, FARTHEST = 0.6, 1.5
#: Frames that the data's range is taken from; more are thinned out evenly.
MOST_FRAMES = 200
#: Steps between two looks at the neighbours.
LOOK_EVERY = 10
#: Neighbours beyond this are none, angstrom.
NEIGHBOUR_CUTOFF = 6.0

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """Energies along a trajectory.

    Attributes:
        times: Shape ``[n]``, ps.
        energies: Potential and kinetic energy together, shape ``[n]``, eV per atom, less the
            first.
        drift: Slope of the energy against time, eV/atom/ps; None for a trajectory that exploded or
            stood in a heat bath.
        fluctuation: Root mean square distance of the energy from that line, eV/atom; likewise.
        exploded_at: Time at which it exploded, ps, or None.
        reason: What was found there, or None.
    """

    times: Floats
    energies: Floats
    drift: float | None
    fluctuation: float | None
    exploded_at: float | None
    reason: str | None


def nearest_neighbours(atoms: Atoms) -> Floats:
    """Distance of each atom to the nearest other, shape ``[n_atoms]``, angstrom; inf for none."""
    nearest = np.full(len(atoms), np.inf)
    index, distance = neighbor_list("id", atoms, NEIGHBOUR_CUTOFF)
    np.minimum.at(nearest, index, distance)
    return nearest


def neighbour_ranges(frames: Sequence[Atoms]) -> dict[str, tuple[float, float]]:
    """Shortest and longest distance to the nearest neighbour in the data, by element, angstrom."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, MOST_FRAMES).round().astype(int))
    ranges: dict[str, tuple[float, float]] = {}
    for number in chosen:
        nearest, symbols = nearest_neighbours(frames[number]), np.array(frames[number].symbols)
        for symbol in set(symbols.tolist()):
            found = nearest[(symbols == symbol) & np.isfinite(nearest)]
            if found.size:
                low, high = ranges.get(symbol, (np.inf, 0.0))
                ranges[symbol] = (min(low, float(found.min())), max(high, float(found.max())))
    return ranges


def constant_energy(
    frame: Atoms,
    calculator: Calculator,
    ranges: Ranges,
    *,
    steps: int = 1000,
    timestep: float = 0.5,
    temperature: float = 300.0,
    seed: int = 0,
    most_drift: float = np.inf,
    progress: Callable[[], object] | None = None,
) -> Trajectory:
    """Run velocity-Verlet dynamics (NVE) and follow the total energy.

    It counts as exploded, and stops, where the energy is no finite number, or where the nearest
    neighbour of an atom is closer than 0.6 times the shortest such distance in the data, or
    farther than 1.5 times the longest.

    Args:
        frame: Where it starts, angstrom; it is copied, not changed.
        calculator: Any ASE calculator with energies and forces.
        ranges: Distances to the nearest neighbour in the data, as of `neighbour_ranges`.
        steps: Number of steps.
        timestep: Femtoseconds.
        temperature: Of the initial velocities, kelvin, before the common translation and, if not
            periodic, rotation of several atoms are taken out.
        seed: Seed of the velocities.
        most_drift: It counts as exploded, too, where the energy is farther than that from the
            first, eV per atom.
        progress: Called after each step.
    """
    atoms, _ = _start(frame, calculator, temperature, seed)
    dynamics = VelocityVerlet(atoms, timestep=timestep * units.fs)
    found = _follow(atoms, dynamics, ranges, steps, timestep, most_drift, progress)
    if found.reason is not None or len(found.times) < 3:
        return found
    line = np.polyfit(found.times, found.energies, 1)
    away = found.energies - np.polyval(line, found.times)
    return replace(found, drift=float(line[0]), fluctuation=float(np.sqrt(np.mean(away**2))))


def heat_bath(
    frame: Atoms,
    calculator: Calculator,
    ranges: Ranges,
    *,
    steps: int = 1000,
    timestep: float = 0.5,
    temperature: float = 300.0,
    friction: float = 0.01,
    seed: int = 0,
    progress: Callable[[], object] | None = None,
) -> Trajectory:
    """Run Langevin dynamics (NVT); what counts as exploded is that of `constant_energy`.

    Args:
        frame: Where it starts, angstrom; it is copied, not changed.
        calculator: Any ASE calculator with energies and forces.
        ranges: Distances to the nearest neighbour in the data, as of `neighbour_ranges`.
        steps: Number of steps.
        timestep: Femtoseconds.
        temperature: Of the initial velocities and of the bath, kelvin.
        friction: Of the bath, 1/fs.
        seed: Seed of the velocities and of the bath.
        progress: Called after each step.

    Returns:
        The trajectory, with the energies that the bath gives and takes, and without a drift.
    """
    atoms, rng = _start(frame, calculator, temperature, seed)
    dynamics = Langevin(
        atoms,
        timestep=timestep * units.fs,
        temperature_K=temperature,
        friction=friction / units.fs,
        fixcm=False,
        rng=rng,
    )
    return _follow(atoms, dynamics, ranges, steps, timestep, np.inf, progress)


def _start(
    frame: Atoms, calculator: Calculator, temperature: float, seed: int
) -> tuple[Atoms, np.random.Generator]:
    atoms = Atoms(frame.numbers, positions=frame.positions, cell=frame.cell, pbc=frame.pbc)
    rng = np.random.default_rng(seed)
    thermalise(atoms, temperature, rng)
    atoms.calc = calculator
    return atoms, rng


def _follow(
    atoms: Atoms,
    dynamics: VelocityVerlet | Langevin,
    ranges: Ranges,
    steps: int,
    timestep: float,
    most_drift: float,
    progress: Callable[[], object] | None,
) -> Trajectory:
    """Step until the end or an explosion."""
    energies = [float(atoms.get_total_energy()) / len(atoms)]
    reason = None
    for step in range(1, steps + 1):
        try:
            dynamics.step()  # type: ignore[no-untyped-call]  # of Langevin
            energy = float(atoms.get_total_energy()) / len(atoms)
        except Exception as error:  # whatever a calculator raises far from what it knows
            reason = f"the model failed: {error}"
            break
        if not np.isfinite(energy):
            reason = "the energy is not a finite number"
        elif abs(energy - energies[0]) > most_drift:
            reason = f"the energy is {energy - energies[0]:+.3g} eV per atom from the first"
        elif step % LOOK_EVERY == 0 or step == steps:
            reason = strange_neighbour(atoms, ranges)
        if np.isfinite(energy):
            energies.append(energy)
        if reason is not None:
            break
        if progress is not None:
            progress()
    return Trajectory(
        times=1e-3 * timestep * np.arange(len(energies), dtype=np.float64),
        energies=np.array(energies) - energies[0],
        drift=None,
        fluctuation=None,
        exploded_at=None if reason is None else 1e-3 * timestep * step,
        reason=reason,
    )


def thermalise(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Draw momenta of a temperature, less the common translation and, if not periodic, rotation."""
    masses = atoms.get_masses()[:, None]
    momenta = np.sqrt(units.kB * temperature * masses) * rng.normal(size=(len(atoms), 3))
    if len(atoms) > 1:
        momenta -= masses * momenta.sum(axis=0) / masses.sum()
    if len(atoms) > 1 and not atoms.pbc.any():
        arms = atoms.positions - atoms.get_center_of_mass()
        inertia = np.sum(masses * arms**2) * np.eye(3) - (masses * arms).T @ arms
        # the inverse that leaves out the axis of a linear molecule
        turning = np.linalg.pinv(inertia, rcond=1e-9) @ np.cross(arms, momenta).sum(axis=0)
        momenta -= masses * np.cross(turning, arms)
    atoms.set_momenta(momenta)


def strange_neighbour(atoms: Atoms, ranges: Ranges) -> str | None:
    """The first atom whose nearest neighbour is far outside the data's range, in words."""
    for number, distance in enumerate(nearest_neighbours(atoms)):
        symbol = str(atoms.symbols[number])
        low, high = ranges.get(symbol, (0.0, np.inf))
        if not CLOSEST * low <= distance <= FARTHEST * high:
            far = f"over {NEIGHBOUR_CUTOFF:.0f}" if np.isinf(distance) else f"{distance:.2f}"
            return (
                f"the nearest neighbour of atom {number} ({symbol}) is {far} Å away; "
                f"in the data {low:.2f} to {high:.2f} Å"
            )
    return None
