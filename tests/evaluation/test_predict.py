"""A calculator on labelled frames: its own answers, the frames' labels, nothing invented."""

from __future__ import annotations

import io

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator

from piwsl_plugins.evaluation import compare, energy_rmse, force_rmse


def argon(n: int = 3) -> list[Atoms]:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(n):
        atoms = bulk("Ar", "fcc", a=1.6, cubic=True)
        atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        frames.append(atoms)
    return frames


def labelled(frames: list[Atoms]) -> list[Atoms]:
    for atoms in frames:
        atoms.calc = LennardJones()
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
    return frames


def test_a_calculator_agrees_with_its_own_labels() -> None:
    result = compare(labelled(argon()), LennardJones())
    assert result.n_atoms.tolist() == [4, 4, 4]
    assert energy_rmse(result) == pytest.approx(0.0, abs=1e-12)
    assert force_rmse(result) == pytest.approx(0.0, abs=1e-12)


def test_missing_labels_are_nan_and_leave_the_others_alone() -> None:
    frames = labelled(argon())
    del frames[0].info["REF_energy"]
    del frames[1].arrays["REF_forces"]
    result = compare(frames, LennardJones())
    assert result.has_energy.tolist() == [False, True, True]
    assert result.has_forces.tolist() == [True] * 4 + [False] * 4 + [True] * 4
    assert energy_rmse(result) == pytest.approx(0.0, abs=1e-12)


def test_labels_that_ase_moved_to_a_calculator_are_found() -> None:
    atoms = argon(1)[0]
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((4, 3)))
    text = io.StringIO()
    ase.io.write(text, atoms, format="extxyz")
    text.seek(0)
    frame = ase.io.read(text, format="extxyz")
    result = compare([frame], LennardJones(), energy_key="energy", forces_key="forces")
    assert result.reference_energies == pytest.approx([-1.0])
    assert result.reference_forces == pytest.approx(np.ones((4, 3)))


def test_the_frames_stay_as_they_were_and_progress_is_told() -> None:
    frames, told = labelled(argon()), []
    compare(frames, LennardJones(), progress=told.append)
    assert told == [1, 2, 3]
    assert all(frame.calc is None for frame in frames)


def test_no_frames_are_an_error() -> None:
    with pytest.raises(ValueError, match="no frames"):
        compare([], LennardJones())
