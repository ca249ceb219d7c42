"""Training sets made larger by displaced copies of their frames: baselines from before PIWSL."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

ENERGY, FORCES = "REF_energy", "REF_forces"
Floats = NDArray[np.float64]


def taylor_copies(
    frames: Sequence[Atoms], seed: int, copies: int = 4, max_displacement: float = 0.05
) -> list[Atoms]:
    """Add displaced copies whose energies are extrapolated by the reference forces.

    E(r + d) = E_ref - <d, F_ref>, the Taylor expansion of Cooper, Kästner, Urban and Artrith, npj
    Comput. Mater. 6, 54 (2020): forces enter as energies of further structures, and the model is
    trained on energies alone. Each atom is displaced uniformly in a ball.

    Args:
        frames: Energies in ``info["REF_energy"]``, eV; forces in ``arrays["REF_forces"]``,
            -dE/dr, shape [n_atoms, 3], eV/angstrom, of some frames at least.
        seed: Of the displacements.
        copies: Of each frame that has forces.
        max_displacement: Longest displacement of an atom, angstrom.

    Returns:
        All frames, then the copies, with energies and without forces.

    Raises:
        ValueError: No frame has forces.
    """
    random = np.random.default_rng(seed)
    labelled = [atoms for atoms in frames if FORCES in atoms.arrays]
    if not labelled:
        raise ValueError("taylor_copies needs reference forces, and no training frame has any")
    more = []
    for atoms in labelled:
        for _ in range(copies):
            steps = _in_a_ball(random, len(atoms), max_displacement)
            energy = atoms.info[ENERGY] - float(np.sum(steps * atoms.arrays[FORCES]))
            more.append(_copy(atoms, steps, energy))
    return [_without_forces(atoms) for atoms in frames] + more


def noisy_copies(
    frames: Sequence[Atoms],
    seed: int,
    copies: int = 2,
    sigma: float = 0.05,
    temperature: float = 300.0,
) -> list[Atoms]:
    """Add noisy copies with the frame's energy and a denoising target on their forces.

    NoisyNodes (Godwin et al. 2022, arXiv:2106.07971) keeps the energy label of r + d, d normal
    with the deviation sigma, and has a further head of the model predict d. Here the model's only
    vectors are its forces, so that they take the target: the score of the noised distribution,
    F(r + d) = -kT d / sigma^2, is a force field (Zaidi et al. 2023, arXiv:2206.00133). Two
    departures, then: no head of its own, and a target in eV/angstrom that depends on kT.

    Args:
        frames: Energies in ``info["REF_energy"]``, eV.
        seed: Of the noise.
        copies: Of each frame.
        sigma: Standard deviation of each component of the noise, angstrom.
        temperature: T, kelvin.

    Returns:
        All frames as they are, then the copies.
    """
    random = np.random.default_rng(seed)
    stiffness = units.kB * temperature / sigma**2
    more = []
    for atoms in frames:
        for _ in range(copies):
            noise = random.normal(scale=sigma, size=(len(atoms), 3))
            noisy = _copy(atoms, noise, atoms.info[ENERGY])
            noisy.arrays[FORCES] = -stiffness * noise
            more.append(noisy)
    return [atoms.copy() for atoms in frames] + more


AUGMENTATIONS: dict[str, Callable[..., list[Atoms]]] = {
    function.__name__: function for function in (taylor_copies, noisy_copies)
}
"""By the names that a method's file uses."""


def _in_a_ball(random: np.random.Generator, n_atoms: int, radius: float) -> Floats:
    """Vectors uniform in a ball, shape [n_atoms, 3], the unit of the radius."""
    directions = random.normal(size=(n_atoms, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths: Floats = radius * random.uniform(size=(n_atoms, 1)) ** (1.0 / 3.0)
    return directions * lengths


def _copy(atoms: Atoms, displacements: Floats, energy: float) -> Atoms:
    moved = _without_forces(atoms)
    moved.positions += displacements
    moved.info[ENERGY] = float(energy)
    return moved


def _without_forces(atoms: Atoms) -> Atoms:
    copy: Atoms = atoms.copy()
    copy.arrays.pop(FORCES, None)
    return copy
