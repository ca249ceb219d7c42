"""Agreement of two methods does not see what a sum over free atoms explains."""

from __future__ import annotations

import numpy as np
import pytest

from piwsl_plugins.weak.agreement import Agreement, lines
from piwsl_plugins.weak.tasks import Labels

WATER, METHANE = np.array([8, 1, 1]), np.array([6, 1, 1, 1, 1])


def collected(slope: float, noise: float = 0.0) -> Agreement:
    random = np.random.default_rng(3)
    found = Agreement()
    for atoms, reference, cheap in ((WATER, -2000.0, -130.0), (METHANE, -1100.0, -110.0)):
        for _ in range(30):
            energy, forces = random.normal(), random.normal(size=(len(atoms), 3))
            low = Labels(
                energy=cheap + slope * energy + noise * random.normal(),
                forces=slope * forces + noise * random.normal(size=forces.shape),
            )
            found.add(atoms, reference + energy, forces, low)
    return found


def test_a_method_that_differs_by_free_atoms_alone_agrees() -> None:
    energies = collected(1.0).energies()
    assert energies is not None
    assert energies.frames == 60
    assert energies.correlation == pytest.approx(1.0)
    assert energies.slope == pytest.approx(1.0)
    assert energies.rms == pytest.approx(0.0, abs=1e-9)


def test_slope_and_difference_are_those_of_the_scaled_method() -> None:
    energies, forces = collected(0.7, 0.01).energies(), collected(0.7, 0.01).forces()
    assert energies is not None
    assert forces is not None
    assert energies.slope == pytest.approx(0.7, abs=0.01)
    assert energies.rms == pytest.approx(0.3 * energies.spread, rel=0.02)
    assert forces.slope == pytest.approx(0.7, abs=0.01)
    assert forces.rms == pytest.approx(0.3 * forces.spread, rel=0.02)


def test_the_order_of_the_atoms_does_not_matter() -> None:
    found = Agreement()
    for number, atoms in enumerate((WATER, WATER[::-1], WATER)):
        found.add(atoms, -2000.0 + number, None, Labels(energy=-130.0 - number, forces=None))
    energies = found.energies()
    assert energies is not None
    assert energies.correlation == pytest.approx(-1.0)
    assert found.forces() is None


def test_one_frame_of_each_formula_or_none_at_all_leaves_nothing_to_compare() -> None:
    found = Agreement()
    assert lines(found) == ["no reference to compare with, or too few frames that have one"]
    for atoms in (WATER, METHANE):
        found.add(atoms, -5.0, None, Labels(energy=-1.0, forces=None))
    assert found.energies() is None
    found.add(WATER, None, None, Labels(energy=-1.0, forces=None))
    assert found.energies() is None
