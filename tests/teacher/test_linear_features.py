"""The features, and forces and stress as derivatives of what is linear in them."""

from __future__ import annotations

import dataclasses
import itertools

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule
from teacher.teaching import crystals, molecules
from torch import Tensor

from piwsl_plugins.teacher import features as f
from piwsl_plugins.teacher.features import Basis, basis_of


def basis(frames: list[ase.Atoms], **differs: object) -> Basis:
    given = {"body_order": 3, "pair_cutoff": 5.0, "triple_cutoff": None, **differs}
    return basis_of(frames, **given)  # type: ignore[arg-type]


def of(made: Basis, *frames: ase.Atoms) -> Tensor:
    return made.features(made.edges(frames))


def weights(made: Basis) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(made.blocks), generator=generator, dtype=torch.float64)


def analytic(made: Basis, atoms: ase.Atoms) -> tuple[Tensor, Tensor]:
    """Forces and stress by one backward."""
    at = made.edges([atoms])
    at.vectors.requires_grad_()
    gradient = torch.autograd.grad((made.features(at) @ weights(made)).sum(), at.vectors)[0]
    at = dataclasses.replace(at, vectors=at.vectors.detach())
    return at.forces(gradient), at.stress(gradient)[0]


FRAMES = pytest.mark.parametrize(
    "atoms", [molecules(1)[0], crystals(1)[0]], ids=["molecule", "crystal"]
)


@FRAMES
def test_forces_are_minus_the_differences_of_the_energy(atoms: ase.Atoms) -> None:
    made, step = basis([atoms]), 1e-5
    forces = analytic(made, atoms)[0]
    for atom, axis in [(0, 0), (1, 2), (3, 1)]:
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            ends.append(float((of(made, moved) @ weights(made))[0]))
        numeric = -(ends[0] - ends[1]) / (2 * step)
        assert float(forces[atom, axis]) == pytest.approx(numeric, rel=1e-6, abs=1e-6)


def test_stress_is_the_difference_of_the_energy_by_strain_and_volume() -> None:
    atoms, step = crystals(1)[0], 1e-5
    made = basis([atoms])
    stress = analytic(made, atoms)[1]
    for i, j in [(0, 0), (1, 2), (2, 2)]:
        ends = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            moved = atoms.copy()
            moved.set_cell(atoms.cell @ strain, scale_atoms=True)
            ends.append(float((of(made, moved) @ weights(made))[0]))
        numeric = (ends[0] - ends[1]) / (2 * step * atoms.cell.volume)
        assert float(stress[i, j]) == pytest.approx(numeric, rel=1e-6, abs=1e-8)


@FRAMES
def test_the_features_of_forces_and_stress_are_those_of_the_gradient(atoms: ase.Atoms) -> None:
    made = basis([atoms])
    forces, stress = made.gradient_features(made.edges([atoms, atoms]))
    expected = analytic(made, atoms)
    torch.testing.assert_close(
        torch.einsum("akx,k->ax", forces[len(atoms) :], weights(made)), expected[0]
    )
    torch.testing.assert_close(torch.einsum("kxy,k->xy", stress[1], weights(made)), expected[1])


def test_a_triple_feature_is_the_sum_over_triples_of_atoms() -> None:
    atoms = molecule("H2O")
    made = basis([atoms], triple_cutoff=3.0)
    end, n = made.triple_cutoff, f.N_RADIAL
    centres, width = f.TRIPLE_CENTRES.numpy(), float(f.TRIPLE_CENTRES[1] - f.TRIPLE_CENTRES[0])
    expected = dict.fromkeys(made.triples, 0.0)
    element = {1: 0, 8: 1}
    for i in range(3):
        for j, k in itertools.combinations([a for a in range(3) if a != i], 2):
            radial, vectors = [], []
            for a in (j, k):
                vector = atoms.positions[a] - atoms.positions[i]
                r = np.linalg.norm(vector)
                vectors.append(vector / r)
                cutoff = 0.5 + 0.5 * np.cos(np.pi * r / end)
                radial.append(np.exp(-0.5 * ((1 / r - centres) / width) ** 2) * cutoff)
            cosine = float(vectors[0] @ vectors[1])
            both = np.outer(*radial)
            both = (both + both.T)[np.triu_indices(n)] / 2
            legendre = [1.0, cosine, (3 * cosine**2 - 1) / 2]
            ends = sorted(element[int(atoms.numbers[a])] for a in (j, k))
            key = (element[int(atoms.numbers[i])], *ends)
            expected[key] = expected[key] + np.outer(legendre, both).ravel()
    found = of(made, atoms)[0, f.N_PAIR * len(made.pairs) :].reshape(len(made.triples), -1)
    for row, triple in zip(found, made.triples, strict=True):
        np.testing.assert_allclose(row, expected[triple], atol=1e-12)


@FRAMES
def test_features_do_not_change_with_rotation_translation_and_order(atoms: ase.Atoms) -> None:
    made, moved = basis([atoms]), atoms.copy()
    moved.rotate(50, (1, 2, 3), rotate_cell=True)
    moved.positions += (0.3, -1.0, 2.0)
    moved = moved[np.random.default_rng(0).permutation(len(moved))]
    torch.testing.assert_close(of(made, moved), of(made, atoms))


@pytest.mark.parametrize("repeats", [(2, 1, 1), (2, 2, 3)])
def test_a_supercell_has_the_features_of_its_cells(repeats: tuple[int, int, int]) -> None:
    atoms = crystals(1)[0]
    made = basis([atoms])
    expected = int(np.prod(repeats)) * of(made, atoms)
    torch.testing.assert_close(of(made, atoms.repeat(repeats)), expected)


@pytest.mark.parametrize("apart", [5.0, 4.0999])
def test_features_go_smoothly_to_zero_at_their_cutoffs(apart: float) -> None:
    frames = [ase.Atoms("Cu3", [(0, 0, 0), (0, 0, 2.5), (r, 0, 0)], cell=[20] * 3, pbc=True)
              for r in (2.6, apart - 1e-7, apart + 1e-7)]  # fmt: skip
    made = basis(frames[:1], triple_cutoff=4.1)
    inside, outside = (made.gradient_features(made.edges([frame]))[0] for frame in frames[1:])
    torch.testing.assert_close(inside, outside, atol=1e-5, rtol=0)


def test_elements_that_do_not_meet_have_no_features() -> None:
    apart = [molecule("H2O"), molecule("N2")]
    made = basis(apart)
    assert [made.elements[i] for pair in made.pairs for i in pair] == [1, 1, 1, 8, 7, 7]
    assert all(made.elements[i] != 7 for triple in made.triples for i in triple)


def test_one_molecule_of_a_batch_does_not_see_another() -> None:
    frames = [*molecules(2), molecule("H2O")]
    made = basis(frames)
    torch.testing.assert_close(of(made, *frames), torch.cat([of(made, one) for one in frames]))


def test_a_model_of_molecules_refuses_a_cell() -> None:
    made = basis(molecules(1))
    with pytest.raises(ValueError, match="knows molecules alone"):
        made.edges(crystals(1))
