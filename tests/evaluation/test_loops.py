"""A gradient does no work around a loop; a swirl does what Stokes says."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from swirl import Harmonic

from piwsl_plugins.evaluation.curvature import random_directions
from piwsl_plugins.evaluation.loops import loop_work


def test_a_conservative_field_does_no_work_around_loops() -> None:
    frames = [molecule("CH4"), molecule("H2O"), molecule("CO")]
    found = loop_work(frames, EMT(), size=0.02)
    assert found.n_loops == 3
    assert found.mean_edge_work > 1e-3
    assert found.ratio is not None
    assert found.ratio < 1e-6


def test_a_swirl_does_the_work_of_its_circulation() -> None:
    swirl, size = np.array([0.3, -1.0, 2.0]), 0.1
    found = loop_work([Atoms("H")], Harmonic(4.0, swirl=tuple(swirl)), size=size, seed=5)
    first, second = size * random_directions(1, 2, np.random.default_rng(5))[:, 0]
    assert found.rms_work == pytest.approx(abs(swirl @ np.cross(first, second)), rel=1e-9)
    assert found.ratio is not None
    assert found.ratio > 0.05


def test_no_force_has_no_ratio() -> None:
    found = loop_work([Atoms("H")], Harmonic(0.0))
    assert (found.rms_work, found.ratio) == (0.0, None)


def test_no_frames_are_an_error() -> None:
    with pytest.raises(ValueError, match="no frames"):
        loop_work([], Harmonic())
