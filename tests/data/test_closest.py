"""Shortest distances by pair of elements."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.build import bulk, molecule
from memory_sources import block

from piwsl_plugins.data import closest
from piwsl_plugins.data.closest import ShortestPairs


def test_each_pair_of_elements_has_its_shortest_distance_with_frame_and_atoms() -> None:
    squeezed = molecule("H2O")
    squeezed.positions[1] = squeezed.positions[0] + [0.0, 0.6, 0.0]
    found = ShortestPairs(3)
    found.add(block([molecule("H2O"), squeezed], first=5))
    found.add(block([molecule("H2")], first=7))
    first, second = found.pairs
    assert (first.elements, first.frame, first.atoms) == ("H-O", 6, (0, 1))
    assert first.distance == pytest.approx(0.6)
    assert (second.elements, second.frame) == ("H-H", 7)
    assert found.looked_at == 3


@pytest.mark.parametrize(("symbol", "distance"), [("Cu", 3.61 / 2**0.5), ("Cs", 6.05 * 3**0.5 / 2)])
def test_periodic_images_count_however_far_they_are(symbol: str, distance: float) -> None:
    found = ShortestPairs(1)
    found.add(block([bulk(symbol)]))
    (pair,) = found.pairs
    assert pair.elements == f"{symbol}-{symbol}"
    assert pair.distance == pytest.approx(distance)


def test_a_large_molecule_is_as_a_small_one() -> None:
    atoms = bulk("Cu", cubic=True).repeat(5)
    atoms.pbc = False
    found = ShortestPairs(1)
    found.add(block([atoms]))
    assert found.pairs[0].distance == pytest.approx(3.61 / 2**0.5)


def test_an_isolated_atom_has_no_pairs_and_is_no_problem() -> None:
    found = ShortestPairs(2)
    found.add(block([ase.Atoms("H")]))
    found.add(block([ase.Atoms("H", cell=[90.0] * 3, pbc=True)]))
    assert found.pairs == []


def test_of_many_periodic_frames_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closest, "MOST_SLOW", 20)
    frames = 30
    found = ShortestPairs(frames)
    found.add(block([bulk("Cu")] * frames))
    assert found.looked_at == frames // 2


def test_blocks_of_many_pairs_are_looked_at_in_parts() -> None:
    random = np.random.default_rng(0)
    frames = [ase.Atoms("H200", positions=random.uniform(0, 50, (200, 3))) for _ in range(150)]
    found = ShortestPairs(len(frames))
    found.add(block(frames))
    expected = min(
        (atoms.get_all_distances() + 99 * np.eye(200)).min() for atoms in (frames[0], frames[149])
    )
    assert found.pairs[0].distance <= expected
    atoms = frames[found.pairs[0].frame]
    assert atoms.get_distance(*found.pairs[0].atoms) == pytest.approx(found.pairs[0].distance)
