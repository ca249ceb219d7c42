"""Langevin dynamics and random displacements have the spread that they should have."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from springs import Springs

from piwsl_plugins.weak.displaced import rattled, trajectory

STIFFNESS = 20.0  # eV/angstrom^2


class Well(Calculator):
    """Each atom in a harmonic well about the origin."""

    implemented_properties = ("energy", "forces")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: object = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        positions = self.atoms.positions
        self.results = {
            "energy": 0.5 * STIFFNESS * float(np.sum(positions**2)),
            "forces": -STIFFNESS * positions,
        }


def test_langevin_dynamics_obey_equipartition_in_a_harmonic_well() -> None:
    temperature = 400.0
    atoms = Atoms("H24", np.zeros((24, 3)))
    samples = [
        frame.positions
        for step, frame in trajectory(
            atoms,
            Well(),
            temperature=temperature,
            steps=4000,
            interval=20,
            timestep=0.5,
            friction=0.05,
            seed=4,
        )
        if step > 500
    ]
    energy = 0.5 * STIFFNESS * np.mean(np.square(samples))
    assert energy == pytest.approx(0.5 * units.kB * temperature, rel=0.1)


def test_the_same_seed_gives_the_same_trajectory_and_another_another() -> None:
    atoms = Atoms("H3", [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.9, 0.0]])
    options = {"temperature": 300.0, "steps": 20, "interval": 10, "timestep": 0.5, "friction": 0.01}
    runs = [
        [frame.positions for _, frame in trajectory(atoms, Springs(), seed=seed, **options)]
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])


def test_a_calculator_that_fails_ends_the_dynamics_with_the_step() -> None:
    atoms = Atoms("H2", [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    found = trajectory(
        atoms,
        Springs(fails_above=0.5),
        temperature=300.0,
        steps=10,
        interval=5,
        timestep=0.5,
        friction=0.01,
        seed=1,
    )
    with pytest.raises(ValueError, match="step 5: the calculator failed: the springs did not"):
        list(found)


def test_displacements_have_their_standard_deviation_and_cells_their_strain() -> None:
    molecule = Atoms("H50", np.zeros((50, 3)))
    rng = np.random.default_rng(5)
    found = rattled(molecule, length=0.05, strain=0.1, count=100, rng=rng)
    positions = np.array([frame.positions for frame in found])
    assert positions.std() == pytest.approx(0.05, rel=0.03)
    assert all(frame.cell.rank == 0 for frame in found)
    crystal = bulk("Cu", cubic=True)
    strained = rattled(crystal, length=0.0, strain=0.02, count=400, rng=rng)
    stretch = np.array([frame.cell.array / crystal.cell.lengths()[0] for frame in strained])
    assert stretch[:, 0, 0].std() == pytest.approx(0.02, rel=0.15)
    np.testing.assert_allclose(stretch, np.swapaxes(stretch, 1, 2), atol=1e-12)
    scaled = [frame.get_scaled_positions() for frame in strained[:5]]
    np.testing.assert_allclose(scaled, [crystal.get_scaled_positions()] * 5, atol=1e-9)
