"""What is written is read again as it was, to the last digit that matters."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from hypothesis import given
from hypothesis import strategies as st
from memory_sources import block

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.readers import DataError, open_source
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.writers import NAMES, writer_of

SUFFIXES = [".xyz", ".extxyz", ".db"]


def written(path: Path, *blocks: Block, names: dict[str, str] = NAMES) -> Path:
    with writer_of(path)(path, names) as writer:
        for one in blocks:
            writer.write(one)
    return path


def labelled(atoms: ase.Atoms, seed: int = 0, frames: int = 3) -> Block:
    random = np.random.default_rng(seed)
    shape = (frames, len(atoms), 3)
    shaken = [atoms.copy() for _ in range(frames)]
    for one in shaken:
        one.positions += random.normal(size=one.positions.shape) * 0.1
    labels = {label: random.normal(size=shape) for label in ("forces", "weak_forces", "low_forces")}
    labels["energy"] = random.normal(size=frames) - 98765.0
    labels["low_energy"] = random.normal(size=frames)
    stress = random.normal(size=(frames, 3, 3))
    if atoms.pbc.any():
        labels["stress"] = stress + stress.transpose(0, 2, 1)
    return block(shaken, **labels)


def read(path: Path) -> list[Block]:
    settings = DataSettings(**{label: name for label, name in NAMES.items() if label != "stress"})
    source = open_source(path, settings)
    if NAMES["stress"] in source.keys:
        settings = DataSettings(**NAMES)
        source = open_source(path, settings)
    return list(source.blocks())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("atoms", [molecule("C6H6"), bulk("NaCl", "rocksalt", a=5.6)])
def test_every_label_and_position_is_read_again_as_it_was(
    tmp_path: Path, suffix: str, atoms: ase.Atoms
) -> None:
    frames = labelled(atoms)
    (found,) = read(written(tmp_path / f"frames{suffix}", frames))
    assert found.positions == pytest.approx(frames.positions, abs=1e-11)
    assert found.numbers.tolist() == frames.numbers.tolist()
    assert set(found.labels) == set(frames.labels)
    for label, values in frames.labels.items():
        assert found.labels[label] == pytest.approx(values, abs=1e-11, rel=1e-15), label
    if atoms.pbc.any():
        assert found.cell == pytest.approx(frames.cell, abs=1e-14)
        assert found.pbc is not None
        assert found.pbc.all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.floats(-1e3, 1e3))
def test_energies_keep_all_their_digits(
    tmp_path_factory: pytest.TempPathFactory, energies: list[float], place: float
) -> None:
    atoms = [ase.Atoms("H2", positions=[[0, 0, 0], [0, place, 1]])] * len(energies)
    path = tmp_path_factory.mktemp("written") / "frames.xyz"
    (found,) = read_energies(written(path, block(atoms, energy=energies)))
    assert found.labels["energy"].tolist() == energies
    assert found.positions[0, 1, 1] == pytest.approx(place, abs=1e-11)


def read_energies(path: Path) -> list[Block]:
    return list(open_source(path, DataSettings(energy="REF_energy")).blocks())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_label_is_not_written(tmp_path: Path, suffix: str) -> None:
    forces = [None, np.ones((3, 3))]
    frames = block([molecule("H2O")] * 2, energy=[-1.0, None], forces=forces)
    path = written(tmp_path / f"frames{suffix}", frames)
    source = open_source(path, DataSettings(energy="REF_energy", forces="REF_forces"))
    assert source.keys == {"REF_energy": 1, "REF_forces": 1}
    assert "nan" not in path.read_bytes().decode("latin-1").lower()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_else_is_known_of_a_frame_goes_along(tmp_path: Path, suffix: str) -> None:
    atoms = molecule("H2O")
    atoms.info = {
        "config_type": "300K MD",
        "smiles": '[H]O"[H]"',
        "number": "7",
        "charge": 1,
        "spin": 0.5,
        "dipole": np.array([0.1, 0.2, 0.3]),
        "note": "two\nlines",
        "nothing": None,
        "unknown": float("nan"),
    }
    path = written(tmp_path / f"frames{suffix}", block([atoms], energy=[-1.0], group="water"))
    (found,) = read_energies(path)
    info = {key: values[0] for key, values in found.info.items()}
    assert info["config_type"] == "300K MD"
    assert info["smiles"] == '[H]O"[H]"'
    assert str(info["number"]) == "7"
    assert (info["charge"], info["spin"]) == (1, 0.5)
    assert info["note"] == "two lines"
    assert info["group"] == "water"
    assert not {"nothing", "unknown"} & set(info)


def test_names_of_labels_may_be_chosen_and_ase_finds_its_own(tmp_path: Path) -> None:
    names = {**NAMES, "energy": "energy", "forces": "forces", "stress": "stress"}
    frames = labelled(bulk("NaCl", "rocksalt", a=5.6), frames=1)
    for suffix in SUFFIXES:
        path = written(tmp_path / f"frames{suffix}", frames, names=names)
        atoms = ase.io.read(path)
        assert isinstance(atoms, ase.Atoms)
        assert atoms.get_potential_energy() == frames.labels["energy"][0]
        assert atoms.get_forces() == pytest.approx(frames.labels["forces"][0])
        assert atoms.get_stress(voigt=False) == pytest.approx(frames.labels["stress"][0])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_value_of_the_frame_under_a_labels_name_is_an_error(tmp_path: Path, suffix: str) -> None:
    atoms = molecule("H2O")
    atoms.info["REF_energy"] = -2.0
    with pytest.raises(DataError, match=r"has a value of its own named 'REF_energy'.*--write-as"):
        written(tmp_path / f"frames{suffix}", block([atoms], energy=[-1.0]))


def test_a_label_that_is_in_part_not_finite_is_an_error(tmp_path: Path) -> None:
    forces = np.ones((3, 3))
    forces[1, 2] = np.nan
    with pytest.raises(DataError, match=r"frame 0 .*: forces is in part not a finite number"):
        written(tmp_path / "frames.xyz", block([molecule("H2O")], forces=[forces]))


def test_an_unknown_suffix_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"one of .xyz, .extxyz, .db; got .h5"):
        writer_of(Path("frames.h5"))
    with pytest.raises(DataError, match="got none"):
        writer_of(Path("frames"))


def test_a_name_that_a_database_keeps_for_itself_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'mass' is a name that ASE's databases keep"):
        written(tmp_path / "frames.db", names={**NAMES, "energy": "mass"})
