"""Shortest distances of many frames at once."""

from __future__ import annotations

import ase.build
import numpy as np
import pytest
from memory_sources import block

from piwsl_plugins.data.checks import closest_pair
from piwsl_plugins.data.distances import shortest_distances


def rattled(atoms: ase.Atoms, count: int) -> list[ase.Atoms]:
    frames = [atoms.copy() for _ in range(count)]
    for number, frame in enumerate(frames):
        frame.rattle(0.1, seed=number)
    return frames


@pytest.mark.parametrize(
    "atoms",
    [ase.build.molecule("CH3OH"), ase.build.bulk("NaCl", "rocksalt", a=4.4, cubic=True)],
    ids=["molecule", "crystal"],
)
def test_the_shortest_distance_is_that_of_the_closest_pair(atoms: ase.Atoms) -> None:
    frames = rattled(atoms, 7)
    found = shortest_distances(block(frames), 3.0)
    expected = [closest_pair(frame, 3.0) for frame in frames]
    assert found.tolist() == pytest.approx([pair[0] for pair in expected if pair is not None])


def test_what_is_beyond_the_cutoff_is_infinitely_far() -> None:
    apart = ase.Atoms("H2", [[0, 0, 0], [0, 0, 1.5]])
    near = ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.7]])
    assert shortest_distances(block([apart, near]), 1.0).tolist() == [np.inf, pytest.approx(0.7)]
    assert shortest_distances(block([ase.Atoms("H")]), 1.0).tolist() == [np.inf]
