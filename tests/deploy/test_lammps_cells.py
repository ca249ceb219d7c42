"""LAMMPS's box becomes a cell that repeats everywhere and gives each atom the same neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.deploy.cells import (
    box_vectors,
    padded_cell,
    virial_of_forces,
    virial_of_stress,
)

CUTOFF = 3.0


def test_the_box_of_lammps_has_its_tilts_below_the_diagonal() -> None:
    box = ([-1.0, 0.0, 2.0], [4.0, 6.0, 9.0], 0.5, 0.25, -0.75, [1, 0, 1], 0)
    cell, periodic = box_vectors(box)
    np.testing.assert_array_equal(cell, [[5.0, 0, 0], [0.5, 6.0, 0], [-0.75, 0.25, 7.0]])
    assert periodic.tolist() == [True, False, True]


def neighbours(atoms: Atoms) -> list[tuple[int, int, float]]:
    """Pairs within the cutoff, with their distance."""
    found = zip(*neighbor_list("ijd", atoms, CUTOFF), strict=True)
    return sorted((int(i), int(j), round(float(d), 9)) for i, j, d in found)


@given(
    seed=st.integers(0, 10_000),
    periodic=st.lists(st.booleans(), min_size=3, max_size=3),
    tilts=st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3),
)
def test_open_boundaries_keep_their_neighbours(
    seed: int, periodic: list[bool], tilts: list[float]
) -> None:
    # LAMMPS lets a tilt stand only where the second of its directions repeats
    xy, xz, yz = tilts[0] * periodic[1], tilts[1] * periodic[2], tilts[2] * periodic[2]
    cell = np.array([[4.5, 0, 0], [xy, 5.0, 0], [xz, yz, 4.0]])
    positions = np.random.default_rng(seed).uniform(-3.0, 9.0, size=(7, 3))
    asked = Atoms("H7", positions=positions, cell=cell, pbc=periodic)
    padded = padded_cell(cell, np.array(periodic), positions, CUTOFF)
    np.testing.assert_array_equal(padded[periodic], cell[periodic])
    assert abs(np.linalg.det(padded)) > 0.0
    assert neighbours(Atoms("H7", positions=positions, cell=padded, pbc=True)) == neighbours(asked)


def test_the_virial_is_the_sum_of_positions_times_forces_where_nothing_repeats() -> None:
    positions = np.random.default_rng(0).uniform(0.0, 2.5, size=(5, 3)) + 4.0 * np.eye(5, 3)
    cell = padded_cell(np.eye(3), np.zeros(3, bool), positions, 6.0)
    atoms = Atoms("Ar5", positions=positions, cell=cell, pbc=True)
    atoms.calc = LennardJones(sigma=1.5, epsilon=0.1, rc=6.0)
    expected = positions.T @ atoms.get_forces()
    for found in (
        virial_of_stress(atoms.get_stress(), cell),
        virial_of_forces(positions + 100.0, atoms.get_forces()),
    ):
        xx, yy, zz, xy, xz, yz = found
        np.testing.assert_allclose([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], expected, atol=1e-9)
        assert abs(xy - yz) > 1e-6


def test_a_periodic_cell_stays_the_very_array() -> None:
    cell = np.diag([3.0, 4.0, 5.0])
    assert padded_cell(cell, np.ones(3, bool), np.zeros((1, 3)), 9.0) is cell


@pytest.mark.parametrize("direction", range(3))
def test_an_open_direction_is_as_long_as_the_atoms_and_the_cutoff_ask(direction: int) -> None:
    periodic = np.arange(3) != direction
    positions = np.zeros((2, 3))
    positions[1, direction] = 20.0
    padded = padded_cell(4.0 * np.eye(3), periodic, positions, CUTOFF)
    assert np.linalg.norm(padded[direction]) == pytest.approx(20.0 + CUTOFF + 1.0)
