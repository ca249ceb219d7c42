"""Geometries that have fallen apart, or into each other, are told from those that have not."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from piwsl_plugins.weak.plausibility import Plausibility, fragments


def test_a_vibrating_molecule_is_plausible() -> None:
    ethanol = molecule("CH3CH2OH")
    plausible = Plausibility.of([ethanol])
    moved = ethanol.copy()
    moved.positions += 0.05 * np.random.default_rng(0).normal(size=moved.positions.shape)
    assert plausible.objection(moved, ethanol) is None


def test_an_atom_that_leaves_is_named() -> None:
    ethanol = molecule("CH3CH2OH")
    broken = ethanol.copy()
    broken.positions[-1] += 3.0
    found = Plausibility.of([ethanol]).objection(broken, ethanol)
    assert found is not None
    assert "(H)" in found


def test_a_molecule_that_breaks_between_heavy_atoms_has_more_fragments() -> None:
    ethane = molecule("C2H6")
    broken = ethane.copy()
    one_half = [0, 2, 3, 4]
    broken.positions[one_half] += [0.0, 0.0, 2.5]
    assert fragments(ethane) == 1
    assert fragments(broken) == 2
    found = Plausibility.of([ethane]).objection(broken, ethane)
    assert found == "it fell into 2 fragments, from 1"


def test_two_molecules_stay_two_and_may_come_closer() -> None:
    pair = molecule("H2O") + Atoms("He", [[0.0, 0.0, 4.0]])
    closer = pair.copy()
    closer.positions[-1] -= [0.0, 0.0, 0.5]
    assert Plausibility.of([pair]).objection(closer, pair) is None


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_crystal_that_collapses_or_blows_up_is_refused(factor: float) -> None:
    copper = bulk("Cu", cubic=True)
    other = copper.copy()
    other.set_cell(factor * copper.cell, scale_atoms=True)
    plausible = Plausibility.of([copper])
    assert plausible.objection(copper, copper) is None
    assert "nearest neighbour" in str(plausible.objection(other, copper))


def test_a_position_that_is_no_number_is_refused() -> None:
    water = molecule("H2O")
    lost = water.copy()
    lost.positions[0, 0] = np.nan
    assert "not a finite number" in str(Plausibility.of([water]).objection(lost, water))
