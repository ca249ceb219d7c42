"""Extended xyz with all digits reads back to the last bit."""

from __future__ import annotations

import io

import ase
import ase.io
import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from piwsl_plugins.weak.extxyz import exact_text

numbers = st.floats(-1e6, 1e6, allow_nan=False)


def again(atoms: ase.Atoms) -> ase.Atoms:
    return ase.io.read(io.StringIO(exact_text(atoms)), format="extxyz")


@given(arrays(float, (3, 3), elements=numbers), arrays(float, (3, 2), elements=numbers), numbers)
def test_no_bit_is_lost(positions: np.ndarray, of_atoms: np.ndarray, of_frame: float) -> None:
    atoms = ase.Atoms("OHH", positions, info={"REF_energy": of_frame, "smiles": "O [x]=1"})
    atoms.arrays["mine"] = of_atoms
    found = again(atoms)
    np.testing.assert_array_equal(found.positions, positions)
    np.testing.assert_array_equal(found.arrays["mine"], of_atoms)
    assert found.info == atoms.info


def test_cells_results_and_all_kinds_of_columns_go_along() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64 + 1e-13)
    atoms.arrays["chosen"] = np.array([True, False])
    atoms.arrays["molecule"] = np.array([3, 4])
    atoms.arrays["label"] = np.array(["a", "bc"])
    atoms.info["list"] = np.array([1.0 / 3.0, 2.0])
    forces = np.full((2, 3), 1.0 / 7.0)
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0 / 3.0, forces=forces)
    found = again(atoms)
    np.testing.assert_array_equal(found.cell.array, atoms.cell.array)
    assert found.pbc.all()
    assert found.get_potential_energy() == -1.0 / 3.0
    np.testing.assert_array_equal(found.get_forces(), forces)
    np.testing.assert_array_equal(found.info["list"], atoms.info["list"])
    for name in ("chosen", "molecule", "label"):
        np.testing.assert_array_equal(found.arrays[name], atoms.arrays[name])
    assert len(atoms.constraints) == 1  # the frame itself is left alone
