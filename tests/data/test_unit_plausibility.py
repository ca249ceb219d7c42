"""Wrong units are refused with the likely right one, and unusual but right data are not."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.collections import g2
from ase.data import chemical_symbols
from ase.units import Hartree
from memory_sources import MemorySource, block
from scipy.spatial.transform import Rotation

from piwsl_plugins.data import plausibility, unit_evidence
from piwsl_plugins.data.plausibility import Finding, check_units
from piwsl_plugins.data.readers import DataError, open_source
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.units import ENERGY_UNITS, FORCE_UNITS, LENGTH_UNITS

DATASET = Path("piwsl_plugins") / "datasets" / "formaldehyde_ccsdt_cbs"
OFFSET = -3112.0
"""About the total energy of formaldehyde, eV."""


def formaldehyde(folder: Path) -> tuple[list[ase.Atoms], dict[int, float]]:
    """The shipped coupled-cluster geometries and energies, and the isolated atoms' energies."""
    frames = ase.io.read(folder / DATASET / "train.xyz", ":")
    atoms = ase.io.read(folder / DATASET / "isolated_atoms.xyz", ":")
    return frames, {int(a.numbers[0]): a.info["REF_energy"] for a in atoms}


@functools.cache
def springs() -> tuple[tuple[ase.Atoms, float, np.ndarray], ...]:
    """Thermal CH2O with harmonic bonds, turned at random: atoms, energy (eV), forces (eV/A)."""
    generator = np.random.default_rng(0)
    rest = ase.build.molecule("H2CO")
    first, second = np.triu_indices(4, 1)
    lengths = rest.get_all_distances()[first, second]
    constants = np.where(lengths < 1.5, 40.0, 6.0)
    made = []
    for _ in range(60):
        atoms = rest.copy()
        atoms.positions += generator.normal(scale=0.04, size=(4, 3))
        vectors = atoms.positions[first] - atoms.positions[second]
        found = np.linalg.norm(vectors, axis=1)
        pull = -(constants * (found - lengths) / found)[:, None] * vectors
        forces = np.zeros((4, 3))
        np.add.at(forces, first, pull)
        np.add.at(forces, second, -pull)
        turn = Rotation.random(rng=generator).as_matrix()
        atoms.positions = atoms.positions @ turn
        made.append((atoms, float((0.5 * constants * (found - lengths) ** 2).sum()), forces @ turn))
    return tuple(made)


def judged(
    frames: Sequence[ase.Atoms],
    energies: Sequence[float],
    forces: Sequence[np.ndarray] | None = None,
    atomic_energies: dict[int, float] | None = None,
    label: str = "forces",
    **settings: Any,
) -> dict[str, Finding]:
    labels: dict[str, Any] = {"energy": list(energies)}
    if forces is not None:
        labels[label] = list(forces)
    source = MemorySource(block(list(frames), **labels), settings=DataSettings(**settings))
    return {finding.setting: finding for finding in check_units(source, atomic_energies)}


def test_the_shipped_data_are_in_ev_and_angstrom(repo_root: Path) -> None:
    for path in sorted((repo_root / DATASET).glob("*.xyz")):
        source = open_source(path, DataSettings(energy="REF_energy"))
        found = {f.setting: f.likely for f in check_units(source)}
        assert found["energy_unit"] == ("eV",)
        assert found.get("length_unit", ("angstrom",)) == ("angstrom",)


def test_acetylacetone_is_in_ev_and_angstrom(acac: Path) -> None:
    for name in ("train_300K.xyz", "test_300K.xyz", "isolated_atoms.xyz"):
        keys = {} if name == "isolated_atoms.xyz" else {"forces": "REF_forces"}
        source = open_source(acac / name, DataSettings(energy="REF_energy", **keys))
        found = {f.setting: f for f in check_units(source)}
        assert not any(finding.unusual for finding in found.values())
        if keys:
            assert found["forces_unit"].likely == ("eV/angstrom",)
            assert found["length_unit"].likely == ("angstrom",)


@pytest.mark.parametrize("unit", ["hartree", "kcal/mol", "kJ/mol", "meV", "cm^-1"])
def test_total_energies_in_another_unit_are_refused_with_its_name(
    repo_root: Path, unit: str
) -> None:
    frames, _ = formaldehyde(repo_root)
    energies = [atoms.info["REF_energy"] / ENERGY_UNITS[unit] for atoms in frames]
    with pytest.raises(DataError, match=re.escape(f"looks like {unit}; set energy_unit to {unit}")):
        judged(frames, energies)
    with pytest.raises(DataError, match=re.escape(f"looks like {unit}")):
        judged(frames[:1], energies[:1])  # one frame is enough


@pytest.mark.parametrize("unit", ["hartree", "rydberg", "kcal/mol", "kJ/mol"])
def test_formation_energies_in_another_unit_are_refused_with_its_name(
    repo_root: Path, unit: str
) -> None:
    frames, atoms = formaldehyde(repo_root)
    formation = [a.info["REF_energy"] - sum(atoms[z] for z in a.numbers) for a in frames]
    assert judged(frames, formation)["energy_unit"].likely == ("eV",)
    with pytest.raises(DataError, match=f"bonds lets expect .*looks like {unit}"):
        judged(frames, [energy / ENERGY_UNITS[unit] for energy in formation])


@pytest.mark.parametrize("unit", ["hartree", "kcal/mol", "kJ/mol"])
@pytest.mark.parametrize("atoms_are_in_ev", [True, False])
def test_energies_beside_those_of_the_atoms_tell_the_unit(
    repo_root: Path, unit: str, atoms_are_in_ev: bool
) -> None:
    frames, atoms = formaldehyde(repo_root)
    factor = ENERGY_UNITS[unit]
    # of valence electrons alone, so that total energies say nothing
    shift = {6: 870.0, 8: 1600.0, 1: 0.0}
    valence = {z: energy + shift[z] for z, energy in atoms.items()}
    energies = [a.info["REF_energy"] + sum(shift[z] for z in a.numbers) for a in frames[:3]]
    assert judged(frames[:3], energies, None, valence)["energy_unit"].likely == ("eV",)
    given = valence if atoms_are_in_ev else {z: e / factor for z, e in valence.items()}
    with pytest.raises(DataError, match=f"looks like .*{unit}"):
        judged(frames[:3], [energy / factor for energy in energies], None, given)


def test_the_unit_that_was_given_wrongly_is_named_too(repo_root: Path) -> None:
    frames, _ = formaldehyde(repo_root)
    energies = [atoms.info["REF_energy"] * Hartree for atoms in frames]
    with pytest.raises(DataError, match="with energies in hartree: looks like eV"):
        judged(frames, energies, energy_unit="hartree")


@pytest.mark.parametrize("unit", ["bohr", "nm"])
def test_positions_in_another_unit_are_refused_with_its_name(unit: str) -> None:
    frames = []
    for atoms, _, _ in springs():
        frames.append(atoms.copy())
        frames[-1].positions /= LENGTH_UNITS[unit]
    with pytest.raises(DataError, match=f"covalent radii .*looks like {unit}; set length_unit"):
        judged(frames, [OFFSET] * len(frames))
    angstrom = [atoms.copy() for atoms, _, _ in springs()]
    for atoms in angstrom:
        atoms.positions *= LENGTH_UNITS[unit]
    with pytest.raises(DataError, match="looks like angstrom; set length_unit to angstrom"):
        judged(angstrom, [OFFSET] * len(frames), length_unit=unit)


def test_metals_in_another_length_are_refused(repo_root: Path) -> None:
    for unit in ("bohr", "nm"):
        copper = ase.build.bulk("Cu", cubic=True)
        copper.set_cell(copper.cell / LENGTH_UNITS[unit], scale_atoms=True)
        with pytest.raises(DataError, match=f"looks like {unit}"):
            judged([copper], [0.0])


@pytest.mark.parametrize(
    "unit",
    ["hartree/bohr", "hartree/angstrom", "kcal/mol/angstrom", "kJ/mol/nm", "eV/bohr"],
)
def test_forces_in_another_unit_are_refused_with_its_name(unit: str) -> None:
    frames, energies, forces = zip(*springs(), strict=True)
    wrong = [f / FORCE_UNITS[unit] for f in forces]
    totals = [OFFSET + energy for energy in energies]
    right = judged(frames, totals, forces)
    assert right["forces_unit"].likely == ("eV/angstrom",)
    with pytest.raises(DataError, match=f"work of the forces .*looks like .*{unit}"):
        judged(frames, totals, wrong)
    assert judged(frames, totals, forces, forces_unit=unit)["forces_unit"].likely == (unit,)


def test_gradients_are_not_forces() -> None:
    frames, energies, forces = zip(*springs(), strict=True)
    with pytest.raises(DataError, match=r"look like gradients, .* write the key as -KEY"):
        judged(frames, [OFFSET + e for e in energies], [-f for f in forces])


def test_forces_that_follow_from_the_energy_unit_are_not_named_beside_it() -> None:
    frames, energies, forces = zip(*springs(), strict=True)
    totals = [(OFFSET + e) / Hartree for e in energies]
    with pytest.raises(DataError, match="set energy_unit to hartree") as error:
        judged(frames, totals, [f / Hartree for f in forces])
    assert "forces_unit" not in str(error.value)
    with pytest.raises(DataError, match="set forces_unit to hartree/bohr"):
        judged(frames, totals, [f / FORCE_UNITS["hartree/bohr"] for f in forces])


def test_weak_forces_may_be_softer_but_not_in_another_unit() -> None:
    frames, energies, forces = zip(*springs(), strict=True)
    totals = [OFFSET + e for e in energies]
    softer = judged(frames, totals, [0.7 * f for f in forces], label="weak_forces")
    assert not softer["weak_forces_unit"].unusual
    wrong = [0.9 * f / FORCE_UNITS["hartree/bohr"] for f in forces]
    with pytest.raises(DataError, match=r"weak forces .*looks like hartree/bohr"):
        judged(frames, totals, wrong, label="weak_forces")


def test_forces_of_a_copper_cell_fit_its_energies_and_other_units_do_not() -> None:
    generator = np.random.default_rng(0)
    frames, energies, forces = [], [], []
    for _ in range(12):
        atoms = ase.build.bulk("Cu", cubic=True) * (2, 2, 2)
        atoms.rattle(0.06, rng=generator)
        atoms.positions += generator.normal(size=3)
        atoms.wrap()
        atoms.calc = EMT()
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        frames.append(atoms)
    found = judged(frames, energies, forces)
    assert found["forces_unit"].likely == ("eV/angstrom",)
    assert found["length_unit"].likely == ("angstrom",)
    with pytest.raises(DataError, match="looks like kcal/mol; set energy_unit to kcal/mol"):
        judged(frames, [e / ENERGY_UNITS["kcal/mol"] for e in energies], forces)
    wrong = [f / FORCE_UNITS["hartree/bohr"] for f in forces]
    with pytest.raises(DataError, match="looks like hartree/bohr; set forces_unit to"):
        judged(frames, energies, wrong)


def test_unusual_units_are_found_and_not_refused_where_they_are_allowed() -> None:
    frames, energies, _ = zip(*springs(), strict=True)
    totals = [(OFFSET + e) / Hartree for e in energies]
    found = judged(frames, totals, allow_unusual_units=True)
    assert found["energy_unit"].unusual
    assert found["energy_unit"].likely == ("hartree",)


@pytest.mark.parametrize("count", [1, 2])
def test_few_frames_raise_no_alarm(count: int) -> None:
    frames, energies, forces = zip(*springs()[:count], strict=True)
    for offset in (OFFSET, 0.0):
        found = judged(frames, [offset + e for e in energies], forces)
        assert not any(finding.unusual for finding in found.values())


@pytest.mark.parametrize("scale", [1.0, 2.5, 6.0])
def test_isolated_and_dissociating_atoms_raise_no_alarm(scale: float) -> None:
    atoms = [ase.Atoms("O2", [[0, 0, 0], [0, 0, 1.2 * scale]]), ase.Atoms("O"), ase.Atoms("H")]
    atoms.append(ase.Atoms("Cu", cell=[20.0] * 3, pbc=True))
    energies = (-4080.0, -2041.0, -13.6, -1.0)
    for frame, energy in zip(atoms, energies, strict=True):
        assert not any(f.unusual for f in judged([frame], [energy]).values())


def test_relaxed_scans_raise_no_alarm() -> None:
    frames, energies = [], []
    for angle in range(0, 360, 10):
        atoms = ase.build.molecule("H2O2")
        atoms.set_dihedral(2, 0, 1, 3, angle, indices=[3])
        atoms.set_distance(0, 1, 1.45 + 0.01 * np.cos(np.radians(angle)), fix=0)
        frames.append(atoms)
        energies.append(0.2 + 0.2 * np.cos(np.radians(angle)))
    assert judged(frames, energies).keys() == {"length_unit"}


def test_energies_that_never_change_are_refused() -> None:
    frames = [atoms for atoms, _, _ in springs()]
    with pytest.raises(DataError, match=r"are the same to 0 eV per atom .*is their key right"):
        judged(frames, [-3.0] * len(frames))


def test_energies_that_spread_absurdly_are_refused() -> None:
    generator = np.random.default_rng(0)
    copper = [ase.build.bulk("Cu", cubic=True) for _ in range(20)]
    for atoms in copper:
        atoms.rattle(0.1, rng=generator)
    with pytest.raises(DataError, match="energies of 20 frames of Cu4 spread over"):
        judged(copper, (generator.normal(size=20) * 50).tolist())


def test_reference_structures_of_all_elements_have_usual_lengths() -> None:
    ratios = {}
    for symbol in chemical_symbols[1:95]:
        try:
            crystal = ase.build.bulk(symbol)
        except (ValueError, KeyError, RuntimeError):  # ASE knows no crystal of it
            continue
        (group,) = unit_evidence.groups_of([block([crystal])])
        ratios[symbol] = unit_evidence.nearest_neighbours(group, 0)[1]
    for name in g2.names:
        molecule = ase.build.molecule(name)
        if len(molecule) > 2:
            (group,) = unit_evidence.groups_of([block([molecule])])
            ratios[name] = unit_evidence.nearest_neighbours(group, 0)[1]
    found = {name: np.median(values) for name, values in ratios.items() if len(values)}
    assert len(found) > 150
    assert min(found.values()) > 0.7  # uranium
    assert max(found.values()) < 1.3


def test_a_sample_is_spread_over_the_file_in_runs() -> None:
    frames = [ase.Atoms("He") for _ in range(1000)]
    source = MemorySource(block(frames, energy=[0.0] * 1000))
    places = np.concatenate([b.places for b in plausibility.sample(source, 100)])
    assert len(places) == 100
    assert places[0] == 0
    assert places[-1] == 999
    assert (np.diff(places) == 1).sum() == 95
    assert sum(len(b) for b in plausibility.sample(source, 1000)) == 1000


def test_a_file_without_energies_is_judged_by_its_lengths() -> None:
    frames = [atoms for atoms, _, _ in springs()]
    source = MemorySource(block(frames))
    assert [finding.setting for finding in check_units(source)] == ["length_unit"]
