"""Normal modes of springs are known, and their thermal ensemble obeys equipartition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from springs import LENGTH, STIFFNESS, Springs

from piwsl_plugins.weak.normal_modes import (
    hessian,
    normal_modes,
    relax,
    thermal_displacements,
    thermal_geometries,
)


def trimer() -> Atoms:
    """An equilateral triangle of hydrogen at the springs' minimum."""
    height = np.sqrt(3.0) / 2.0
    return Atoms("H3", [[0.0, 0.0, 0.0], [LENGTH, 0.0, 0.0], [LENGTH / 2.0, height, 0.0]])


def dimer() -> Atoms:
    return Atoms("HF", [[0.0, 0.0, 0.0], [LENGTH, 0.0, 0.0]])


def modes_of(atoms: Atoms, folder: Path) -> tuple[object, np.ndarray]:
    second = hessian(atoms, Springs(), folder)
    return normal_modes(atoms, second), second


def test_a_dimer_has_the_one_mode_of_its_spring_and_reduced_mass(tmp_path: Path) -> None:
    atoms = dimer()
    modes, _ = modes_of(atoms, tmp_path / "modes")
    masses = atoms.get_masses()
    reduced = masses.prod() / masses.sum()
    assert modes.curvatures == pytest.approx([STIFFNESS / reduced], rel=1e-4)
    # sqrt(k / mu) in SI units, over 2 pi c
    stiffness = STIFFNESS * units._e * 1e20
    expected = np.sqrt(stiffness / (reduced * units._amu)) / (2e2 * np.pi * units._c)
    assert modes.wavenumbers == pytest.approx([expected], rel=1e-4)


def test_an_equilateral_triangle_breathes_faster_than_it_bends_twice(tmp_path: Path) -> None:
    modes, _ = modes_of(trimer(), tmp_path / "modes")
    mass = trimer().get_masses()[0]
    expected = np.array([1.5, 1.5, 3.0]) * STIFFNESS / mass
    assert modes.curvatures == pytest.approx(expected, rel=1e-3)


def test_modes_move_neither_the_centre_of_mass_nor_turn(tmp_path: Path) -> None:
    atoms = trimer()
    atoms.set_masses([1.0, 2.0, 16.0])
    modes, _ = modes_of(atoms, tmp_path / "modes")
    masses, arms = atoms.get_masses()[:, None], atoms.positions - atoms.get_center_of_mass()
    for pattern in modes.patterns:
        np.testing.assert_allclose((masses * pattern).sum(axis=0), 0.0, atol=1e-10)
        np.testing.assert_allclose((masses * np.cross(arms, pattern)).sum(axis=0), 0.0, atol=1e-10)


def test_each_mode_has_half_a_kt_of_harmonic_energy(tmp_path: Path) -> None:
    atoms = trimer()
    atoms.set_masses([1.0, 2.0, 16.0])
    modes, second = modes_of(atoms, tmp_path / "modes")
    temperature = 500.0
    found = thermal_displacements(modes, temperature, 20000, np.random.default_rng(1), softest=0.0)
    flat = found.reshape(len(found), -1)
    energies = 0.5 * np.einsum("si,ij,sj->s", flat, second, flat)
    kt = units.kB * temperature
    modes_energy = energies.mean() / len(modes.curvatures)
    # the standard error of the mean of three chi-squares over 20000 samples is below 1 %
    assert modes_energy == pytest.approx(0.5 * kt, rel=0.02)
    assert energies.var() == pytest.approx(1.5 * kt**2, rel=0.06)


def test_soft_modes_are_displaced_as_those_of_the_floor(tmp_path: Path) -> None:
    modes, _ = modes_of(dimer(), tmp_path / "modes")
    rng = [np.random.default_rng(2) for _ in range(2)]
    stiff = thermal_displacements(modes, 300.0, 50, rng[0], softest=0.0)
    floored = thermal_displacements(modes, 300.0, 50, rng[1], softest=2.0 * modes.wavenumbers[0])
    np.testing.assert_allclose(floored, 0.5 * stiff, rtol=1e-12)


def test_a_relaxation_ends_at_the_minimum_and_tells_where_there_is_none() -> None:
    away = trimer()
    away.positions += 0.1 * np.random.default_rng(0).normal(size=(3, 3))
    found = relax(away, Springs())
    np.testing.assert_allclose(found.get_all_distances()[np.triu_indices(3, 1)], LENGTH, atol=0.03)
    noise = Springs()
    rng = np.random.default_rng(1)
    noise.get_forces = lambda atoms: rng.normal(size=(3, 3))  # forces that never end
    with pytest.raises(ValueError, match="no minimum after 300 steps"):
        relax(away, noise)


def test_forces_of_a_killed_series_are_not_computed_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    folder = tmp_path / "modes"
    hessian(dimer(), Springs(log=str(log)), folder)
    whole = len(log.read_text().splitlines())
    assert whole == 13
    kept = sorted(folder.glob("cache.*.json"))
    kept[3].unlink()
    kept[7].write_text("")  # what a kill leaves of a file
    log.unlink()
    hessian(dimer(), Springs(log=str(log)), folder)
    assert len(log.read_text().splitlines()) == 2


def test_geometries_keep_their_atoms_and_scatter_about_the_minimum(tmp_path: Path) -> None:
    found = thermal_geometries(
        trimer(),
        Springs(),
        temperature=300.0,
        count=200,
        rng=np.random.default_rng(3),
        folder=tmp_path / "modes",
    )
    assert len(found) == 200
    mean = np.mean([frame.positions for frame in found], axis=0)
    np.testing.assert_allclose(mean, trimer().positions, atol=0.02)
    assert np.std([frame.positions for frame in found], axis=0).max() > 0.02
