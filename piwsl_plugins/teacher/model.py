"""The linear teacher: fitted to frames, it gives energies, forces, stress and their errors."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import ase
import numpy as np
import torch
from ase.data import chemical_symbols, covalent_radii
from torch import Tensor

from piwsl_plugins.teacher.edges import Edges
from piwsl_plugins.teacher.features import Basis
from piwsl_plugins.teacher.linear import Fit

CHUNK = 1e8
"""Bytes of the features of forces that are held at a time."""
BOND = 1.25
"""Longest bond, in the sum of two covalent radii."""
WALL = 50.0
"""Height of the wall at half the distance where it begins, eV."""


class Prediction(NamedTuple):
    """What the teacher says of structures; without a cheap method's part.

    Attributes:
        energy, energy_std: shape [n_structures], eV.
        forces, forces_std: shape [n_atoms, 3], eV/angstrom.
        stress: shape [n_structures, 3, 3], eV/angstrom^3.
    """

    energy: Tensor
    energy_std: Tensor
    forces: Tensor
    forces_std: Tensor
    stress: Tensor


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A linear model of the energy, or of its difference from a cheap method.

    Attributes:
        basis: the features.
        scale: of each feature, shape [n_features].
        offset: mean features of an atom of each element, shape [n_elements, n_features].
        columns: of the composition, shape [n_elements, n_constants]; orthonormal.
        fit: coefficients of scaled features, and their covariance.
        groups: constants of the groups by name, eV.
        closest: where the wall of two elements begins, shape [n_elements, n_elements], angstrom.
    """

    basis: Basis
    scale: Tensor
    offset: Tensor
    columns: Tensor
    fit: Fit
    groups: dict[str, float]
    closest: Tensor

    def energies(self, at: Edges) -> Tensor:
        """Energies without groups' constants, [n_structures], eV; differentiable by the edges."""
        energies: Tensor = self._design(at) @ self.fit.coefficients + self._wall(at)
        return energies

    def predict(self, frames: Sequence[ase.Atoms], errors: bool = True) -> Prediction:
        """Energies, forces, stress, and their posterior standard deviations, or zeros for these.

        Raises:
            ValueError: an element that no frame of the fit had.
        """
        check_elements(frames, self.basis.elements, "the teacher's frames")
        per_atom = 24 * len(self.scale) if errors else 2e4
        parts = [self._predict(frames[part], errors) for part in chunks(frames, per_atom)]
        return Prediction(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def _predict(self, frames: Sequence[ase.Atoms], errors: bool) -> Prediction:
        at = self.basis.edges(frames, self.scale.device)
        vectors = at.vectors.requires_grad_()
        energy = self.energies(at)
        gradient = torch.autograd.grad(energy.sum(), vectors)[0]
        at = dataclasses.replace(at, vectors=vectors.detach())
        constants = [self.groups.get(group_of(atoms), 0.0) for atoms in frames]
        forces, stress = at.forces(gradient), at.stress(gradient)
        energy_std, forces_std = torch.zeros_like(energy), torch.zeros_like(forces)
        if errors:
            energy_std = (self._design(at) @ self.fit.draws).square().mean(1).sqrt()
            by_atom = self.basis.gradient_features(at)[0] / self.scale[:, None]
            draws = self.fit.draws[: len(self.scale)]
            forces_std = (by_atom.mT @ draws).square().mean(2).sqrt()
        energy = energy.detach() + energy.new_tensor(constants)
        return Prediction(energy, energy_std.detach(), forces, forces_std, stress)

    def _design(self, at: Edges) -> Tensor:
        """Scaled features less the mean of their atoms', and the composition's columns."""
        counts = count_elements(self.basis, at)
        features = (self.basis.features(at) - counts @ self.offset) / self.scale
        return torch.cat([features, counts @ self.columns], dim=1)

    def _wall(self, at: Edges) -> Tensor:
        """Energy of the wall, shape [n_structures], eV: WALL (d/r - 1)^3 for each pair within d."""
        z = self.basis.index(at)
        r: Tensor = torch.linalg.vector_norm(at.vectors, dim=1)
        over = (self.closest[z[at.centre], z[at.neighbour]] / r - 1.0).clamp(min=0.0)
        energies = r.new_zeros(len(at.volumes))
        return energies.index_add(0, at.structure[at.centre], WALL / 2 * over**3)


def count_elements(basis: Basis, at: Edges) -> Tensor:
    """Number of atoms of each element, shape [n_structures, n_elements]."""
    member = torch.nn.functional.one_hot(basis.index(at), len(basis.elements)).to(at.vectors)
    return member.new_zeros(len(at.volumes), member.shape[1]).index_add(0, at.structure, member)


def chunks(frames: Sequence[ase.Atoms], bytes_per_atom: float) -> Iterator[slice]:
    """Cut frames into pieces of about :data:`CHUNK` bytes."""
    sizes = np.cumsum([len(atoms) * bytes_per_atom for atoms in frames])
    _, starts = np.unique((sizes / CHUNK).astype(int), return_index=True)
    for start, end in itertools.pairwise([*starts.tolist(), len(frames)]):
        yield slice(start, end)


def check_elements(frames: Iterable[ase.Atoms], known: Iterable[int], what: str) -> None:
    """Raise ValueError for frames with elements beyond those of the fit."""
    strange = {int(z) for atoms in frames for z in atoms.numbers} - {*known}
    if strange:
        raise ValueError(
            f"{what} hold {_symbols(strange)}, and no training frame with an energy does "
            f"({_symbols(known)} alone); add such frames, or leave these out"
        )


def _symbols(numbers: Iterable[int]) -> str:
    return ", ".join(chemical_symbols[z] for z in sorted(numbers))


def group_of(atoms: ase.Atoms) -> str:
    """Name of a frame's group: its formula and, of a molecule, the number of bonds of each kind."""
    name = str(atoms.get_chemical_formula())
    if atoms.pbc.any() or len(atoms) > 500:
        return name
    radii = covalent_radii[atoms.numbers]
    bonded = atoms.get_all_distances() < BOND * (radii[:, None] + radii)
    first, second = np.nonzero(np.triu(bonded, 1))
    kinds = Counter(
        "-".join(sorted(atoms.symbols[[i, j]])) for i, j in zip(first, second, strict=True)
    )
    return " ".join([name, *(f"{kind}:{count}" for kind, count in sorted(kinds.items()))])
