"""What a potential does as its atoms move: curvature, work of the forces, dynamics.

The frames (positions in angstrom) are copied, not changed; the same frames and seed give the same
directions. At single frames, an energy or a force that is not finite is a ValueError.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, ZeroRotation
from ase.md.verlet import VelocityVerlet
from tqdm import trange

from piwsl_plugins.data.frames import Floats
from piwsl_plugins.teacher.geometries import Plausibility

MILLI = 1000.0
CURVATURE_STEP, DIRECTIONS = 0.01, 3
"""Of the curvature: length of the displacement of all atoms together, angstrom; how many."""
LOOK_EVERY = 10  # steps of dynamics between two looks at the geometry


def random_directions(n_atoms: int, count: int, rng: np.random.Generator) -> Floats:
    """Unit directions in the space of all coordinates, uniform, shape [count, n_atoms, 3]."""
    drawn = rng.normal(size=(count, n_atoms, 3))
    return np.asarray(drawn / np.sqrt(np.sum(drawn**2, axis=(1, 2), keepdims=True)))


def _ask(
    what: Literal["energy", "forces"], frame: Atoms, shift: Floats | float, calculator: Calculator
) -> Floats:
    """Energy (eV) or forces (eV/angstrom) of a frame with its atoms displaced."""
    atoms = frame.copy()
    atoms.positions += shift
    atoms.calc = calculator
    answer = atoms.get_potential_energy() if what == "energy" else atoms.get_forces()
    found = np.array(answer, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError(f"the predicted {what} of a displaced frame is not a finite number")
    return found


def curvatures(frames: Iterable[Atoms], calculator: Calculator, seed: int = 0) -> Floats:
    """Curvature along random unit directions d, c = -<d, F(r + h d) - F(r - h d)> / (2 h).

    It is positive in a minimum; shape [n_frames, DIRECTIONS], eV/angstrom^2.
    """
    rng, h, found = np.random.default_rng(seed), CURVATURE_STEP, []
    for frame in frames:
        for way in random_directions(len(frame), DIRECTIONS, rng):
            ahead, behind = (_ask("forces", frame, step * way, calculator) for step in (h, -h))
            found.append(-np.sum(way * (ahead - behind)) / (2.0 * h))
    return np.array(found).reshape(-1, DIRECTIONS)


def work_errors(
    frames: Iterable[Atoms], calculator: Calculator, seed: int = 0, size: float = 0.05
) -> dict[str, float | None]:
    """Work of the forces along the sides of a random triangle, less the fall of the energy there.

    W = integral of <F, dl>, by Gauss-Legendre quadrature, is E(start) - E(end) for each side, and
    their sum zero, where the forces are the gradient of the energy, and nowhere else. The size is
    the root mean square displacement of an atom along a side, angstrom. Beside the error stands the
    mean absolute work; their ratio is None where that is zero.
    """
    rng, errors, works = np.random.default_rng(seed), list[float](), list[float]()
    nodes = np.array(np.polynomial.legendre.leggauss(8)).T
    for frame in frames:
        first, second = size * np.sqrt(len(frame)) * random_directions(len(frame), 2, rng)
        corners = (np.zeros_like(first), first, second)
        energies = [float(_ask("energy", frame, corner, calculator)) for corner in corners]
        for side in range(3):
            start, end = corners[side], corners[(side + 1) % 3]
            at = (start + 0.5 * (1.0 + point) * (end - start) for point, _ in nodes)
            along = [np.sum(_ask("forces", frame, x, calculator) * (end - start)) for x in at]
            works.append(0.5 * float(nodes[:, 1] @ along))
            errors.append(works[-1] - energies[side] + energies[(side + 1) % 3])
    rms, work = float(np.sqrt(np.mean(np.square(errors)))), float(np.mean(np.abs(works)))
    return {
        "rms_error_mev": MILLI * rms,
        "mean_work_mev": MILLI * work,
        "ratio": rms / work if work > 0.0 else None,
        "n_sides": len(works),
    }


@dataclasses.dataclass(slots=True)
class Trajectory:
    """Total energies less the first, eV per atom, at times in ps, both of shape [n].

    Attributes:
        exploded_at: time at which it exploded, ps, or None.
        reason: what was found there; empty where it did not explode.
        drift: slope of the energy against time, eV/atom/ps; None for a trajectory that exploded or
            stood in a heat bath.
        fluctuation: root mean square distance of the energy from that line, eV/atom; likewise.
    """

    times: Floats
    energies: Floats
    exploded_at: float | None
    reason: str
    drift: float | None = None
    fluctuation: float | None = None


def trajectory(
    frame: Atoms,
    calculator: Calculator,
    known: Plausibility,
    *,
    steps: int = 1000,
    timestep: float = 0.5,
    temperature: float = 300.0,
    friction: float | None = None,
    most_drift: float = np.inf,
    seed: int = 0,
) -> Trajectory:
    """Run dynamics by ASE, at constant energy or in a heat bath, and follow the total energy.

    It stops as exploded where the model fails, the energy is farther than ``most_drift`` (eV per
    atom) from the first, or an atom's nearest neighbour is outside the range of the ``known``
    geometries. Timestep in fs, temperature in K, friction of the Langevin bath in 1/fs.
    """
    atoms = Atoms(frame.numbers, positions=frame.positions, cell=frame.cell, pbc=frame.pbc)
    rng = np.random.default_rng(seed)
    spread = np.sqrt(units.kB * temperature * atoms.get_masses()[:, None])
    atoms.set_momenta(spread * rng.normal(size=(len(atoms), 3)))  # of Maxwell and Boltzmann
    Stationary(atoms, preserve_temperature=False)
    # of a linear molecule, ASE would divide by a moment of inertia of zero
    if not atoms.pbc.any() and atoms.get_moments_of_inertia().min() > 1e-3:
        ZeroRotation(atoms, preserve_temperature=False)
    atoms.calc = calculator
    dynamics: VelocityVerlet | Langevin = VelocityVerlet(atoms, timestep=timestep * units.fs)
    if friction is not None:
        bath: dict[str, Any] = {"temperature_K": temperature, "friction": friction / units.fs}
        dynamics = Langevin(atoms, timestep * units.fs, rng=rng, fixcm=False, **bath)
    energies, reason, step = [float(atoms.get_total_energy()) / len(atoms)], "", 0
    for step in trange(1, steps + 1, desc="dynamics", leave=False, disable=None):
        try:
            dynamics.step()  # type: ignore[no-untyped-call]  # of Langevin
            energy = float(atoms.get_total_energy()) / len(atoms)
            if not np.isfinite(energy):
                raise ValueError("the energy is not a finite number")
        except Exception as error:  # whatever a calculator raises far from what it knows
            reason = f"the model failed: {error}"
            break
        energies.append(energy)
        if abs(change := energy - energies[0]) > most_drift:
            reason = f"the energy is {change:+.3g} eV per atom from the first"
        elif step % LOOK_EVERY == 0 or step == steps:
            reason = known.objection(atoms, atoms)
        if reason:
            break
    times = 1e-3 * timestep * np.arange(len(energies), dtype=np.float64)
    end = 1e-3 * timestep * step if reason else None
    found = Trajectory(times, np.array(energies) - energies[0], end, reason)
    if not reason and friction is None and steps > 1:
        line = np.polyfit(times, found.energies, 1)
        away = found.energies - np.polyval(line, times)
        found.drift, found.fluctuation = float(line[0]), float(np.sqrt(np.mean(away**2)))
    return found
