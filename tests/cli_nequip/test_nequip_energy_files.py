"""`nequip-train` on files of energies: ANI's and SPICE's HDF5, and few forces beside weak ones."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from energy_files import NAMES, ani_file, conformers, energy, forces, spice_file
from nequip_commands import EPOCH, NEQUIP_TRAIN, STEP, Trained, start_many, train

FADE = 7
FILES: dict[str, Any] = {
    "data._target_": "piwsl_plugins.hosts.nequip.PiwslFilesDataModule",
    "~data.key_mapping": "",
    "data.stats_manager.atomic_energies": "fit",
    "run": "[train,test]",
}
SPICE = {"+data.labels": "{energy: dft_total_energy, forces: forces}"}
COMPOSITE = "hf_qz.energy + mp2_qz.corr_energy"
ANI = {"+data.labels": f"{{energy: '{COMPOSITE}'}}"}
WEAK = {
    "+data.labels": "{energy: e_high, forces: f_high, weak_forces: f_low}",
    "training_module.loss.terms": "[weak_forces]",
    "+training_module.loss.coeffs.forces": 0.1,
    "~training_module.loss.coeffs.piwsl_taylor": "",
    "+training_module.piwsl.weak_forces_weight": 0.02,
    "+data.stats_manager.forces": True,
    "training_module.model.per_type_energy_scales": "'${training_data_stats:forces_rms}'",
    "training_module.val_metrics._target_": "nequip.train.EnergyForceMetrics",
}
ENERGIES_ALONE = {"training_module.test_metrics": "'${training_module.val_metrics}'"}


def parts(path: Path, train: float, val: float, test: Path) -> dict[str, Any]:
    return {
        "data.split_dataset.file_path": path,
        "data.split_dataset.train": train,
        "data.split_dataset.val": val,
        "data.test_file_path": test,
    }


def mixed_file(path: Path) -> Path:
    """Forty frames: energies, weak forces in most, forces in a tenth."""
    frames = [atoms for name in NAMES for atoms in conformers(name, 8)]
    for number, atoms in enumerate(frames):
        atoms.info["e_high"] = energy(atoms)
        if number % 10 == 0:
            atoms.arrays["f_high"] = forces(atoms)
        if number % 4:
            atoms.arrays["f_low"] = 0.5 * np.cos(3.0 * atoms.positions)
    ase.io.write(path, frames)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    missing = {"H2O": [0, 1, 2], "CO": range(6)}
    broken = folder / "broken.hdf5"
    whole = spice_file(folder / "spice.hdf5", frames=6).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    for atoms in (test := conformers("H2CO", 4, seed=8)):
        atoms.info["e_high"] = energy(atoms)
        atoms.arrays["f_high"] = forces(atoms)
    test[0].arrays.pop("f_high")
    ase.io.write(folder / "test.xyz", test)
    return {
        "spice": folder / "spice.hdf5",
        "spice_test": spice_file(folder / "spice_test.hdf5", frames=2, seed=5),
        "ani": ani_file(folder / "ani.h5", frames=6, missing=missing),
        "mixed": mixed_file(folder / "mixed.xyz"),
        "mixed_test": folder / "test.xyz",
        "broken": broken,
    }


BAD: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "key": (
        {"+data.labels": "{energy: ccsd}"},
        (
            r"spice\.hdf5: no frame has an energy under data\.labels\.energy 'ccsd'",
            "dft_total_energy",
        ),
    ),
    "label": (
        {"+data.labels": "{total_energy: dft_total_energy}"},
        ("data.labels: write 'energy' for 'total_energy'",),
    ),
    "broken": (
        {**SPICE, "data.split_dataset.file_path": "broken"},
        (r"broken\.hdf5", "truncated or corrupt HDF5 file"),
    ),
    "too_many": (
        {**SPICE, "data.split_dataset.train": 29, "data.split_dataset.val": 2},
        ("train: 29, val: 2", "its 30 usable frames"),
    ),
    "overlap": (
        {**SPICE, "data.test_file_path": "spice"},
        ("frames of the test data are in the training data", "allow_overlap: true"),
    ),
    "weight_of_no_term": (
        {**SPICE, "training_module.loss.terms": "[weak_forces]"},
        ("coeffs.piwsl_taylor contradicts terms",),
    ),
    "no_weak_labels": (
        {
            **SPICE,
            "training_module.loss.terms": "[weak_forces]",
            "~training_module.loss.coeffs.piwsl_taylor": "",
        },
        ("none of the 24 training frames has weak forces", r"labels: \{weak_forces: KEY\}"),
    ),
    "no_forces": (
        {
            "+data.labels": "{energy: dft_total_energy}",
            "+training_module.loss.coeffs.forces": 1,
        },
        ("forces_mse reads the label forces, and none of the 24 training frames has it",),
    ),
    "no_element": (
        {**SPICE, "type_names": "[H,C,O,N]"},
        ("no reference energy .E0. of N",),
    ),
}


@pytest.fixture(scope="module")
def runs(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """All the other runs."""
    spice = {**FILES, **parts(files["spice"], 0.8, 0.2, files["spice_test"])}
    wanted: dict[str, dict[str, Any]] = {
        "ani": {
            **FILES,
            **ANI,
            **ENERGIES_ALONE,
            **parts(files["ani"], 0.8, 0.2, files["ani"]),
            "+data.allow_overlap": True,
        },
        "weak": {
            **FILES,
            **WEAK,
            **parts(files["mixed"], 32, 8, files["mixed_test"]),
        },
    }
    for name, (options, _) in BAD.items():
        wanted[name] = {
            **spice,
            **{key: files.get(value, value) for key, value in options.items()},
        }
    return start_many(tmp_path_factory.mktemp("runs"), wanted)


def test_a_spice_file_trains_by_the_command_itself(files: dict[str, Path], tmp_path: Path) -> None:
    options = {**FILES, **SPICE, **parts(files["spice"], 0.8, 0.2, files["spice_test"])}
    options["+data.train_dataloader.num_workers"] = 2
    run = train(tmp_path, options, program=NEQUIP_TRAIN)
    assert "30 frames (SPICE HDF5); labels: total_energy 30, forces 30" in run.stdout
    assert "reference energies of the atoms (E0s, eV), of the least-squares fit to 24" in run.stdout
    assert len(run.steps()) == 2 * 5
    assert 0.0 < run.rows()[-1]["test0_epoch/forces_rmse"] < 100.0
    assert run.epochs()[-1][f"{EPOCH}piwsl_taylor"] > 0.0


def test_an_ani_file_with_missing_parts_of_a_sum_trains(runs: dict[str, Trained]) -> None:
    run = runs["ani"].check()
    assert "30 frames (ANI HDF5); labels: total_energy 21" in run.stdout
    assert "9 frames without any of these labels are left out" in run.stdout
    # 0.8 of the 21 frames that are left, five a step
    assert len(run.steps()) == 2 * 4
    assert all(math.isfinite(value) for row in run.rows() for value in row.values())


def test_few_forces_train_beside_weak_ones_that_fade(runs: dict[str, Trained]) -> None:
    run = runs["weak"].check()
    steps = run.steps()
    assert len(steps) == 2 * FADE
    for row in steps:
        known = {name: row[f"{STEP}{name}"] for name in ("forces_mse", "piwsl_weak_forces")}
        errors = {name: 0.0 if math.isnan(value) else value for name, value in known.items()}
        expected = (
            row[f"{STEP}per_atom_energy_mse"]
            + 0.1 * errors["forces_mse"]
            + 0.02 * errors["piwsl_weak_forces"]
        ) / 1.12
        assert row[f"{STEP}weighted_sum"] == pytest.approx(expected, rel=1e-6)
        assert errors["forces_mse"] > 0.0 or math.isnan(known["forces_mse"])
    weak = [row[f"{STEP}piwsl_weak_forces"] for row in steps]
    assert all(value > 0.0 for value in weak[:FADE] if not math.isnan(value))
    assert all(value == 0.0 for value in weak[FADE:])
    # four of forty frames have forces, and in a step there are five
    with_forces = sum(not math.isnan(row[f"{STEP}forces_mse"]) for row in steps)
    assert 1 <= with_forces <= 2 * 4


def test_errors_of_mixed_data_are_those_of_the_frames_that_have_the_label(
    runs: dict[str, Trained],
) -> None:
    rows = runs["weak"].check().rows()
    for name in ("forces_rmse", "forces_mae", "total_energy_rmse", "weighted_sum"):
        assert 0.0 < rows[-1][f"test0_epoch/{name}"] < 100.0
    validation = [row for row in rows if "val0_epoch/total_energy_rmse" in row]
    assert all(row["val0_epoch/weighted_sum"] > 0.0 for row in validation)


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_refused_in_one_message(runs: dict[str, Trained], case: str) -> None:
    run = runs[case]
    assert run.status != 0
    assert "Traceback" not in run.stderr, run.stderr
    assert (run.stdout + run.stderr).count("error: ") == 1, run.stderr
    text = run.stderr.split("nequip-train: error: ")[1]
    for expected in BAD[case][1]:
        assert re.search(expected, text), text
