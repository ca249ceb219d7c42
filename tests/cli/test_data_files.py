"""`mace_run_train` from files as the field stores them, with missing labels and weak forces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ase
import ase.db
import ase.io
import h5py
import numpy as np
import pytest
import torch
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from commands import DATA, check_terms, train, without_time

from piwsl_plugins import datasets

FRAMES, TEST = 20, 4
ENERGY_KEY = "hf_qz.energy + mp2_qz.corr_energy"
E0S = "{1: -13.6057, 6: -1028.0659, 7: -1483.4557, 8: -2040.2049}"


@pytest.fixture(scope="module")
def frames() -> list[ase.Atoms]:
    """Frames with an energy in eV, and random forces in every other frame of the first ten."""
    found = ase.io.read(datasets.path(f"{DATA}/train.xyz"), index=slice(FRAMES + TEST))
    assert isinstance(found, list)
    random = np.random.default_rng(0)
    for number, atoms in enumerate(found):
        atoms.info = {"REF_energy": atoms.info["REF_energy"]}
        if number % 2 == 0 and number < 10:
            atoms.arrays["REF_forces"] = random.normal(scale=0.5, size=(len(atoms), 3))
    return found


def write_ani(path: Path, frames: list[ase.Atoms], *, missing: int) -> None:
    """ANI's layout, hartree: the frames, and as many that lack a part of the energy."""
    energies = np.array([atoms.info["REF_energy"] for atoms in frames]) / units.Hartree
    energies = np.concatenate([energies, np.full(missing, np.nan)])
    forces = np.full((len(energies), len(frames[0]), 3), np.nan)
    for number, atoms in enumerate(frames):
        if "REF_forces" in atoms.arrays:
            forces[number] = atoms.arrays["REF_forces"] * units.Bohr / units.Hartree / units.Bohr
    positions = [atoms.positions for atoms in frames] + [frames[0].positions] * missing
    with h5py.File(path, "w") as file:
        group = file.create_group("C1H2O1")
        group["atomic_numbers"] = frames[0].numbers.astype("u1")
        group["coordinates"] = np.array(positions)
        group["hf_qz.energy"] = np.nan_to_num(0.99 * energies, nan=-113.0)
        group["mp2_qz.corr_energy"] = 0.01 * energies
        group["wb97x_dz.energy"] = np.nan_to_num(energies, nan=-114.0)
        group["wb97x_dz.forces"] = forces


@pytest.fixture(scope="module")
def options() -> dict[str, Any]:
    return {
        "train_file": "train.xyz",
        "test_file": "test.xyz",
        "valid_fraction": 0.2,
        "E0s": E0S,
        "loss": "piwsl_taylor",
        "piwsl_max_displacement": 0.3,
        "scaling": "rms_forces_scaling",
        "max_num_epochs": 1,
    }


def test_training_from_hdf5_is_training_from_the_same_frames_in_extxyz(
    options: dict[str, Any], frames: list[ase.Atoms], tmp_path: Path
) -> None:
    folder = tmp_path / "hdf5"
    folder.mkdir()
    write_ani(folder / "train.h5", frames[:FRAMES], missing=5)
    write_ani(folder / "test.h5", frames[FRAMES:], missing=0)
    changes = {
        "train_file": "train.h5",
        "test_file": "test.h5",
        "energy_key": ENERGY_KEY,
        "forces_key": "wb97x_dz.forces",
        "num_workers": 1,
    }
    from_hdf5 = train(folder, {**options, **changes})
    ase.io.write(tmp_path / "train.xyz", frames[:FRAMES])
    ase.io.write(tmp_path / "test.xyz", frames[FRAMES:])
    same = train(tmp_path, options)
    one, other = (without_time(run.records) for run in (from_hdf5, same))
    assert len(one) == len(other)
    for record, expected in zip(one, other, strict=True):
        assert record.keys() == expected.keys()
        for name, value in record.items():
            number = isinstance(value, float)
            assert value == (pytest.approx(expected[name], rel=1e-4) if number else expected[name])
    tables = [re.findall(r"^\|.*\|$", run.log, re.MULTILINE) for run in (from_hdf5, same)]
    assert tables[0] == tables[1]
    assert any("Default_Default" in row for row in tables[0])
    log = from_hdf5.log
    assert f"train.h5: energy: '{ENERGY_KEY}' (hartree), 20 of 25 frames" in log
    assert "forces: 'wb97x_dz.forces'" in log
    assert f"reference energies of atoms (E0s): {E0S}" in log
    assert "5 of 25 frames of train.h5 have none of the labels" in log


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")  # e3nn 0.4.4 loads models in such ways
def test_the_difference_to_a_cheaper_energy_is_learnt_and_marked_in_the_model(
    frames: list[ase.Atoms], tmp_path: Path
) -> None:
    with ase.db.connect(tmp_path / "frames.db") as database:
        for atoms in frames:
            energy = float(atoms.info["REF_energy"])
            plain = ase.Atoms(atoms.numbers, atoms.positions)
            database.write(plain, ccsdt=energy, hf=energy + 13.0 + 0.1 * plain.positions[0, 2])
    options = {
        "train_file": "frames.db",
        "valid_fraction": 0.2,
        "energy_key": "ccsdt",
        "piwsl_low_energy_key": "hf",
        "E0s": "average",
        "loss": "piwsl_supervised",
        "scaling": None,  # so that what learns is chosen
        "energy_weight": None,
        "max_num_epochs": 1,
    }
    run = train(tmp_path, options)
    assert "the model predicts the difference 'ccsdt' minus 'hf', not a whole energy" in run.log
    assert "--scaling was not given: std_scaling is taken" in run.log
    assert "WeightedEnergyForcesLoss(energy_weight=1000.000" in run.log
    model = torch.load(tmp_path / "run.model", weights_only=False)
    assert model.piwsl_difference_to == "hf"
    energies = model.atomic_energies_fn.atomic_energies
    hydrogen, carbon, oxygen = energies.flatten().tolist()
    assert 2 * hydrogen + carbon + oxygen == pytest.approx(-13.0, abs=0.5)


def test_the_teachers_forces_train_to_the_end_and_never_enter_the_validation(
    atoms_energies: str, tmp_path: Path
) -> None:
    options = {
        "train_file": datasets.path(f"{DATA}/train.xyz"),
        "valid_fraction": 0.1,
        "E0s": atoms_energies,
        "loss": "piwsl_teacher",
        "batch_size": 45,
        "max_num_epochs": 1,
    }
    run = train(tmp_path, options)
    assert "the teacher's forces are trained on to the end" in run.log
    assert len(run.steps) == 4
    for step in run.steps:
        assert step["piwsl_weak_forces"] > 0.0
        added = step["piwsl_weak_forces_weight"] * step["piwsl_weak_forces"]
        assert step["loss"] == pytest.approx(step["base_loss"] + added, rel=1e-6)
    for record in run.validations:
        assert np.isfinite(record["loss"])
        assert "rmse_f" not in record


def write_lmdb(path: Path, frames: list[ase.Atoms], keep: slice) -> None:
    """Frames in ASE's layout; those of ``keep`` alone have an energy, the first has forces."""
    from mace.tools.fairchem_dataset.lmdb_dataset_tools import LMDBDatabase

    with LMDBDatabase(path, readonly=False) as database:
        for number, atoms in enumerate(frames):
            labels: dict[str, Any] = {}
            if number in range(len(frames))[keep]:
                labels["energy"] = float(atoms.info["REF_energy"])
            if number == 0:
                labels["forces"] = np.full((len(atoms), 3), 0.1)
            plain = ase.Atoms(atoms.numbers, atoms.positions)
            plain.calc = SinglePointCalculator(plain, **labels)
            database.write(plain, data={})


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")  # e3nn 0.4.4 at its import
def test_labels_missing_from_lmdb_are_never_zeros_and_the_terms_act(
    data: dict[str, Any], atoms_energies: str, tmp_path: Path
) -> None:
    train_frames = ase.io.read(data["train_file"], index="3:")
    write_lmdb(tmp_path / "train.aselmdb", train_frames, slice(0, None, 2))
    write_lmdb(tmp_path / "valid.aselmdb", ase.io.read(data["valid_file"], index=":"), slice(None))
    files = {name: f"{name.split('_')[0]}.aselmdb" for name in ("train_file", "valid_file")}
    options = {"atomic_numbers": "[1, 6, 8]", "E0s": atoms_energies, "loss": "piwsl", **files}
    run = train(tmp_path, {**options, "piwsl_max_displacement": 0.3, "max_num_epochs": 1})
    assert len(run.steps) == 3
    for step in run.steps:
        check_terms(step, "taylor", "conservative")
        # with zeros in place of six energies of -3100 eV it would be above 1e8
        assert step["base_loss"] < 1e6
