"""`mace_run_train` from files as the field stores them, with missing labels and weak forces."""

from __future__ import annotations

import re
from pathlib import Path

import ase
import ase.db
import ase.io
import h5py
import numpy as np
import pytest
import torch
from ase import units
from commands import Trained, train, without_time

from piwsl_plugins import datasets

FRAMES, TEST = 20, 4
ENERGY_KEY = "hf_qz.energy + mp2_qz.corr_energy"
E0S = "ani1ccx-ccsdt-cbs"


@pytest.fixture(scope="module")
def frames() -> list[ase.Atoms]:
    """Frames with an energy in eV, and random forces in every other frame of the first ten."""
    found = ase.io.read(
        datasets.path("formaldehyde_ccsdt_cbs/train.xyz"), index=slice(FRAMES + TEST)
    )
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
def from_hdf5(frames: list[ase.Atoms], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training from ANI HDF5, and a test set in it, with a process that reads."""
    folder = tmp_path_factory.mktemp("hdf5")
    write_ani(folder / "train.h5", frames[:FRAMES], missing=5)
    write_ani(folder / "test.h5", frames[FRAMES:], missing=0)
    options = {
        "train_file": "train.h5",
        "test_file": "test.h5",
        "valid_fraction": 0.2,
        "energy_key": ENERGY_KEY,
        "forces_key": "wb97x_dz.forces",
        "E0s": E0S,
        "loss": "piwsl_taylor",
        "piwsl_max_displacement": 0.3,
        "scaling": "rms_forces_scaling",
        "num_workers": 1,
        "plot": "True",
    }
    return train(folder, options)


def test_training_from_hdf5_is_training_from_the_same_frames_in_extxyz(
    from_hdf5: Trained, frames: list[ase.Atoms], tmp_path: Path
) -> None:
    ase.io.write(tmp_path / "train.xyz", frames[:FRAMES])
    ase.io.write(tmp_path / "test.xyz", frames[FRAMES:])
    options = {
        "train_file": "train.xyz",
        "test_file": "test.xyz",
        "valid_fraction": 0.2,
        "E0s": E0S,
        "loss": "piwsl_taylor",
        "piwsl_max_displacement": 0.3,
        "scaling": "rms_forces_scaling",
    }
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


def test_the_user_is_told_what_was_read_from_hdf5(from_hdf5: Trained) -> None:
    log = from_hdf5.log
    assert "train.h5: 5 of 25 frames have none of the labels that are read" in log
    assert "train.h5: 20 training frames, 20 with energies, 5 with forces" in log
    assert f"atomic energies (E0s) are those of the table {E0S}" in log
    assert "Atomic Numbers used: [1, 6, 8]" in log


def test_training_with_labels_missing_is_plotted(from_hdf5: Trained) -> None:
    (figure,) = (from_hdf5.folder / "results").glob("*.png")
    assert figure.stat().st_size > 10_000


def test_few_forces_many_energies_and_weak_forces_train_together(
    frames: list[ase.Atoms], tmp_path: Path
) -> None:
    steps, epochs = 4, 3
    copies = [atoms.copy() for atoms in frames[:FRAMES]]
    for number, (copy, atoms) in enumerate(zip(copies, frames, strict=False)):
        copy.info = {"E": atoms.info["REF_energy"] / units.Hartree}
        if number % 4 == 3:
            del copy.info["E"]
        if number % 3:
            copy.arrays["gfn2"] = np.full((len(copy), 3), 0.01)
    ase.io.write(tmp_path / "train.xyz", copies[:16])
    ase.io.write(tmp_path / "valid.xyz", copies[16:])
    options = {
        "train_file": "train.xyz",
        "valid_file": "valid.xyz",
        "energy_key": "E",
        "energy_unit": "hartree",
        "piwsl_forces_unit": "eV/angstrom",
        "piwsl_weak_forces_key": "gfn2",
        "piwsl_weak_forces_unit": "hartree/bohr",
        "piwsl_weak_forces_weight": 10,
        "E0s": "average",
        "loss": "piwsl_supervised",
        "scaling": "std_scaling",
        "ema": True,
        "swa": True,
        "start_swa": 2,
        "max_num_epochs": epochs,
    }
    run = train(tmp_path, options)
    assert "16 training frames, 12 with energies, 5 with forces, 10 with weak forces" in run.log
    assert "4 frames without an energy took no part in the fit of the E0s" in run.log
    assert "the fit of the E0s is underdetermined" in run.log
    assert len(run.steps) == steps * epochs
    for number, step in enumerate(run.steps):
        if number >= 6:  # faded, in stage two as well
            assert "piwsl_weak_forces" not in step
            assert step["loss"] == pytest.approx(step["base_loss"])
            continue
        assert step["piwsl_weak_forces_weight"] == pytest.approx(10.0 * (1 - number / 6))
        # weak forces of 0.01 hartree/bohr, and nearly none of the model yet, in 10 of 16 frames
        added = step["piwsl_weak_forces_weight"] * step["piwsl_weak_forces"]
        assert step["loss"] == pytest.approx(step["base_loss"] + added)
    weak = (0.01 * units.Hartree / units.Bohr) ** 2
    mean = sum(step["piwsl_weak_forces"] for step in run.steps[:steps]) / steps
    assert 0.2 * weak < mean < 5.0 * weak
    for record in run.validations:
        assert np.isfinite(record["loss"])
        assert record["rmse_e_per_atom"] < 1.0


# e3nn 0.4.4 loads models in ways that torch deprecates
@pytest.mark.filterwarnings("ignore:.*torch.load:UserWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.slow
def test_a_database_trains_with_lbfgs_on_the_difference_to_a_cheaper_energy(
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
        "scaling": "std_scaling",
        "lbfgs": True,
        "max_num_epochs": 1,
    }
    run = train(tmp_path, options)
    assert "the model predicts the difference 'ccsdt' minus 'hf', not a whole energy" in run.log
    assert "frames.db: 24 training frames, 24 with energies" in run.log
    assert run.validations[-1]["loss"] <= run.validations[0]["loss"]
    assert all("base_loss" not in step for step in run.steps)
    model = torch.load(tmp_path / "run.model", weights_only=False)
    assert model.piwsl_difference_to == "hf"
    energies = model.atomic_energies_fn.atomic_energies
    hydrogen, carbon, oxygen = energies.flatten().tolist()
    assert 2 * hydrogen + carbon + oxygen == pytest.approx(-13.0, abs=0.5)
