"""Chosen geometries are far from the known ones and from each other."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

pytest.importorskip("dscribe", reason="needs piwsl-plugins[weak]")

from piwsl_plugins.weak.choice import choose


def waters(angles: list[float]) -> list[Atoms]:
    frames = []
    for angle in angles:
        water = molecule("H2O")
        water.set_angle(1, 0, 2, angle)
        frames.append(water)
    return frames


def test_the_farthest_from_all_known_comes_first() -> None:
    found = choose(waters([100.0, 104.0]), waters([101.0, 103.0, 125.0, 90.0]), 2, 0.0)
    assert found.chosen.tolist() == [2, 3]
    assert found.near_duplicates == 0


def test_copies_of_known_and_of_each_other_are_left_out_turned_or_not() -> None:
    known = waters([104.0])
    turned = waters([104.0])[0]
    turned.rotate(40.0, "x")
    turned.positions += 3.0
    twice = waters([120.0, 120.0])
    found = choose(known, [turned, *twice, *waters([90.0])], None, 0.05)
    assert sorted(found.chosen.tolist()) in ([1, 3], [2, 3])
    assert found.near_duplicates == 2


def test_all_that_differ_are_kept_where_no_number_is_given() -> None:
    angles = np.linspace(90.0, 130.0, 12).tolist()
    found = choose([], waters(angles), None, 0.0)
    assert sorted(found.chosen.tolist()) == list(range(12))


def test_cells_are_compared_with_their_images() -> None:
    copper = bulk("Cu", cubic=True)
    wrapped = copper.copy()
    wrapped.positions[0] += copper.cell[0]
    stretched = copper.copy()
    stretched.set_cell(1.05 * copper.cell, scale_atoms=True)
    found = choose([copper], [wrapped, stretched], None, 0.05)
    assert found.chosen.tolist() == [1]


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="no sampled geometries"):
        choose(waters([104.0]), [], None, 0.05)
