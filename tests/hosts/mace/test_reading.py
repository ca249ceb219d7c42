"""A head's files through MACE's own loading: every format, key and unit, or one message."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import h5py
import numpy as np
import pytest
from ase import units
from small_mace import arguments

from piwsl_plugins import datasets
from piwsl_plugins.data.frames import Frame
from piwsl_plugins.hosts.mace import reading, run

Load = Callable[..., Any]
NAME = "formaldehyde_ccsdt_cbs"
E0S = "{1: -13.6, 6: -1028.4, 8: -2041.0}"


@pytest.fixture(scope="module")
def molecules() -> list[ase.Atoms]:
    """Thirty frames of formaldehyde with a coupled-cluster energy, eV."""
    frames = ase.io.read(datasets.path(f"{NAME}/train.xyz"), index=":30")
    assert isinstance(frames, list)
    return frames


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """MACE's own way from the command line to a head's configurations."""

    def load_head(*words: str, head: dict[str, Any] | None = None, keep: bool = False) -> Any:
        from mace.cli import run_train

        args = arguments("--loss", "piwsl_supervised", "--batch_size", "4", *words)
        args.key_specification = run_train.KeySpecification()
        run_train.update_keyspec_from_kwargs(args.key_specification, vars(args))
        args.heads = {"Default": {"E0s": args.E0s, **(head or {})}}
        files = [[path] if path else None for path in (args.valid_file, args.test_file)]
        paths = [args.train_file, *(path for found in files if found for path in found)]
        assert all(run_train.check_path_ase_read(path) for path in paths)
        return run_train.get_dataset_from_xyz(
            work_dir=str(tmp_path),
            train_path=[args.train_file],
            valid_path=files[0],
            valid_fraction=args.valid_fraction,
            config_type_weights={"Default": 1.0, "hot": 3.0},
            test_path=files[1],
            seed=args.seed,
            key_specification=args.key_specification,
            head_name="Default",
            keep_isolated_atoms=keep,
            prefix="test",
        )

    return load_head


def write_xyz(path: Path, frames: Sequence[ase.Atoms], change: Any = None) -> Path:
    copies = [atoms.copy() for atoms in frames]
    for number, (atoms, copy) in enumerate(zip(frames, copies, strict=True)):
        copy.info = dict(atoms.info)
        if change is not None:
            change(number, copy)
    ase.io.write(path, copies)
    return path


def number_of(config: Any, molecules: Sequence[ase.Atoms]) -> int:
    """Which of the molecules a configuration is."""
    return next(
        n for n, m in enumerate(molecules) if np.allclose(m.positions, config.positions, atol=1e-6)
    )


def in_other_units(number: int, atoms: ase.Atoms) -> None:
    atoms.info["E"] = atoms.info.pop("REF_energy") / units.Hartree
    atoms.info |= {"config_type": "hot", "total_charge": 1.0, "config_energy_weight": 0.5}
    if number % 2:
        atoms.arrays["gfn2"] = np.full((len(atoms), 3), 0.01 * number)


def test_units_weights_charges_and_weak_forces_reach_mace(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    path = write_xyz(tmp_path / "units.xyz", molecules, in_other_units)
    words = ["--train_file", str(path), "--valid_fraction", "0.2", "--energy_key", "E"]
    weak = ["--piwsl_weak_forces_key", "gfn2", "--piwsl_weak_forces_unit", "eV/angstrom"]
    collections, _ = load(*words, *weak, "--E0s", E0S, head={"energy_unit": "hartree"})
    for config in collections.train:
        number = number_of(config, molecules)
        reference = molecules[number].info["REF_energy"]
        assert config.properties["energy"] == pytest.approx(reference, rel=1e-9)
        assert config.properties["total_charge"] == 1.0
        assert (config.weight, config.property_weights["energy"]) == (3.0, 0.5)
        assert config.property_weights["forces"] == 0.0
        found = config.properties.get("piwsl_weak_forces")
        assert (found is not None) == (number % 2 == 1)
        if found is not None:
            np.testing.assert_allclose(found, 0.01 * number)
    assert not any("piwsl_weak_forces" in config.properties for config in collections.valid)
    with pytest.raises(SystemExit, match="did you mean 'piwsl_length_unit'"):
        load(*words, head={"piwsl_lenght_unit": "bohr"})


def test_virials_are_minus_the_volume_times_the_stress(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    stress = np.diag([0.01, -0.02, 0.03])

    def in_a_cell(_: int, atoms: ase.Atoms) -> None:
        atoms.set_cell([9.0, 9.0, 10.0])
        atoms.pbc = True
        atoms.info["REF_virials"] = -810.0 * stress
        atoms.info["REF_stress"] = stress

    path = write_xyz(tmp_path / "cells.xyz", molecules, in_a_cell)
    words = ["--train_file", str(path), "--E0s", E0S, "--valid_fraction", "0.2"]
    collections, _ = load(*words)
    np.testing.assert_allclose(collections.train[0].properties["stress"], stress)
    collections, _ = load(*words, "--piwsl_base_loss", "virials")
    np.testing.assert_allclose(collections.train[0].properties["virials"], -810.0 * stress)


def test_the_model_learns_the_difference_to_a_low_energy(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    def with_low_energy(number: int, atoms: ase.Atoms) -> None:
        atoms.info["low"] = atoms.info["REF_energy"] + 2.0 + 0.1 * atoms.positions[0, 0]
        atoms.arrays["REF_forces"] = np.full((len(atoms), 3), 0.3)
        if number % 3:
            atoms.arrays["low_forces"] = np.full((len(atoms), 3), 0.1)

    path = write_xyz(tmp_path / "low.xyz", molecules, with_low_energy)
    words = ["--train_file", str(path), "--valid_fraction", "0.2", "--piwsl_low_energy_key", "low"]
    words += ["--piwsl_allow_unusual_units", "--piwsl_low_forces_key", "low_forces"]
    collections, energies = load(*words, "--E0s", "average")
    for config in collections.train:
        number = number_of(config, molecules)
        expected = -2.0 - 0.1 * molecules[number].positions[0, 0]
        assert config.properties["energy"] == pytest.approx(expected, abs=1e-6)
        assert config.property_weights["forces"] == float(number % 3 != 0)
        if config.property_weights["forces"]:
            np.testing.assert_allclose(config.properties["forces"], 0.2)
    assert energies[6] + 2 * energies[1] + energies[8] == pytest.approx(-2.0, abs=0.3)


@pytest.mark.parametrize("marked", [True, False])
def test_isolated_atoms_give_their_energies_and_are_not_trained_on(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path, marked: bool
) -> None:
    atoms = ase.io.read(datasets.path(f"{NAME}/isolated_atoms.xyz"), index=":")
    for frame in atoms:
        frame.info.pop("config_type", None)
        if marked:
            frame.info["config_type"] = "IsolatedAtom"
    expected = {int(a.numbers[0]): a.info["REF_energy"] for a in atoms}
    path = write_xyz(tmp_path / "all.xyz", [*atoms, *molecules])
    words = ["--train_file", str(path), "--valid_fraction", "0.2"]
    collections, energies = load(*words)
    assert energies == pytest.approx(expected)
    assert len(collections.train) + len(collections.valid) == 30
    _, energies = load(*words, "--E0s", E0S)
    # MACE's own rule for marked atoms: before --E0s
    assert energies == pytest.approx(expected if marked else {1: -13.6, 6: -1028.4, 8: -2041.0})
    collections, _ = load(*words, keep=True)
    assert len(collections.train) + len(collections.valid) == 33
    write_xyz(path, [*atoms[1:], *molecules])
    with pytest.raises(SystemExit, match=r"no reference energy \(E0\) of"):
        load(*words)


@pytest.mark.parametrize("given", ["{H: -13.5, C: -1030.0, 8: -2040.0, Xe: 7}", "atoms.json"])
def test_atomic_energies_by_symbol_or_file_are_those_of_the_models_elements(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path, given: str
) -> None:
    (tmp_path / "atoms.json").write_text('{"1": -13.5, "6": -1030.0, "8": -2040.0, "54": 7}')
    path = write_xyz(tmp_path / "all.xyz", molecules)
    given = str(tmp_path / given) if given.endswith("json") else given
    _, energies = load("--train_file", str(path), "--E0s", given)
    assert energies == {1: -13.5, 6: -1030.0, 8: -2040.0}


def test_what_is_left_to_mace_is_left(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    from mace.tools.scripts_utils import check_path_ase_read

    path = write_xyz(tmp_path / "all.xyz", molecules)
    words = ["--train_file", str(path), "--foundation_model", "x"]
    assert load(*words, "--E0s", "foundation")[1] is None  # MACE takes these from the model
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file.create_group("config_batch_0").create_group("config_0")
    assert check_path_ase_read(str(tmp_path / "own.h5")) is False
    ani = str(tmp_path / "ani.h5")
    with h5py.File(ani, "w") as file:
        file.create_group("C1H2O1")
    assert check_path_ase_read(ani) is True
    run._active = None
    assert check_path_ase_read(ani) is False


BAD = {
    "missing_key": (["--energy_key", "E_ccsd"], r"--energy_key.*E_ccsd.*REF_energy"),
    "no_file": (["--valid_file", "absent.xyz"], r"absent\.xyz: no such file"),
    "no_e0s": (["--E0s", ""], r"no reference energies of atoms .*--E0s is not given"),
    "no_fraction": (["--valid_fraction", "1.5"], r"--valid_fraction: got 1\.5"),
    "contradiction": (["--piwsl_low_forces_key", "f"], r"'f' without --piwsl_low_energy_key"),
    "large_batch": (["--batch_size", "17"], r"--batch_size 17 is more than the 16 training"),
    "close_atoms": (
        ["--loss", "piwsl", "--piwsl_max_displacement", "0.7"],
        r"frame \d+, atoms \d \(.\) and .*--piwsl_max_displacement below 0\.\d+",
    ),
    "overlap": ([], r"5 of 10 frames of the test data are in the training data.*test\.xyz, frame"),
    "new_element": ([], r"test\.xyz, frame 0 has F, which no training"),
    "units": ([], r"hartree.*--piwsl_energy_unit"),
    "lone_frame": ([], r"no validation frames .*--valid_file"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_message(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path, kind: str
) -> None:
    more, expected = BAD[kind]
    train, test = molecules[: 1 if kind == "lone_frame" else 20], molecules[20:]
    if kind == "overlap":
        test = molecules[15:25]
    if kind == "new_element":
        test = [ase.Atoms([6, 9, 1, 1], atoms.positions, info=atoms.info) for atoms in test]
    if kind == "units":
        for number, atoms in enumerate(train):
            train[number] = ase.Atoms(atoms, info={"REF_energy": -114.0 - 0.01 * number})
    words = ["--train_file", str(write_xyz(tmp_path / "a@1 b.xyz", train))]
    words += ["--test_file", str(write_xyz(tmp_path / "test.xyz", test))]
    with pytest.raises(SystemExit) as error:
        load(*words, "--E0s", E0S, "--valid_fraction", "0.2", *more)
    message = str(error.value)
    assert message.startswith("mace_run_train: error: ")
    assert re.search(expected, message, re.DOTALL), message


def test_copies_between_training_and_validation_are_pointed_out(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    train = write_xyz(tmp_path / "train.xyz", molecules[:20])
    valid = write_xyz(tmp_path / "valid.xyz", molecules[18:])
    load("--train_file", str(train), "--valid_file", str(valid), "--E0s", E0S)
    assert "2 of 12 validation frames are training frames as well" in caplog.text
    assert f"{valid}, frame 0 is {train}, frame 18" in caplog.text


def test_frames_without_labels_stay_where_a_term_acts_on_them_and_never_in_validation(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    path = write_xyz(tmp_path / "a.xyz", molecules, lambda n, a: a.info.clear() if n > 9 else None)
    words = ["--train_file", str(path), "--E0s", E0S, "--valid_fraction", "0.4"]
    collections, _ = load(*words)
    assert len(collections.train) + len(collections.valid) == 10
    collections, _ = load(*words, "--loss", "piwsl")
    assert len(collections.train) == 18
    assert all(config.property_weights["energy"] for config in collections.valid)


def test_the_teacher_sees_the_training_frames_alone_and_labels_them(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Frame] = []
    trust = [0.0, 0.2, 0.5, 1.0]

    def teach(frames: list[Frame], *_: Any) -> list[Frame]:
        seen[:] = frames
        label = {"weak_forces_weights": np.array(trust), "weak_forces": np.ones((4, 3))}
        return [dataclasses.replace(f, labels={**f.labels, **label}) for f in frames]

    monkeypatch.setattr(reading, "teach", teach)
    path = write_xyz(tmp_path / "all.xyz", molecules, lambda _, a: a.info.update(low=-3100.0))
    words = ["--train_file", str(path), "--E0s", E0S, "--valid_fraction", "0.4"]
    words += ["--loss", "piwsl_teacher", "--piwsl_low_energy_key", "low"]
    train = load(*words)[0].train
    assert [frame.number for frame in seen] == [number_of(config, molecules) for config in train]
    assert all(frame.labels["low_energy"] == -3100.0 for frame in seen)
    for config in train:  # on whole energies
        assert config.properties["energy"] < -3000.0
        assert config.properties["piwsl_weak_weights"].tolist() == trust
    # a teacher that steps aside leaves a plain training
    monkeypatch.setattr(reading, "teach", lambda *_: None)
    train = load(*words)[0].train
    assert not any("piwsl_weak_forces" in config.properties for config in train)
