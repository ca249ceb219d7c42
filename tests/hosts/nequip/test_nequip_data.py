"""Any file of energies as NequIP's data: in eV and angstrom, missing labels as NaN, checked."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from small_nequip import R_MAX, data_of, formaldehydes, geometries, write_frames

from piwsl_plugins.data.atomic_energies import atomic_energies
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.targets import split_isolated
from piwsl_plugins.hosts.nequip.dataset import FrameDataset, file_dataset

LABELS = {"energy": "REF_energy", "allow_unusual_units": True}
FREE = {"H": -13.6, "C": -1028.0, "O": -2041.0}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Six molecules with energies alone."""
    return write_frames(tmp_path / "train.xyz", formaldehydes())


def energies_of(dataset: FrameDataset) -> list[float]:
    return [data["total_energy"].item() for data in dataset[:]]


# ---- what is read --------------------------------------------------------------------------------


def test_a_converted_database_is_read_frame_by_frame_in_any_process(tmp_path: Path) -> None:
    atom = ase.Atoms("H", info={"REF_energy": FREE["H"]})
    frames = [ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.75]]), *formaldehydes(), atom]
    write_frames(tmp_path / "all.xyz", frames)
    path = tmp_path / "all.aselmdb"
    with ase.db.connect(path, use_lock_file=False) as rows:
        for atoms in frames:
            again = atoms.copy()
            again.calc = SinglePointCalculator(again, energy=atoms.info["REF_energy"])
            rows.write(again)
    split: dict[str, Any] = {"part": "train", "split": {"train": 4, "val": 3}, "seed": 3}
    dataset = file_dataset(str(path), {**LABELS, "energy": "energy"}, **split)
    held = file_dataset(str(tmp_path / "all.xyz"), LABELS, **split)
    assert len(dataset.isolated) == 1
    assert energies_of(dataset) == pytest.approx(energies_of(held))
    assert energies_of(pickle.loads(pickle.dumps(dataset))) == energies_of(dataset)
    assert "cell" not in dataset[0]
    loader = torch.utils.data.DataLoader(
        dataset, num_workers=1, collate_fn=list, multiprocessing_context="fork"
    )
    assert [data["total_energy"].item() for (data,) in loader] == energies_of(dataset)


def test_units_are_converted_and_labels_that_frames_lack_are_nan(tmp_path: Path) -> None:
    frames = formaldehydes(forces=[1, 4])
    path = write_frames(tmp_path / "hartree.xyz", frames)
    del frames[2].info["REF_energy"]
    ase.io.write(path, frames)
    labels = {**LABELS, "forces": "REF_forces", "energy_unit": "hartree"}
    dataset = file_dataset(str(path), {**labels, "forces_unit": "hartree/bohr"})
    for number, (data, atoms) in enumerate(zip(dataset[:], frames, strict=True)):
        energy, forces = atoms.info.get("REF_energy"), atoms.arrays.get("REF_forces")
        expected = np.nan if energy is None else energy * units.Hartree
        np.testing.assert_allclose(data["total_energy"].item(), expected, rtol=1e-7)
        assert data["forces"].isfinite().all() == (number in (1, 4))
        if forces is not None:
            wanted = forces * units.Hartree / units.Bohr
            np.testing.assert_allclose(data["forces"], wanted, rtol=1e-5, atol=1e-6)
        assert not {"stress", "weak_forces"} & data.keys()
    assert {label: dataset.count(label) for label in dataset.has} == {"energy": 5, "forces": 2}


def test_molecules_have_a_cell_only_where_other_frames_have_one(tmp_path: Path) -> None:
    frames = [*geometries("crystals"), *geometries("layers"), ase.build.molecule("H2O")]
    path = write_frames(tmp_path / "mixed.xyz", frames)
    for data, atoms in zip(file_dataset(str(path), LABELS)[:], frames, strict=True):
        np.testing.assert_allclose(data["cell"][0], atoms.cell[:], atol=1e-7)
        assert data["pbc"][0].tolist() == atoms.pbc.tolist()
    path = write_frames(tmp_path / "molecules.xyz", geometries("molecules"))
    assert all("cell" not in data for data in file_dataset(str(path), LABELS)[:])


def test_a_file_is_read_once_until_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_frames(tmp_path / "a@1.xyz", formaldehydes())  # to ASE alone, its second frame
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            file_dataset(str(file), LABELS)
    assert caplog.text.count("energy: 'REF_energy' (eV), 6 frames; forces: none") == 1
    write_frames(file, formaldehydes(7))
    assert len(file_dataset(str(file), LABELS)) == 7


def test_the_low_energy_is_subtracted_unless_it_is_for_the_teacher(tmp_path: Path) -> None:
    frames = formaldehydes(forces=range(6))
    for number, atoms in enumerate(frames):
        atoms.info["xtb"] = -10.0 * len(atoms) - 0.25 * number
        atoms.arrays["f_xtb"] = np.full_like(atoms.positions, 0.5)
    path = write_frames(tmp_path / "two.xyz", frames)
    labels = {**LABELS, "low_energy": "xtb", "forces": "REF_forces", "low_forces": "f_xtb"}
    for settings in (None, {}):
        data = data_of(path, labels=labels, teacher=settings)
        data.setup("validate")
        found = data.val_dataset[0]
        expected = [
            0.35 * n if settings is None else a.info["REF_energy"] for n, a in enumerate(frames)
        ]
        assert energies_of(found) == pytest.approx(expected, abs=1e-6)
        forces = frames[2].arrays["REF_forces"] - (0.5 if settings is None else 0.0)
        np.testing.assert_allclose(found[2]["forces"], forces, atol=1e-7)


# ---- parts ---------------------------------------------------------------------------------------


def test_parts_are_nequips_and_may_leave_frames_over(tmp_path: Path) -> None:
    path = str(write_frames(tmp_path / "many.xyz", formaldehydes(20)))
    parts = {"train": 12, "val": 8}, {"train": 12, "val": 2}
    whole, less = (file_dataset(path, LABELS, part="train", split=s, seed=3) for s in parts)
    generator = torch.Generator().manual_seed(3)
    order = torch.utils.data.random_split(range(20), [12, 8], generator=generator)[0].indices
    assert [frame.number for frame in whole.frames] == list(order)
    assert energies_of(whole) == energies_of(less)
    val = file_dataset(path, LABELS, part="val", split=parts[1], seed=3)
    assert len(val) == 2
    assert not {f.number for f in val.frames} & {f.number for f in less.frames}


@pytest.mark.parametrize(
    "parts", [{"train": 5, "val": 2}, {"train": 0.5, "val": 0.2}, {"train": 6, "val": 0}], ids=str
)
@pytest.mark.filterwarnings("ignore:Length of split at index")
def test_parts_that_cannot_be_are_refused(file: Path, parts: dict[str, Any]) -> None:
    expected = r"split_dataset: train: .* of train\.xyz leaves no frame for val: .* its 6 frames"
    with pytest.raises(ValueError, match=expected):
        file_dataset(str(file), LABELS, part="val", split=parts)


# ---- statistics ----------------------------------------------------------------------------------


def statistics(file: Path, atomic_energies: Any, **more: Any) -> dict[str, Any]:
    manager = {
        "_target_": "piwsl_plugins.hosts.nequip.EnergyStatisticsManager",
        "type_names": list(FREE),
        "atomic_energies": atomic_energies,
        "dataloader_kwargs": {"batch_size": 4},
        **more,
    }
    data = data_of(file, types=list(FREE), stats_manager=manager)
    found: dict[str, Any] = data.get_statistics("train")
    return found


@pytest.mark.parametrize("kind", ["isolated", "fit", "mapping"])
def test_shifts_are_the_free_atoms_and_the_mean_of_what_is_left(tmp_path: Path, kind: str) -> None:
    both = [ase.Atoms(symbol, info={"REF_energy": e}) for symbol, e in FREE.items()]
    for number, name in enumerate(["H2O", "CO", "CH4", "H2CO", "CH3OH", "H2"]):
        atoms = ase.build.molecule(name)
        free = sum(FREE[symbol] for symbol in atoms.get_chemical_symbols())
        atoms.info["REF_energy"] = free - 2.0 * len(atoms) + 0.1 * number
        both.append(atoms)
    file = write_frames(tmp_path / "atoms.xyz", both)
    found = statistics(file, FREE if kind == "mapping" else kind)
    energies = found["atomic_energies"]
    isolated, frames = split_isolated(read(file, DataSettings(**LABELS)).frames)
    expected = atomic_energies("fit", frames, isolated) if kind == "fit" else {}
    numbers = {1: "H", 6: "C", 8: "O"}
    assert energies == {name: expected.get(n, FREE[name]) for n, name in numbers.items()}
    left = []
    for frame in frames:
        free = sum(energies[symbol] for symbol in frame.atoms.get_chemical_symbols())
        left.append((frame.labels["energy"] - free) / len(frame.atoms))
    for name, shift in found["per_type_energy_shifts"].items():
        assert shift == pytest.approx(energies[name] + np.mean(left))
    assert found["per_atom_interaction_energy_std"] == pytest.approx(np.std(left, ddof=1), rel=0.2)


def test_statistics_are_of_the_labels_that_are_there_within_the_true_cutoff(
    tmp_path: Path,
) -> None:
    frames = formaldehydes(forces=[1, 4])
    path = write_frames(tmp_path / "few.xyz", frames)
    found = statistics(path, FREE, forces=True)
    forces = np.concatenate([frames[i].arrays["REF_forces"].ravel() for i in (1, 4)])
    assert found["forces_rms"] == pytest.approx(np.sqrt(np.mean(forces**2)), rel=1e-6)
    near = [(atoms.get_all_distances() < R_MAX).sum(axis=1) - 1 for atoms in frames]
    assert found["num_neighbors_mean"] == pytest.approx(np.concatenate(near).mean())
    with pytest.raises(ValueError, match="the training data have no 'weak_forces'"):
        statistics(path, FREE, weak_forces=True)


# ---- what is refused -----------------------------------------------------------------------------


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"labels": {"enrgy": "a"}}, r"data\.labels: unknown key 'enrgy'; did .*'energy'"),
    (
        {"labels": {"low_energy": "a", "weak_forces": "f"}},
        r"data\.labels\.weak_forces 'f' contradicts data\.labels\.low_energy 'a'",
    ),
    ({"key_mapping": {"E": "total_energy"}}, r"write labels: \{energy: KEY"),
    ({"teacher": {"body": 3}}, r"data\.teacher: unknown key 'body'"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_setting_is_refused_when_the_module_is_made(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        data_of(Path("train.xyz"), **changes)


def test_an_element_without_a_type_and_a_set_without_a_batch_are_refused(
    file: Path, tmp_path: Path
) -> None:
    path = write_frames(tmp_path / "n.xyz", [*formaldehydes(1), ase.build.molecule("NH3")])
    with pytest.raises(Exception, match=r"n\.xyz: type_names .* lacks N, which frame 1 has; add"):
        data_of(path).setup("fit")
    with pytest.raises(ValueError, match=r"batch_size 7 with drop_last leaves no batch of the 6 t"):
        data_of(file, train_dataloader={"batch_size": 7, "drop_last": True}).setup("fit")


def test_test_frames_among_the_training_frames_are_refused_unless_allowed(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = write_frames(tmp_path / "test.xyz", formaldehydes(2))
    expected = r"(?s)2 of 2 frames of the test data are in the training data.*allow_overlap: true"
    with pytest.raises(ValueError, match=expected):
        data_of(file, test_file_path=str(other)).setup("fit")
    data_of(file, test_file_path=str(other), allow_overlap=True).setup("fit")
    assert "6 of 6 frames of the validation data are in the training data" in caplog.text
