"""Sampled geometries have the statistics that physics says, and exploded ones are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from springs import LENGTH, STIFFNESS, Springs

from piwsl_plugins.teacher import sampling
from piwsl_plugins.teacher.geometries import Plausibility, normal_modes
from piwsl_plugins.teacher.sampling import WAVENUMBER, WAYS, Series
from piwsl_plugins.teacher.settings import SampleSettings

WELL = 20.0  # eV/angstrom^2


def sample(
    way: str, parent: Atoms, value: float, count: int, calculator: Calculator, **options: Any
) -> list[Atoms]:
    seed = options.pop("seed", 1)
    settings = SampleSettings(interval=20, timestep=0.5, friction=0.05, **options)
    series = Series(way, value, parent, count, seed, Path())
    made = WAYS[way](series, settings, calculator, np.random.default_rng(seed))
    return [atoms for _, atoms in made]


class Well(Calculator):
    """Each atom in a harmonic well about the origin."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: object = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        positions = self.atoms.positions
        energy = 0.5 * WELL * float(np.sum(positions**2))
        self.results = {"energy": energy, "forces": -WELL * positions}


def trimer() -> Atoms:
    """An equilateral triangle of hydrogen at the springs' minimum."""
    height = np.sqrt(3.0) / 2.0
    return Atoms("H3", [[0.0, 0.0, 0.0], [LENGTH, 0.0, 0.0], [LENGTH / 2.0, height, 0.0]])


def test_langevin_dynamics_obey_equipartition_in_a_harmonic_well() -> None:
    atoms = Atoms("H24", np.zeros((24, 3)))
    found = sample("md", atoms, 400.0, 4000, Well(), seed=4)[25:]
    energy = 0.5 * WELL * np.mean([frame.positions**2 for frame in found])
    assert energy == pytest.approx(0.5 * units.kB * 400.0, rel=0.1)


def test_a_calculator_that_fails_ends_the_dynamics_with_the_step() -> None:
    with pytest.raises(ValueError, match="step 20: the calculator failed: the springs did not"):
        sample("md", trimer(), 300.0, 40, Springs(fails_above=0.5))


def test_displacements_have_their_standard_deviation_and_cells_their_strain() -> None:
    found = sample("rattle", Atoms("H50", np.zeros((50, 3))), 0.05, 100, Well(), strain=0.1)
    assert np.std([frame.positions for frame in found]) == pytest.approx(0.05, rel=0.03)
    assert all(frame.cell.rank == 0 for frame in found)
    crystal = bulk("Cu", cubic=True)
    strained = sample("rattle", crystal, 1e-12, 400, Well(), strain=0.02)
    stretch = np.array([frame.cell.array / crystal.cell.lengths()[0] for frame in strained])
    assert stretch[:, 0, 0].std() == pytest.approx(0.02, rel=0.15)
    np.testing.assert_allclose(stretch, np.swapaxes(stretch, 1, 2), atol=1e-12)
    scaled = [frame.get_scaled_positions(wrap=False) for frame in strained[:5]]
    np.testing.assert_allclose(scaled, [crystal.get_scaled_positions()] * 5, atol=1e-9)


def test_a_dimer_has_the_one_mode_of_its_spring_and_reduced_mass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    atoms = Atoms("HF", [[0.0, 0.0, 0.0], [LENGTH, 0.0, 0.0]], calculator=Springs())
    curvatures, _ = normal_modes(atoms)
    masses = atoms.get_masses()
    reduced = masses.prod() / masses.sum()
    assert curvatures == pytest.approx([STIFFNESS / reduced], rel=1e-4)
    # sqrt(k / mu) in SI units, over 2 pi c
    rate = np.sqrt(STIFFNESS * units._e * 1e20 / (reduced * units._amu)) / (2 * np.pi)
    expected = rate / (1e2 * units._c)
    assert np.sqrt(curvatures) * WAVENUMBER == pytest.approx([expected], rel=1e-4)
    moved = []
    for softest in (0.0, 2.0 * expected):
        monkeypatch.setattr(sampling, "SOFTEST", softest)
        found = sample("normal-modes", atoms, 300.0, 50, Springs())
        moved.append([frame.positions - atoms.positions for frame in found])
    np.testing.assert_allclose(moved[1], 0.5 * np.array(moved[0]), rtol=1e-3)


def test_each_mode_has_half_a_kt_and_neither_moves_the_centre_of_mass_nor_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    atoms, kt = trimer(), units.kB * 500.0
    atoms.set_masses([1.0, 2.0, 16.0])
    atoms.calc = Springs()
    curvatures, patterns = normal_modes(atoms)
    masses, arms = atoms.get_masses()[:, None], atoms.positions - atoms.get_center_of_mass()
    for pattern in patterns:
        np.testing.assert_allclose((masses * pattern).sum(axis=0), 0.0, atol=1e-10)
        np.testing.assert_allclose((masses * np.cross(arms, pattern)).sum(axis=0), 0.0, atol=1e-10)
    monkeypatch.setattr(sampling, "SOFTEST", 0.0)
    found = sample("normal-modes", atoms, 500.0, 10000, Springs())
    moved = np.array([frame.positions for frame in found]) - atoms.positions
    # <q q> of coordinates weighted by the roots of the masses is kT / curvature in each mode
    weighted = np.einsum("sad,a,mad->sm", moved, atoms.get_masses(), patterns)
    np.testing.assert_allclose(0.5 * curvatures * (weighted**2).mean(axis=0), 0.5 * kt, rtol=0.05)


def test_vibrations_are_about_the_minimum_and_where_there_is_none_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = trimer()
    away.positions += 0.1 * np.random.default_rng(0).normal(size=(3, 3))
    cold = sample("normal-modes", away, 1e-9, 1, Springs())[0]
    np.testing.assert_allclose(cold.get_all_distances()[np.triu_indices(3, 1)], LENGTH, atol=0.03)
    noise, rng = Springs(), np.random.default_rng(1)
    noise.get_forces = lambda atoms: rng.normal(size=(3, 3))  # forces that never end
    with pytest.raises(ValueError, match="no minimum within 300 steps"):
        sample("normal-modes", away, 300.0, 1, noise)


def changed(atoms: Atoms, which: list[int], by: list[float]) -> Atoms:
    other = atoms.copy()
    other.positions[which] += by
    return other


def scaled(atoms: Atoms, factor: float) -> Atoms:
    other = atoms.copy()
    other.set_cell(factor * atoms.cell, scale_atoms=True)
    return other


ETHANE, COPPER = molecule("C2H6"), bulk("Cu", cubic=True)
PAIR = molecule("H2O") + Atoms("He", [[0.0, 0.0, 4.0]])


@pytest.mark.parametrize(
    ("parent", "atoms", "objection"),
    [
        (ETHANE, changed(ETHANE, [0], [0.05, 0.0, -0.05]), ""),
        (ETHANE, changed(ETHANE, [-1], [3.0, 3.0, 3.0]), "(H) has its nearest neighbour"),
        (ETHANE, changed(ETHANE, [0, 2, 3, 4], [0, 0, 2.5]), "it fell into 2 fragments, from 1"),
        (ETHANE, changed(ETHANE, [0], [np.nan, 0, 0]), "a position is not finite"),
        (PAIR, changed(PAIR, [-1], [0.0, 0.0, -0.5]), ""),
        (COPPER, scaled(COPPER, 0.5), "nearest neighbour"),
        (COPPER, scaled(COPPER, 2.0), "nearest neighbour"),
        (COPPER, COPPER, ""),
    ],
)
def test_what_fell_apart_or_collapsed_is_told(parent: Atoms, atoms: Atoms, objection: str) -> None:
    found = Plausibility([parent]).objection(atoms, parent)
    assert objection in found
    assert bool(found) == bool(objection)
