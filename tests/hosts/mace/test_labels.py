"""Labels as MACE reads them: a missing one has no weight, a bad one is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from small_mace import make_items, molecules

from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.labels import check_dataset

Start = Callable[..., run.Run]


def load(path: Path, *, training: bool = True, **keys: str) -> list[Any]:
    """Read a file as MACE does."""
    from mace.data import KeySpecification, load_from_xyz, update_keyspec_from_kwargs

    names = {
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        "stress_key": "REF_stress",
        "virials_key": "REF_virials",
        "dipole_key": "REF_dipole",
        "head_key": "head",
        **keys,
    }
    specification = update_keyspec_from_kwargs(KeySpecification(), names)
    _, configs = load_from_xyz(
        file_path=str(path), key_specification=specification, extract_atomic_energies=training
    )
    return configs


def write(path: Path, *, count: int = 4) -> list[ase.Atoms]:
    """Energies under REF_energy, no forces."""
    frames = [atoms for _ in range(count // 2) for atoms in molecules()]
    for number, atoms in enumerate(frames):
        atoms.info["REF_energy"] = -10.0 - number
    ase.io.write(path, frames)
    return frames


def test_forces_that_ase_does_not_find_get_no_weight(start: Start, tmp_path: Path) -> None:
    # --forces_key forces: MACE keeps weight 1 and would train on zero forces
    path = tmp_path / "energies.xyz"
    frames = molecules()
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=-10.0)
    ase.io.write(path, frames)
    bare = load(path, energy_key="energy", forces_key="forces")
    assert [config.property_weights["forces"] for config in bare] == [1.0, 1.0]
    active = start("--loss", "piwsl")
    configs = load(path, energy_key="energy", forces_key="forces")
    assert [config.property_weights["forces"] for config in configs] == [0.0, 0.0]
    assert [config.property_weights["energy"] for config in configs] == [1.0, 1.0]
    assert (active.counts.frames, active.counts.energies, active.counts.forces) == (2, 2, 0)


def test_partial_labels_are_counted_and_kept(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "mixed.xyz"
    frames = write(path)
    frames[0].arrays["REF_forces"] = np.ones((len(frames[0]), 3))
    del frames[3].info["REF_energy"]
    ase.io.write(path, frames)
    active = start("--loss", "piwsl")
    configs = load(path)
    assert (active.counts.frames, active.counts.energies, active.counts.forces) == (4, 3, 1)
    assert [config.property_weights["forces"] for config in configs] == [1.0, 0.0, 0.0, 0.0]


def test_an_infinite_energy_is_named(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "bad.xyz"
    frames = write(path)
    frames[2].info["REF_energy"] = float("inf")
    isolated = ase.Atoms("H", info={"config_type": "IsolatedAtom", "REF_energy": -13.6})
    ase.io.write(path, [isolated, *frames])
    start("--loss", "piwsl")
    with pytest.raises(SystemExit, match=r"bad\.xyz, frame 3, energy: 'REF_energy' is not finite"):
        load(path)


def test_labels_that_are_nan_are_missing_and_named(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # the bare host keeps their weight, and its loss is NaN
    path = tmp_path / "nan.xyz"
    frames = write(path)
    frames[2].info["REF_energy"] = float("nan")
    frames[0].arrays["REF_forces"] = np.full((len(frames[0]), 3), np.nan)
    isolated = ase.Atoms("H", info={"config_type": "IsolatedAtom", "REF_energy": -13.6})
    ase.io.write(path, [isolated, *frames])
    bare = load(path)
    assert bare[2].property_weights["energy"] == bare[0].property_weights["forces"] == 1.0
    active = start("--loss", "piwsl")
    configs = load(path)
    assert [config.property_weights["energy"] for config in configs] == [1.0, 1.0, 0.0, 1.0]
    assert configs[0].property_weights["forces"] == 0.0
    assert configs[2].properties["energy"] is configs[0].properties["forces"] is None
    assert (active.counts.frames, active.counts.energies, active.counts.forces) == (4, 3, 0)
    assert "nan.xyz, frame 1, " in caplog.text
    assert "nan.xyz, frame 3" in caplog.text


def test_forces_that_are_no_numbers_are_named(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "bad.xyz"
    frames = write(path)
    for atoms in frames:
        atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
    frames[1].arrays["REF_forces"][2, 0] = np.nan
    ase.io.write(path, frames)
    start("--loss", "piwsl")
    with pytest.raises(SystemExit, match=r"frame 1, forces: 'REF_forces' is not finite"):
        load(path, training=False)


def test_a_file_without_energies_lists_the_keys_it_has(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "other.xyz"
    frames = write(path)
    for atoms in frames:
        atoms.info["E_ccsdt"] = atoms.info.pop("REF_energy")
        atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
    ase.io.write(path, frames)
    start("--loss", "piwsl")
    with pytest.raises(SystemExit, match=r"no frame has an energy.*'REF_energy'.*E_ccsdt"):
        load(path)


def test_a_displacement_beyond_half_the_shortest_bond_names_frame_and_pair(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "close.xyz"
    frames = write(path)
    frames[1].positions[3] = frames[1].positions[1] + [0.0, 0.0, 0.17]
    ase.io.write(path, frames)
    start("--loss", "piwsl", "--piwsl_max_displacement", "0.1")
    with pytest.raises(SystemExit) as error:
        load(path)
    message = str(error.value)
    assert "frame 1" in message
    assert "atoms 1 (C) and 3 (H), 0.1700 angstrom apart" in message
    assert "--piwsl_max_displacement below 0.0850" in message
    start("--loss", "piwsl", "--piwsl_allow_large_displacement")
    assert len(load(path)) == 4
    start("--loss", "piwsl", "--piwsl_max_displacement", "0.08")
    assert len(load(path)) == 4


def test_items_of_other_datasets_are_checked_alike(start: Start) -> None:
    labels: list[dict[str, Any]] = [{"energy": -1.0}, {"energy": -2.0}]
    active = start("--loss", "piwsl")
    items = make_items(molecules(), labels=labels)
    check_dataset(active, items)
    assert (active.counts.frames, active.counts.energies, active.counts.forces) == (2, 2, 0)
    labels[1]["energy"] = float("nan")
    items = make_items(molecules(), labels=labels)
    with pytest.raises(ValueError, match="item 1 of the training set: energy is nan"):
        check_dataset(active, items)


def test_without_a_piwsl_loss_mace_reads_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "bad.xyz"
    frames = write(path)
    frames[2].info["REF_energy"] = float("nan")
    ase.io.write(path, frames)
    assert len(load(path)) == 4
