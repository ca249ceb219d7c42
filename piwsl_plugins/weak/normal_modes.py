"""Normal modes at a geometry, and geometries as they are found at a temperature."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator
from ase.optimize import BFGS
from ase.vibrations import Vibrations
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SOFTEST = 100.0
"""Modes with a lower wavenumber, 1/cm, and unstable ones are displaced as one of this wavenumber
would be: far along them the harmonic approximation holds no longer."""
WAVENUMBER = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
"""That of a curvature of 1 eV/angstrom^2/amu, 1/cm."""
STEP = 0.01
"""Displacement of the finite differences, angstrom."""
LARGEST_FORCE, MOST_STEPS = 0.05, 300
"""Where a relaxation ends, eV/angstrom, and steps after which it is given up."""


@dataclass(frozen=True, slots=True)
class NormalModes:
    """Harmonic vibrations.

    Attributes:
        curvatures: Squared angular frequencies, shape ``[n_modes]``, eV/angstrom^2/amu; a negative
            one belongs to an unstable mode.
        patterns: Displacements along the modes, shape ``[n_modes, n_atoms, 3]``, 1/sqrt(amu): the
            eigenvectors of the mass-weighted Hessian, divided by the roots of the masses.
    """

    curvatures: Floats
    patterns: Floats

    @property
    def wavenumbers(self) -> Floats:
        """Shape ``[n_modes]``, 1/cm; that of an unstable mode is negative."""
        roots = np.sign(self.curvatures) * np.sqrt(np.abs(self.curvatures))
        return np.asarray(roots * WAVENUMBER, dtype=np.float64)


def relax(atoms: Atoms, calculator: BaseCalculator) -> Atoms:
    """The nearest minimum of a geometry.

    Args:
        atoms: Where it starts, angstrom; it is copied, not changed.
        calculator: Any ASE calculator.

    Raises:
        ValueError: A force of more than 0.05 eV/angstrom is left after 300 steps.
    """
    relaxed: Atoms = atoms.copy()
    relaxed.calc = calculator
    search = BFGS(relaxed, logfile=None)
    search.run(fmax=LARGEST_FORCE, steps=MOST_STEPS)
    left = float(np.linalg.norm(relaxed.get_forces(), axis=1).max())
    if not left < LARGEST_FORCE:
        raise ValueError(
            f"no minimum after {MOST_STEPS} steps: a force of {left:.2f} eV/angstrom is left"
        )
    return relaxed


def hessian(atoms: Atoms, calculator: BaseCalculator, folder: Path) -> Floats:
    """Second derivatives of the energy by central differences of the forces.

    Args:
        atoms: The geometry, angstrom; it is copied, not changed.
        calculator: Any ASE calculator.
        folder: Where the forces are kept; those that are there already are not computed again.

    Returns:
        Shape ``[3 * n_atoms, 3 * n_atoms]``, eV/angstrom^2, symmetric.
    """
    displaced = atoms.copy()
    displaced.calc = calculator
    vibrations = Vibrations(displaced, name=str(folder), delta=STEP)
    vibrations.clean(empty_files=True)  # what a killed run has left of a file
    vibrations.run()
    found = vibrations.get_vibrations().get_hessian_2d()
    return np.asarray(0.5 * (found + found.T), dtype=np.float64)


def normal_modes(atoms: Atoms, second_derivatives: Floats) -> NormalModes:
    """The vibrations, without translations and, for molecules, rotations.

    Args:
        atoms: The geometry, angstrom.
        second_derivatives: Shape ``[3 * n_atoms, 3 * n_atoms]``, eV/angstrom^2.
    """
    root = np.sqrt(np.repeat(atoms.get_masses(), 3))
    rigid = _rigid_motions(atoms) * root
    _, sizes, rows = np.linalg.svd(rigid, full_matrices=True)
    rank = int((sizes > 1e-8 * sizes.max()).sum())  # a linear molecule turns about two axes
    internal = rows[rank:]
    weighted = second_derivatives / np.outer(root, root)
    curvatures, vectors = np.linalg.eigh(internal @ weighted @ internal.T)
    patterns = (vectors.T @ internal) / root
    return NormalModes(curvatures, patterns.reshape(len(curvatures), len(atoms), 3))


def _rigid_motions(atoms: Atoms) -> Floats:
    """Translations, and rotations unless the system is periodic, shape ``[3 or 6, 3 n_atoms]``."""
    axes = np.eye(3)
    motions = [np.tile(axis, len(atoms)) for axis in axes]
    if not atoms.pbc.any():
        arms = atoms.positions - atoms.get_center_of_mass()
        motions += [np.cross(axis, arms).ravel() for axis in axes]
    return np.array(motions)


def thermal_displacements(
    modes: NormalModes,
    temperature: float,
    count: int,
    rng: np.random.Generator,
    softest: float = SOFTEST,
) -> Floats:
    """Displacements of the classical canonical ensemble of the harmonic potential.

    The amplitude of a mode is normal with the variance k_B T / curvature, so that its potential
    energy is k_B T / 2 on the average.

    Args:
        modes: The vibrations.
        temperature: Kelvin.
        count: Number of geometries.
        rng: Random numbers.
        softest: Wavenumber, 1/cm, that softer and unstable modes are given.

    Returns:
        Shape ``[count, n_atoms, 3]``, angstrom.
    """
    curvatures = np.maximum(modes.curvatures, (softest / WAVENUMBER) ** 2)
    amplitudes = rng.normal(size=(count, len(curvatures)))
    amplitudes *= np.sqrt(units.kB * temperature / curvatures)
    found = np.einsum("sm,mad->sad", amplitudes, modes.patterns)
    return np.asarray(found, dtype=np.float64)


def thermal_geometries(
    atoms: Atoms,
    calculator: BaseCalculator,
    *,
    temperature: float,
    count: int,
    rng: np.random.Generator,
    folder: Path,
    relaxed: bool = True,
) -> list[Atoms]:
    """Geometries of the classical harmonic ensemble about a minimum, or about a given geometry.

    Args:
        atoms: The geometry, angstrom; it is copied, not changed.
        calculator: Any ASE calculator.
        temperature: Kelvin.
        count: Number of geometries.
        rng: Random numbers.
        folder: Where the forces of the finite differences are kept.
        relaxed: Relax the geometry first.

    Raises:
        ValueError: The relaxation found no minimum.
    """
    with warnings.catch_warnings():
        # ASE's, where a free molecule has modes that are no vibrations
        warnings.simplefilter("ignore")
        centre = relax(atoms, calculator) if relaxed else atoms.copy()
        modes = normal_modes(centre, hessian(centre, calculator, folder))
    found = []
    for displacement in thermal_displacements(modes, temperature, count, rng):
        geometry = atoms.copy()
        geometry.positions = centre.positions + displacement
        found.append(geometry)
    return found
