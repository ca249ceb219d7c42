"""Molecules with energies and forces that fit together, and files of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.spatial.transform import Rotation

from piwsl_plugins.data.frames import Frame, FrameSet
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings

OFFSET = -430.0
"""About the energy of formaldehyde's valence electrons, eV."""


@functools.cache
def springs(
    number: int = 60, name: str = "H2CO"
) -> tuple[tuple[ase.Atoms, float, np.ndarray], ...]:
    """Thermal molecules with harmonic bonds, turned at random: atoms, energy (eV), forces."""
    generator = np.random.default_rng(0)
    rest = ase.build.molecule(name)
    first, second = np.triu_indices(len(rest), 1)
    lengths = rest.get_all_distances()[first, second]
    constants = np.where(lengths < 1.5, 40.0, 6.0)
    made = []
    for _ in range(number):
        atoms = rest.copy()
        atoms.positions += generator.normal(scale=0.04, size=(len(rest), 3))
        vectors = atoms.positions[first] - atoms.positions[second]
        found = np.linalg.norm(vectors, axis=1)
        pull = -(constants * (found - lengths) / found)[:, None] * vectors
        forces = np.zeros((len(rest), 3))
        np.add.at(forces, first, pull)
        np.add.at(forces, second, -pull)
        turn = Rotation.random(rng=generator).as_matrix()
        atoms.positions = atoms.positions @ turn
        energy = OFFSET + float((0.5 * constants * (found - lengths) ** 2).sum())
        made.append((atoms, energy, forces @ turn))
    return tuple(made)


def labelled(number: int = 60, scale: float = 1.0, forces: float | None = None) -> list[ase.Atoms]:
    """The same with ``REF_energy`` and ``REF_forces`` in units of which ``scale`` make an eV."""
    frames = []
    for atoms, energy, force in springs(number):
        copy = atoms.copy()
        copy.info["REF_energy"] = energy * scale
        if forces is not None:
            copy.arrays["REF_forces"] = force * forces
        frames.append(copy)
    return frames


def in_cells(frames: Sequence[ase.Atoms]) -> list[ase.Atoms]:
    """Copies in a cubic cell of 10 angstrom."""
    copies = [atoms.copy() for atoms in frames]
    for atoms in copies:
        atoms.set_cell([10.0, 10.0, 10.0])
        atoms.pbc = True
    return copies


def calculated(number: int = 4) -> list[ase.Atoms]:
    """The same with energy, forces and stress as results of a calculator, in a cell."""
    frames = in_cells([atoms for atoms, _, _ in springs()[:number]])
    stress = 0.01 * np.arange(6.0)
    for copy, (_, energy, forces) in zip(frames, springs(), strict=False):
        copy.calc = SinglePointCalculator(copy, energy=energy, forces=forces, stress=stress)
    return frames


def write(path: Path, frames: Sequence[ase.Atoms]) -> Path:
    """Write frames as the name of the file says."""
    ase.io.write(path, list(frames))
    return path


def read_written(path: Path, frames: Sequence[ase.Atoms], **settings: Any) -> FrameSet:
    """Write frames and read them again."""
    return read(write(path, frames), DataSettings(**settings))


def as_frames(frames: Sequence[ase.Atoms], **labels: Sequence[Any]) -> list[Frame]:
    """Frames in memory; None stands for a missing label."""
    return [
        Frame(
            atoms=atoms,
            labels={k: values[i] for k, values in labels.items() if values[i] is not None},
            source="memory",
            number=i,
        )
        for i, atoms in enumerate(frames)
    ]
