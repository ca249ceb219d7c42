"""Molecules by their covalent bonds."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.collections import g2
from hypothesis import given
from hypothesis import strategies as st
from memory_sources import block

from piwsl_plugins.data.molecules import bond_hashes


def one(atoms: object) -> int:
    return int(bond_hashes(block([atoms]))[0])  # type: ignore[list-item]


def test_molecules_of_different_bonds_are_different_and_spin_states_are_not() -> None:
    spin_states = {"CH2_s1A1d", "SiH2_s1A1d"}
    names = [name for name in g2.names if name not in spin_states]
    assert len({one(molecule(name)) for name in names}) == len(names)
    assert one(molecule("CH2_s1A1d")) == one(molecule("CH2_s3B1d"))


@given(st.sampled_from(["CH3CH2OH", "C6H6", "CH3CONH2", "C2Cl4"]), st.integers(0, 1000))
def test_vibration_and_the_order_of_the_atoms_change_no_molecule(name: str, seed: int) -> None:
    atoms = molecule(name)
    shaken = atoms[np.random.default_rng(seed).permutation(len(atoms))]
    shaken.rattle(0.05, seed=seed)
    assert one(shaken) == one(atoms)


def test_isomers_are_different_and_so_is_a_broken_bond() -> None:
    broken = molecule("CH3CH2OH")
    broken.positions[2] += [0.0, 0.0, 3.0]
    hashes = [one(molecule("CH3CH2OH")), one(molecule("CH3OCH3")), one(broken)]
    assert len(set(hashes)) == 3


def test_a_molecule_that_the_periodic_cell_cuts_is_whole() -> None:
    atoms = molecule("CH3CH2OH", cell=[12.0, 12.0, 12.0], pbc=True)
    atoms.wrap()
    assert one(atoms) == one(molecule("CH3CH2OH"))


@pytest.mark.parametrize("symbol", ["Cu", "Si"])
def test_a_crystal_is_no_isolated_atom(symbol: str) -> None:
    crystal = bulk(symbol)
    free = crystal.copy()
    free.pbc = False
    assert one(crystal) != one(free)


def test_a_large_structure_is_looked_at_frame_by_frame() -> None:
    atoms = bulk("Cu", cubic=True).repeat(6)
    atoms.pbc = False
    assert len(set(bond_hashes(block([atoms] * 3)).tolist())) == 1
