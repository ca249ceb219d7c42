"""Forces that are a gradient agree with differences of the energy, others by what they are not."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from swirl import Harmonic

from piwsl_plugins.evaluation.curvature import random_directions
from piwsl_plugins.evaluation.finite_differences import (
    LONGEST_STEP,
    SHORTEST_STEP,
    energy_noise,
    force_consistency,
)


def stretched() -> Atoms:
    return Atoms("H2", positions=[[0.0, 0.0, 0.0], [0.5, 0.8, 0.3]])


def test_the_forces_of_a_potential_are_its_gradient() -> None:
    frames = [molecule("CH4"), molecule("H2O")]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=number)
    found = force_consistency(frames, EMT(), directions=3)
    assert found.n_directions == 6
    assert found.step == SHORTEST_STEP
    assert found.max_error < 1e-8


def test_a_swirl_is_found_with_its_size() -> None:
    atoms, swirl = stretched(), np.array([0.0, 0.0, 0.01])
    found = force_consistency([atoms], Harmonic(swirl=tuple(swirl)), directions=1, seed=2)
    (way,) = random_directions(2, 1, np.random.default_rng(2))
    expected = abs(np.sum(np.cross(swirl, atoms.positions) * way))
    assert found.rms_error == pytest.approx(expected, rel=1e-6)
    assert expected > 1e-3


def test_single_precision_gets_a_longer_step_and_says_what_it_resolves() -> None:
    rounded = Harmonic(single=True)
    found = force_consistency([stretched()], rounded, directions=8)
    assert SHORTEST_STEP < found.step <= LONGEST_STEP
    assert found.rms_error < 4 * found.resolution
    assert found.resolution > 1e-4


def test_the_noise_of_single_precision_is_about_a_third_of_its_spacing() -> None:
    way = random_directions(2, 1, np.random.default_rng(0))[0]
    spacing = float(np.spacing(np.float32(1004.0)))  # uniform rounding: spacing / sqrt(12)
    noise = energy_noise(stretched(), Harmonic(stiffness=80.0, single=True), way)
    assert noise == pytest.approx(spacing / np.sqrt(12), rel=1.0)
    assert energy_noise(stretched(), Harmonic(), way) < 1e-12
