"""The shipped formaldehyde data, and the scripts that made it."""

from __future__ import annotations

import importlib
import itertools
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import ase
import ase.io
import numpy as np
import pytest

from piwsl_plugins import datasets

NAME = "formaldehyde_ccsdt_cbs"
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "data"
BOLTZMANN = 8.617333262e-5  # eV/K
FULL_STENCILS = 3  # test frames on which neither net force nor torque was imposed


def read(name: str) -> list[ase.Atoms]:
    return ase.io.read(datasets.path(f"{NAME}/{name}.xyz"), index=":")


def energies(frames: list[ase.Atoms]) -> np.ndarray:
    return np.array([frame.info["REF_energy"] for frame in frames])


def distances(frame: ase.Atoms) -> dict[str, list[float]]:
    """Interatomic distances (angstrom), sorted, by pair of symbols."""
    table: dict[str, list[float]] = {}
    for i, j in itertools.combinations(range(len(frame)), 2):
        pair = "".join(sorted(frame.symbols[i] + frame.symbols[j]))
        table.setdefault(pair, []).append(float(frame.get_distance(i, j)))
    return {pair: sorted(values) for pair, values in table.items()}


@pytest.fixture(scope="module")
def script() -> dict[str, ModuleType]:
    """The modules of ``scripts/data``, imported from their folder."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        names = ("ccsdt_cbs", "finite_differences", "make_formaldehyde")
        return {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(SCRIPTS))


# --- the files -----------------------------------------------------------------------------------


def test_the_sparse_forces_stand_beside_the_very_training_frames() -> None:
    plain, sparse = read("train"), read("train_sparse_forces")
    assert energies(plain) == pytest.approx(energies(sparse), abs=0)
    for one, other in zip(plain, sparse, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        assert one.info["config_type"] == other.info["config_type"]
    labelled = [frame for frame in sparse if "REF_forces" in frame.arrays]
    assert labelled == sparse[:6]
    assert Counter(frame.info["config_type"] for frame in labelled) == dict.fromkeys(
        ("300K", "600K", "1000K"), 2
    )
    for frame in labelled:
        forces = frame.arrays["REF_forces"]
        assert np.abs(forces.sum(axis=0)).max() < 1e-6
        assert np.abs(np.cross(frame.positions, forces).sum(axis=0)).max() < 1e-6
        assert 0.1 < np.sqrt(np.square(forces).mean()) < 4.0


def test_the_weak_forces_stand_beside_the_very_training_energies() -> None:
    plain, weak = read("train"), read("train_weak_forces")
    assert energies(plain) == pytest.approx(energies(weak), abs=0)
    for one, other in zip(plain, weak, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
        assert set(other.info) == {"REF_energy", "config_type", "weak_energy"}
        assert set(other.arrays) == {"numbers", "positions", "weak_forces"}
        assert one.info["config_type"] == other.info["config_type"]
    forces = np.array([frame.arrays["weak_forces"] for frame in weak])
    assert np.isfinite(forces).all()
    assert np.abs(forces.sum(axis=1)).max() < 1e-5
    for frame in weak:
        torque = np.cross(frame.positions, frame.arrays["weak_forces"]).sum(axis=0)
        assert np.abs(torque).max() < 1e-4
    assert 0.5 < np.sqrt(np.square(forces).mean()) < 2.0
    cheap = np.array([frame.info["weak_energy"] for frame in weak])
    assert np.corrcoef(cheap, energies(weak))[0, 1] == pytest.approx(0.963, abs=1e-3)


def test_weak_forces_are_computed_again() -> None:
    tblite = pytest.importorskip("tblite.ase", reason="needs tblite (piwsl-plugins[weak])")
    for frame in read("train_weak_forces")[:3]:  # one of each temperature
        atoms = ase.Atoms(frame.numbers, frame.positions)
        atoms.calc = tblite.TBLite(method="GFN2-xTB", verbosity=0)
        np.testing.assert_allclose(atoms.get_forces(), frame.arrays["weak_forces"], atol=1e-4)
        assert frame.info["weak_energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-5)


def test_the_readme_states_the_numbers_of_frames_of_the_files() -> None:
    readme = (datasets.path(NAME) / "README.md").read_text()
    for name in ("train", "test", "isolated_atoms"):
        stated = re.search(rf"`{name}\.xyz` \| (\d+) ", readme)
        assert stated is not None, name
        assert int(stated[1]) == len(read(name))


@pytest.mark.parametrize(("name", "least"), [("train", 50), ("test", 4)])
def test_every_temperature_has_its_share_of_frames(name: str, least: int) -> None:
    counts = Counter(frame.info["config_type"] for frame in read(name))
    assert set(counts) == {"300K", "600K", "1000K"}
    assert min(counts.values()) >= least
    assert max(counts.values()) - min(counts.values()) <= 1


def test_training_frames_carry_energies_and_no_forces() -> None:
    assert "force" not in datasets.path(f"{NAME}/train.xyz").read_text().lower()
    for frame in read("train"):
        assert set(frame.info) == {"REF_energy", "config_type"}
        assert set(frame.arrays) == {"numbers", "positions"}
        assert frame.calc is None


def test_every_frame_is_one_isolated_formaldehyde_molecule() -> None:
    for frame in read("train") + read("test"):
        assert frame.get_chemical_formula() == "CH2O"
        assert not frame.pbc.any()
        assert not frame.cell.array.any()
        np.testing.assert_allclose(frame.get_center_of_mass(), 0.0, atol=1e-6)


def test_energies_and_forces_are_finite() -> None:
    assert np.isfinite(energies(read("train") + read("test") + read("isolated_atoms"))).all()
    assert all(np.isfinite(frame.arrays["REF_forces"]).all() for frame in read("test"))


def test_the_energies_are_those_of_a_bound_formaldehyde_molecule() -> None:
    atoms = {frame.symbols[0]: frame.info["REF_energy"] for frame in read("isolated_atoms")}
    bound = 2 * atoms["H"] + atoms["C"] + atoms["O"] - energies(read("train") + read("test"))
    assert 16.1 < bound.max() < 16.35  # De of CH2O at this level is about 16.2 eV
    assert bound.min() > 14.5


def test_hotter_frames_lie_higher_by_equipartition() -> None:
    frames = read("train")
    mean = {
        kelvin: energies([f for f in frames if f.info["config_type"] == f"{kelvin}K"]).mean()
        for kelvin in (300, 600, 1000)
    }
    for low, high in ((300, 600), (600, 1000), (300, 1000)):
        expected = 3.0 * BOLTZMANN * (high - low)  # six harmonic modes, kT/2 each
        assert mean[high] - mean[low] == pytest.approx(expected, rel=0.4)


def test_bonds_are_those_of_formaldehyde() -> None:
    for frame in read("train") + read("test"):
        pairs = distances(frame)
        assert 1.0 < pairs["CO"][0] < 1.45
        assert all(0.85 < length < 1.5 for length in pairs["CH"])
        assert pairs["HH"][0] > 1.3


def test_no_test_geometry_is_a_training_geometry() -> None:
    def shape(frame: ase.Atoms) -> np.ndarray:
        pairs = distances(frame)
        return np.concatenate([pairs[pair] for pair in sorted(pairs)])

    train = np.array([shape(frame) for frame in read("train")])
    for frame in read("test"):
        assert np.abs(train - shape(frame)).max(axis=1).min() > 0.005


def test_net_force_and_net_torque_vanish() -> None:
    for place, frame in enumerate(read("test")):
        forces = frame.arrays["REF_forces"]
        torque = np.cross(frame.positions, forces).sum(axis=0)
        # Where they were not imposed, they show the error of the differences, step^2 E''' / 6.
        assert np.abs(forces.sum(axis=0)).max() < (1e-4 if place < FULL_STENCILS else 1e-7)
        assert np.abs(torque).max() < (5e-4 if place < FULL_STENCILS else 1e-6)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    assert datasets.path(NAME).is_dir()
    with pytest.raises(KeyError, match=f"formaldehyd'.*{NAME}/train.xyz"):
        datasets.path("formaldehyd")
    with pytest.raises(KeyError):
        datasets.path("../settings.py")


# --- the physics of the scripts ------------------------------------------------------------------


def test_the_extrapolation_recovers_the_limit_of_its_own_series(
    script: dict[str, ModuleType],
) -> None:
    hf = tuple(-113.9 + 0.7 * np.exp(-4.42 * np.sqrt(x)) for x in (2, 3))
    correlation = tuple(-0.45 + 0.3 * x**-2.46 for x in (2, 3))
    limit = script["ccsdt_cbs"].extrapolate_cbs(hf, correlation)
    assert limit == pytest.approx(-114.35, abs=1e-12)


def spring_energy_and_forces(positions: np.ndarray) -> tuple[float, np.ndarray]:
    """Springs of 30 eV/angstrom^2 and 1.2 angstrom between all pairs: eV, eV/angstrom."""
    energy, forces = 0.0, np.zeros_like(positions)
    for i, j in itertools.combinations(range(len(positions)), 2):
        bond = positions[i] - positions[j]
        length = np.linalg.norm(bond)
        energy += 15.0 * (length - 1.2) ** 2
        pull = -30.0 * (length - 1.2) * bond / length
        forces[i] += pull
        forces[j] -= pull
    return float(energy), forces


@pytest.mark.parametrize("full", [True, False], ids=["all coordinates", "internal coordinates"])
def test_differences_of_energies_give_the_forces(script: dict[str, ModuleType], full: bool) -> None:
    differences = script["finite_differences"]
    positions = script["ccsdt_cbs"].rounded(read("test")[0].positions.tolist())
    geometry = script["ccsdt_cbs"].Geometry(symbols=tuple("OCHH"), positions=positions)
    points = list(differences.stencil(geometry, 1e-3, full))
    assert len(points) == (12 if full else 6)
    table = {
        point: spring_energy_and_forces(np.array(point.positions))[0]
        for _, _, *pair in points
        for point in pair
    }
    forces = differences.finite_difference_forces(geometry, 1e-3, full, table)
    expected = spring_energy_and_forces(np.array(positions))[1]
    np.testing.assert_allclose(forces, expected, atol=1e-4)
    table.popitem()
    assert differences.finite_difference_forces(geometry, 1e-3, full, table) is None


# --- the scripts at work -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # PySCF's own
def test_a_shipped_energy_is_computed_again(script: dict[str, ModuleType]) -> None:
    pytest.importorskip("pyscf", reason="needs PySCF (pip install piwsl-plugins[datasets])")
    frame = read("train")[-1]
    geometry = script["ccsdt_cbs"].Geometry(
        symbols=tuple(frame.symbols),
        positions=script["ccsdt_cbs"].rounded(frame.positions.tolist()),
    )
    record = script["ccsdt_cbs"].single_point(geometry, script["ccsdt_cbs"].Level())
    assert record["energy"] == pytest.approx(frame.info["REF_energy"], abs=1e-5)


@pytest.mark.filterwarnings("default")  # PySCF's own
def test_an_unconverged_calculation_raises_and_names_the_frame(
    script: dict[str, ModuleType],
) -> None:
    pytest.importorskip("pyscf", reason="needs PySCF (pip install piwsl-plugins[datasets])")
    level = script["ccsdt_cbs"].Level(bases=("3-21g", "6-31g"), cc_energy=1e-30)
    molecule = script["ccsdt_cbs"].Geometry(
        symbols=("H", "H"), positions=((0.0, 0.0, 0.0), (0.0, 0.0, 0.75)), label="train 300K 7"
    )
    with pytest.raises(script["ccsdt_cbs"].ConvergenceError, match="train 300K 7"):
        script["ccsdt_cbs"].single_point(molecule, level)


def command(cache: Path, out: Path) -> list[str]:
    """A run of the script in two small bases, with three training and one test frame."""
    options = {"--train": 3, "--test": 1, "--equilibration": 20, "--spacing": 10, "--workers": 1}
    flags = [str(part) for option in options.items() for part in option]
    program = [sys.executable, str(SCRIPTS / "make_formaldehyde.py"), "--bases", "3-21g", "6-31g"]
    return [*program, *flags, "--cache", str(cache), "--out", str(out)]


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "train.xyz").write_text("precious")
    done = subprocess.run(
        command(tmp_path / "cache", tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "--force" in done.stderr
    assert (tmp_path / "train.xyz").read_text() == "precious"
