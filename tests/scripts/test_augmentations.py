"""Copies are displaced as far as allowed, and their labels follow from the frame's own."""

from __future__ import annotations

import ase.build
import numpy as np
import pytest
from ase import Atoms, units
from augmentations import noisy_copies, taylor_copies


@pytest.fixture
def frames() -> list[Atoms]:
    """Two molecules in a constant field: energies linear in the positions, forces of the first."""
    field = np.array([0.3, -0.2, 0.7])
    made = [ase.build.molecule(name) for name in ("H2O", "CH4")]
    for atoms in made:
        atoms.info["REF_energy"] = -float(np.sum(atoms.positions @ field))
    made[0].arrays["REF_forces"] = np.tile(field, (3, 1))
    return made


def test_taylor_labels_are_exact_where_the_energy_is_linear(frames: list[Atoms]) -> None:
    found = taylor_copies(frames, seed=3, copies=5, max_displacement=0.05)
    assert len(found) == 2 + 5  # only the first has forces
    for atoms in found[2:]:
        energy = -float(np.sum(atoms.positions @ [0.3, -0.2, 0.7]))
        assert atoms.info["REF_energy"] == pytest.approx(energy, abs=1e-12)
        moved = np.linalg.norm(atoms.positions - frames[0].positions, axis=1)
        assert np.all(moved > 0.0)
        assert np.all(moved <= 0.05)


def test_taylor_copies_train_on_energies_alone_and_leave_the_frames_alone(
    frames: list[Atoms],
) -> None:
    before = [atoms.copy() for atoms in frames]
    found = taylor_copies(frames, seed=3)
    assert all("REF_forces" not in atoms.arrays for atoms in found)
    assert found[:2] == before
    assert [a.info["REF_energy"] for a in found[:2]] == [a.info["REF_energy"] for a in before]
    assert frames == before


def test_taylor_copies_need_forces(frames: list[Atoms]) -> None:
    with pytest.raises(ValueError, match="needs reference forces"):
        taylor_copies(frames[1:], seed=3)


def test_noise_has_the_forces_of_the_noised_distribution_and_the_frames_energy(
    frames: list[Atoms],
) -> None:
    before = [atoms.copy() for atoms in frames]
    found = noisy_copies(frames, seed=3, copies=200, sigma=0.04, temperature=500.0)
    assert found[:2] == before == frames
    noises = []
    for number, atoms in enumerate(found[2:]):
        frame = frames[number // 200]
        noise = atoms.positions - frame.positions
        stiffness = units.kB * 500.0 / 0.04**2
        np.testing.assert_allclose(atoms.arrays["REF_forces"], -stiffness * noise, rtol=1e-9)
        assert atoms.info["REF_energy"] == frame.info["REF_energy"]
        noises.append(noise.ravel())
    assert np.std(np.concatenate(noises)) == pytest.approx(0.04, rel=0.05)


@pytest.mark.parametrize("augment", [taylor_copies, noisy_copies])
def test_a_seed_makes_the_copies_again(frames: list[Atoms], augment: object) -> None:
    assert callable(augment)
    assert augment(frames, 1) == augment(frames, 1)
    assert augment(frames, 1)[2:] != augment(frames, 2)[2:]
