"""Geometries by dynamics at a temperature, and by random displacements."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator
from ase.md.langevin import Langevin

from piwsl_plugins.evaluation.dynamics import thermalise


def trajectory(
    atoms: Atoms,
    calculator: BaseCalculator,
    *,
    temperature: float,
    steps: int,
    interval: int,
    timestep: float,
    friction: float,
    seed: int,
    progress: Callable[[int], object] | None = None,
) -> Iterator[tuple[int, Atoms]]:
    """Run Langevin dynamics at constant volume.

    Args:
        atoms: Where it starts, angstrom; it is copied, not changed.
        calculator: Any ASE calculator.
        temperature: Of the bath and of the first velocities, kelvin.
        steps: Number of steps.
        interval: Steps between two geometries.
        timestep: Femtoseconds.
        friction: 1/fs.
        seed: Seed of velocities and random forces.
        progress: Called with the number of steps done since the last call.

    Yields:
        The step, and a copy of the geometry.

    Raises:
        ValueError: The energy is no finite number any more, or the calculator failed.
    """
    rng = np.random.default_rng(seed)
    moving = atoms.copy()
    moving.calc = calculator
    thermalise(moving, temperature, rng)
    dynamics = Langevin(
        moving,
        timestep * units.fs,
        temperature_K=temperature,
        friction=friction / units.fs,
        fixcm=False,  # ASE's other choice does not sample the canonical ensemble
        rng=rng,
    )
    for step in range(interval, steps + 1, interval):
        try:
            dynamics.run(interval)
            energy = float(moving.get_potential_energy())
        except Exception as error:  # whatever a calculator raises far from what it knows
            raise ValueError(f"step {step}: the calculator failed: {error}") from error
        if not np.isfinite(energy):
            raise ValueError(f"step {step}: the energy is {energy}")
        if progress is not None:
            progress(interval)
        geometry = atoms.copy()
        geometry.positions, geometry.cell = moving.positions, moving.cell
        yield step, geometry


def rattled(
    atoms: Atoms, *, length: float, strain: float, count: int, rng: np.random.Generator
) -> list[Atoms]:
    """Displace every atom, and strain the cell of a periodic system, at random.

    Args:
        atoms: The geometry, angstrom; it is copied, not changed.
        length: Standard deviation of each component of a displacement, angstrom.
        strain: Standard deviation of each component of a symmetric strain, for periodic systems.
        count: Number of geometries.
        rng: Random numbers.
    """
    found = []
    for _ in range(count):
        geometry = atoms.copy()
        if atoms.pbc.all() and strain > 0.0:
            stretch = rng.normal(scale=strain, size=(3, 3))
            deformation = np.eye(3) + 0.5 * (stretch + stretch.T)
            geometry.set_cell(geometry.cell[:] @ deformation, scale_atoms=True)
        geometry.positions = geometry.positions + rng.normal(scale=length, size=(len(atoms), 3))
        found.append(geometry)
    return found
