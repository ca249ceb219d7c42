"""Secant curvatures do not see how a molecule lies, and find a spring's stiffness."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from scipy.spatial.transform import Rotation
from swirl import Harmonic

from piwsl_plugins.evaluation import Comparison
from piwsl_plugins.evaluation.secants import secant_curvatures, secant_softening


def compared(frames: list[Atoms], calculator: object, factor: float = 1.0) -> Comparison:
    """Reference forces of a calculator beside predictions that are a multiple of them."""
    forces = []
    for frame in frames:
        atoms = frame.copy()
        atoms.calc = calculator
        forces.append(atoms.get_forces())
    reference = np.concatenate(forces)
    return Comparison(
        n_atoms=np.array([len(frame) for frame in frames]),
        energies=np.zeros(len(frames)),
        reference_energies=np.zeros(len(frames)),
        forces=factor * reference,
        reference_forces=reference,
    )


def rattled(count: int, atoms: Atoms | None = None) -> list[Atoms]:
    made = []
    for number in range(count):
        frame = molecule("CH4") if atoms is None else atoms.copy()
        frame.rattle(0.05, seed=number)
        made.append(frame)
    return made


def test_turning_and_moving_a_molecule_changes_nothing() -> None:
    frames = rattled(4)
    before = secant_curvatures(frames, compared(frames, EMT()))
    for number, frame in enumerate(frames):
        turn = Rotation.random(rng=number).as_matrix()
        frame.positions = frame.positions @ turn.T + 3.0 * number
    after = secant_curvatures(frames, compared(frames, EMT()))
    assert before is not None
    assert after is not None
    assert before.pairs.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    np.testing.assert_allclose(after.reference, before.reference, rtol=1e-6)


def test_the_secant_curvature_of_a_crystal_of_springs_is_their_stiffness() -> None:
    crystal = bulk("Cu", cubic=True)
    frames = rattled(3, crystal)
    for frame in frames:
        frame.positions -= (frame.positions - crystal.positions).mean(axis=0)
    comparison = compared(frames, Harmonic(5.0, crystal.positions))
    frames[1].positions[2] += frames[1].cell[0]  # the same atom, in the next cell
    found = secant_curvatures(frames, comparison)
    assert found is not None
    np.testing.assert_allclose(found.reference, 5.0, rtol=1e-9)


def test_the_slope_of_forces_of_half_the_size_is_a_half() -> None:
    frames = rattled(5)
    secants = secant_curvatures(frames, compared(frames, EMT(), 0.5))
    assert secants is not None
    found = secant_softening(secants)
    assert found.slope == pytest.approx(0.5)
    assert found.interval == pytest.approx((0.5, 0.5))
    assert found.n_frames == 5


def test_only_labelled_frames_of_the_same_atoms_are_paired() -> None:
    frames = [*rattled(2), molecule("CO"), molecule("H2O")]
    comparison = compared(frames, EMT())
    found = secant_curvatures(frames, comparison)
    assert found is not None
    assert found.pairs.tolist() == [[0, 1]]
    comparison.reference_forces[3] = np.nan
    assert secant_curvatures(frames, comparison) is None


def test_the_same_geometry_twice_is_no_way() -> None:
    frames = [molecule("CH4"), molecule("CH4")]
    assert secant_curvatures(frames, compared(frames, EMT())) is None
