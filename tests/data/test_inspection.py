"""What an inspection finds in a file, and what it says of it."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.build import bulk, molecule
from memory_sources import MemorySource, block

from piwsl_plugins.data.atomic_energies import TABLES
from piwsl_plugins.data.energy_spread import Energies
from piwsl_plugins.data.findings import ERROR, NOTE, WARNING, Finding, findings
from piwsl_plugins.data.inspection import inspect, shared_frames

E0S = TABLES["ani1ccx-ccsdt-cbs"]


def shaken(name: str, seed: int) -> ase.Atoms:
    atoms = molecule(name)
    atoms.rattle(0.05, seed=seed)
    return atoms


def energy(atoms: ase.Atoms, seed: int) -> float:
    atomic = sum(E0S[int(number)] for number in atoms.numbers)
    binding = -4.0 * len(atoms) + 0.1 * np.random.default_rng(seed).normal()
    return float(atomic + binding)


def conformers(name: str, frames: int, first: int = 0) -> MemorySource:
    atoms = [shaken(name, seed) for seed in range(frames)]
    return MemorySource(
        block(atoms, first=first, energy=[energy(one, i) for i, one in enumerate(atoms)])
    )


def said(source: MemorySource, level: str) -> list[Finding]:
    return [finding for finding in findings(inspect(source)) if finding.level == level]


def test_frames_elements_formulas_and_labels_are_counted() -> None:
    water, crystal = [shaken("H2O", seed) for seed in range(3)], bulk("NaCl", "rocksalt", a=5.6)
    for number, atoms in enumerate(water):
        atoms.info["config_type"] = "hot" if number else "cold"
    source = MemorySource(
        block(water, energy=[-2080.0, None, -2080.1], forces=[None, np.ones((3, 3)), None]),
        block([crystal], first=3, energy=[-1000.0]),
    )
    found = inspect(source)
    assert (found.sizes.frames, found.sizes.atoms, found.sizes.periodic) == (4, 11, 1)
    assert (found.sizes.smallest, found.sizes.largest) == (2, 3)
    assert found.elements == {1: 3, 8: 3, 11: 1, 17: 1}
    assert found.formulas == {"H2O": 3, "ClNa": 1}
    assert found.config_types == {"hot": 2, "cold": 1}
    assert found.labels == {"energy": 3, "forces": 1}
    assert found.vectors["forces"].root_mean_square == pytest.approx(1.0)
    assert found.vectors["forces"].longest == pytest.approx(3**0.5)
    assert found.vectors["forces"].frame == 1


def test_composition_explains_energies_of_different_molecules() -> None:
    sources = [conformers(name, 40) for name in ("H2O", "CH4", "CO2")]
    found = inspect(MemorySource(*(one for source in sources for one in source.blocks())))
    assert found.spread is not None
    low, mean, high = found.spread.per_atom
    assert low < mean < high
    assert high - low > 100.0  # carbon dioxide beside methane
    residual = found.spread.residual
    assert residual[3] == pytest.approx(0.03, abs=0.015)
    assert residual[2] - residual[0] < 0.2
    assert found.spread.fit.inseparable == ()


def test_an_outlier_is_found_although_it_bends_the_fit() -> None:
    collected = Energies()
    random = np.random.default_rng(0)
    energies = -2080.0 + 0.1 * random.normal(size=100)
    energies[17] += 500.0
    collected.add(block([molecule("H2O")] * 100), energies)
    collected.add(block([molecule("CH4")] * 60), -1150.0 + 0.1 * random.normal(size=60))
    spread = collected.spread()
    assert spread is not None
    assert spread.outliers.tolist() == [17]
    assert spread.deviations == pytest.approx([500 / 3], abs=0.5)
    assert spread.residual[3] < 0.1


def test_an_outlier_among_many_rare_compositions_is_found() -> None:
    collected = Energies()
    for i, name in enumerate(("CH4", "C2H6", "C2H4", "C2H2", "C6H6", "C3H8") * 8):
        atoms = molecule(name)
        wrong = 100.0 if i == 20 else 0.0
        collected.add(block([atoms]), np.array([energy(atoms, i) + wrong]))
    spread = collected.spread()
    assert spread is not None
    assert spread.outliers.tolist() == [20]


def test_no_energies_have_no_spread() -> None:
    collected = Energies()
    assert collected.spread() is None
    collected.add(block([molecule("H2O")]), np.array([np.nan]))
    assert collected.spread() is None


def test_a_clean_file_has_no_errors_and_no_warnings() -> None:
    source = conformers("H2O", 40)
    assert said(source, ERROR) == []
    assert said(source, WARNING) == []
    assert "no isolated atom of H, O" in said(source, NOTE)[-1].text


def test_copies_with_different_energies_are_an_error_and_others_a_warning() -> None:
    frames = [shaken("H2O", seed) for seed in range(10)]
    energies = [energy(atoms, seed) for seed, atoms in enumerate(frames)]
    source = MemorySource(
        block([*frames, frames[3], frames[4]], energy=[*energies, energies[3], energies[4] + 0.5])
    )
    (error,) = said(source, ERROR)
    assert error.text == "1 frames are copies of an earlier one with another energy"
    assert error.examples[0].startswith("memory.xyz, frame 11: ")
    (warning,) = said(source, WARNING)
    assert warning.text == "2 frames are copies of an earlier one"
    assert warning.examples == (
        "memory.xyz, frame 10 is memory.xyz, frame 3",
        "memory.xyz, frame 11 is memory.xyz, frame 4",
    )


def test_isolated_atoms_are_listed_and_take_no_part_in_ranges_and_copies() -> None:
    atoms = [ase.Atoms("H"), ase.Atoms("H", positions=[[1, 1, 1]])]
    water = [shaken("H2O", seed) for seed in range(40)]
    source = MemorySource(
        block(water, energy=[energy(one, i) for i, one in enumerate(water)]),
        block(atoms, first=40, energy=[E0S[1], E0S[1]]),
        block([ase.Atoms("O")], first=42),
    )
    found = inspect(source)
    assert found.isolated == {"H": pytest.approx(E0S[1]), "O": None}
    assert found.duplicates.copies == 0
    assert found.spread is not None
    assert found.spread.per_atom[2] < -600.0
    (warning,) = said(source, WARNING)
    assert warning.text == "the isolated atoms of O have no energy"


def test_isolated_atoms_that_contradict_each_other_are_an_error() -> None:
    source = MemorySource(
        block([shaken("H2", seed) for seed in range(3)], energy=[-31.7, -31.6, -31.5]),
        block([ase.Atoms("H")] * 2, first=3, energy=[-13.6, -13.0]),
    )
    (error,) = said(source, ERROR)
    assert "isolated atoms of H have different energies" in error.text


def test_atoms_that_are_too_close_are_a_warning_with_frame_and_atoms() -> None:
    (frames,) = conformers("H2O", 30).blocks()
    frames.positions[12, 2] = frames.positions[12, 0] + [0.0, 0.0, 0.2]
    (warning,) = said(MemorySource(frames), WARNING)
    assert warning.examples == ("memory.xyz, frame 12: H-O atoms 0 and 2, 0.200 angstrom",)


def test_no_energy_at_all_is_an_error() -> None:
    (error,) = said(MemorySource(block([molecule("H2O")])), ERROR)
    assert "no frame has an energy" in error.text


def test_a_wrong_unit_is_an_error_with_the_likely_one() -> None:
    (frames,) = conformers("H2O", 30).blocks()
    frames.labels["energy"][:] /= 27.211386
    (error,) = said(MemorySource(frames), ERROR)
    assert "looks like hartree" in error.text


def test_frames_of_two_files_that_are_the_same_are_counted_by_pair_of_files() -> None:
    frames = [shaken("H2O", seed) for seed in range(10)]
    hydrogen = block([ase.Atoms("H")], first=90)
    sources = [
        MemorySource(block(frames[:6]), hydrogen),
        MemorySource(hydrogen, block(frames[4:], first=1)),
        MemorySource(block([shaken("CH4", 0)])),
    ]
    shared = shared_frames([inspect(source) for source in sources])
    assert shared == {(0, 1): (2, "memory.xyz, frame 1 is memory.xyz, frame 4")}
