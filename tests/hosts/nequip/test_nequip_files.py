"""Any file of energies as NequIP's data: lazily, in eV and angstrom, missing labels as NaN."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import ase.build
import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from energy_files import ATOMS, NAMES, ani_file, conformers, energy, forces, spice_file
from small_nequip import crystals, data_config, fit, loss_config, module, write_frames

from piwsl_plugins.data.atomic_energies import atomic_energies
from piwsl_plugins.data.readers import open_source
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.hosts.nequip import FileDataset, PiwslASEDataModule, PiwslFilesDataModule
from piwsl_plugins.hosts.nequip.files import split

ORGANIC = ["H", "C", "O"]
COMPOSITE = {"energy": "hf_qz.energy + mp2_qz.corr_energy"}


def files_config(train: Path, val: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Arguments of the data module, as for ASE's but for the key mapping."""
    config = data_config(train, val, **changes)
    del config["key_mapping"]
    config["transforms"][0]["model_type_names"] = ORGANIC
    return config


def split_config(path: Path, train: Any, val: Any, **changes: Any) -> dict[str, Any]:
    part = {"file_path": str(path), "train": train, "val": val}
    return files_config(path, split_dataset=part, **changes) | {
        "train_file_path": [],
        "val_file_path": [],
    }


def all_frames(frames: int = 4) -> list[Any]:
    return [atoms for name in NAMES for atoms in conformers(name, frames)]


def by_name(path: Path) -> list[Any]:
    """The frames of a file of ours in its order: by the groups' names."""
    return [atoms for name in sorted(NAMES) for atoms in conformers(name, 4)]


# ---- what is read --------------------------------------------------------------------------------


def test_a_spice_file_gives_energies_forces_and_positions_in_ev_and_angstrom(
    tmp_path: Path,
) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    dataset = FileDataset(str(path), {"energy": "dft_total_energy", "forces": "forces"})
    assert len(dataset) == 20
    assert dataset.piwsl_scan.blocks is None
    for data, atoms in zip(dataset[:], by_name(path), strict=True):
        np.testing.assert_allclose(data["pos"], atoms.positions, atol=1e-10)
        np.testing.assert_allclose(data["total_energy"].item(), energy(atoms), atol=1e-8)
        np.testing.assert_allclose(data["forces"], forces(atoms), atol=1e-8)
        assert data["atomic_numbers"].tolist() == atoms.numbers.tolist()
        assert "cell" not in data
        assert "stress" not in data


def test_a_sum_of_columns_is_missing_where_a_part_is_and_such_frames_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = ani_file(tmp_path / "ani.h5", missing={"H2O": [0, 2], "CO": [3]})
    with caplog.at_level(logging.INFO):
        dataset = FileDataset(str(path), COMPOSITE)
    assert "20 frames (ANI HDF5); labels: total_energy 17" in caplog.text
    assert "3 frames without any of these labels are left out" in caplog.text
    found = torch.cat([data["total_energy"].view(-1) for data in dataset[:]])
    assert found.isfinite().all()
    expected = [
        energy(atoms)
        for name in sorted(NAMES)
        for number, atoms in enumerate(conformers(name, 4))
        if number not in {"H2O": [0, 2], "CO": [3]}.get(name, [])
    ]
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_a_label_that_frames_lack_is_nan_beside_one_that_they_have(tmp_path: Path) -> None:
    path = ani_file(tmp_path / "ani.h5", missing={"H2O": [0, 2]})
    dataset = FileDataset(str(path), {**COMPOSITE, "weak_forces": "wb97x_dz.forces"})
    assert len(dataset) == 20
    place = next(i for i in range(20) if len(dataset[i]["pos"]) == 3)
    assert dataset[place]["total_energy"].isnan().all()
    assert dataset[place]["weak_forces"].isfinite().all()
    assert "forces" not in dataset[place]
    assert {name: int(mask.sum()) for name, mask in dataset.piwsl_masks.items()} == {
        "total_energy": 18,
        "weak_forces": 20,
    }


def database(path: Path) -> Path:
    with ase.db.connect(path) as rows:
        for atoms in all_frames():
            atoms.calc = SinglePointCalculator(atoms, energy=energy(atoms), forces=forces(atoms))
            rows.write(atoms)
    return path


def table(path: Path) -> Path:
    ase.io.write(path.with_suffix(".xyz"), all_frames(), format="extxyz")
    lines = [f"{path.stem}.xyz,{n},{energy(a)}" for n, a in enumerate(all_frames())]
    path.write_text("file,frame,energy\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["rows.db", "rows.json", "table.csv", "text.xyz"])
def test_every_format_gives_the_same_frames(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix in (".db", ".json"):
        database(path)
    elif path.suffix == ".csv":
        table(path)
    else:
        frames = all_frames()
        for atoms in frames:
            atoms.info["energy"] = energy(atoms)
        ase.io.write(path, frames)
    dataset = FileDataset(str(path), {"energy": "energy"})
    assert dataset.piwsl_scan.is_lazy == (path.suffix != ".xyz")
    for data, atoms in zip(dataset[:], all_frames(), strict=True):
        np.testing.assert_allclose(data["pos"], atoms.positions, atol=1e-7)
        assert data["total_energy"].item() == pytest.approx(energy(atoms), abs=1e-6)


def test_crystals_keep_their_cells_and_molecules_among_them_have_none(tmp_path: Path) -> None:
    frames = [*crystals(), ase.build.molecule("H2O")]
    path = write_frames(tmp_path / "mixed.xyz", frames)
    found = FileDataset(str(path), {"energy": "REF_energy"})[:]
    for data, atoms in zip(found, frames, strict=True):
        np.testing.assert_allclose(data["cell"][0], atoms.cell[:], atol=1e-7)
        assert data["pbc"][0].tolist() == atoms.pbc.tolist()


def test_a_dataset_can_be_pickled_and_read_by_several_processes(tmp_path: Path) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    dataset = FileDataset(str(path), {"energy": "dft_total_energy"})
    first = dataset[3]["pos"]
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[3]["pos"], first)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=5, num_workers=2, collate_fn=list, multiprocessing_context="fork"
    )
    found = [data["total_energy"].item() for batch in loader for data in batch]
    assert found == [data["total_energy"].item() for data in dataset[:]]


def test_a_file_is_looked_at_once_until_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    labels = {"energy": "dft_total_energy"}
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            FileDataset(str(path), labels)
    assert caplog.text.count("20 frames (SPICE HDF5)") == 1
    spice_file(tmp_path / "new.hdf5", frames=5).replace(path)
    assert len(FileDataset(str(path), labels)) == 25


# ---- differences to a cheaper method -------------------------------------------------------------


def test_the_low_energy_is_subtracted_and_forces_where_both_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = conformers("H2O", 4)
    for number, atoms in enumerate(frames):
        atoms.info |= {"high": energy(atoms), "xtb": 0.25 * number}
        atoms.arrays |= {"f_high": forces(atoms), "f_xtb": np.full((3, 3), 0.5)}
    del frames[1].info["xtb"], frames[2].arrays["f_xtb"]
    ase.io.write(tmp_path / "two.xyz", frames)
    keys = {"energy": "high", "low_energy": "xtb", "forces": "f_high", "low_forces": "f_xtb"}
    with caplog.at_level(logging.INFO):
        found = FileDataset(str(tmp_path / "two.xyz"), keys)[:]
    assert "the model learns a difference: the reference less 'xtb'" in caplog.text
    assert "1 frames have no 'xtb' and lose their energy" in caplog.text
    for number in (0, 2, 3):
        expected = energy(frames[number]) - 0.25 * number
        assert found[number]["total_energy"].item() == pytest.approx(expected, abs=1e-6)
    assert found[1]["total_energy"].isnan().all()
    assert found[2]["forces"].isnan().all()
    np.testing.assert_allclose(found[0]["forces"], forces(frames[0]) - 0.5, atol=1e-7)


def test_forces_without_their_low_ones_are_no_labels_of_a_difference(tmp_path: Path) -> None:
    frames = conformers("H2O", 2)
    for atoms in frames:
        atoms.info |= {"high": energy(atoms), "xtb": 0.5}
        atoms.arrays["f_high"] = forces(atoms)
    ase.io.write(tmp_path / "two.xyz", frames)
    keys = {"energy": "high", "low_energy": "xtb", "forces": "f_high"}
    assert "forces" not in FileDataset(str(tmp_path / "two.xyz"), keys)[0]


# ---- isolated atoms and E0s ----------------------------------------------------------------------


def file_with_atoms(path: Path, names: tuple[str, ...] = tuple(ORGANIC)) -> Path:
    frames = [ase.Atoms(symbol) for symbol in names]
    for atoms in frames:
        atoms.info["energy"] = ATOMS[atoms.symbols[0]]
    for atoms in (more := all_frames()):
        atoms.info["energy"] = energy(atoms)
    ase.io.write(path, [*frames, *more])
    return path


def statistics(data: Any) -> dict[str, Any]:
    found: dict[str, Any] = data.get_statistics("train")
    return found


def manager(spec: Any, **more: Any) -> dict[str, Any]:
    return {
        "_target_": "piwsl_plugins.hosts.nequip.EnergyStatisticsManager",
        "type_names": ORGANIC,
        "atomic_energies": spec,
        "dataloader_kwargs": {"batch_size": 4},
        **more,
    }


def test_isolated_atoms_are_no_frames_unless_asked_for(tmp_path: Path) -> None:
    path = file_with_atoms(tmp_path / "train.xyz")
    assert len(FileDataset(str(path), {"energy": "energy"})) == 20
    assert len(FileDataset(str(path), {"energy": "energy"}, isolated_atoms=True)) == 23


@pytest.mark.parametrize("kind", ["isolated", "fit"])
def test_both_hosts_take_the_same_energies_of_the_atoms(tmp_path: Path, kind: str) -> None:
    path = file_with_atoms(tmp_path / "train.xyz")
    config = files_config(path, stats_manager=manager(kind))
    data = PiwslFilesDataModule(labels={"energy": "energy"}, **config)
    found = statistics(data)
    source = open_source(path, DataSettings(energy="energy"))
    expected = atomic_energies(kind, source).values
    energies = found["atomic_energies"]
    assert energies == {"H": expected[1], "C": expected[6], "O": expected[8]}
    if kind == "isolated":
        assert energies == pytest.approx(ATOMS)
    mean = found["per_type_energy_shifts"]["H"] - energies["H"]
    assert found["per_type_energy_shifts"]["O"] == pytest.approx(energies["O"] + mean)


def test_a_fit_takes_the_training_frames_alone(tmp_path: Path) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    config = split_config(path, 14, 4, stats_manager=manager("fit"))
    data = PiwslFilesDataModule(labels={"energy": "dft_total_energy"}, **config)
    energies = statistics(data)["atomic_energies"]
    data.setup("fit")
    indices = data.train_dataset[0].indices
    frames = [by_name(path)[int(index)] for index in indices]
    for atoms in frames:
        atoms.info["energy"] = energy(atoms)
    ase.io.write(tmp_path / "same.xyz", frames)
    source = open_source(tmp_path / "same.xyz", DataSettings(energy="energy"))
    expected = atomic_energies("fit", source).values
    for symbol, number in (("H", 1), ("C", 6), ("O", 8)):
        assert energies[symbol] == pytest.approx(expected[number], abs=1e-4)


def test_energies_of_atoms_are_found_in_the_hosts_kind_of_data_too(tmp_path: Path) -> None:
    path = file_with_atoms(tmp_path / "train.xyz")
    found = []
    for spec in ("isolated", "fit"):
        config = data_config(path, key_mapping={}, stats_manager=manager(spec))
        config["transforms"][0]["model_type_names"] = ORGANIC
        found.append(statistics(PiwslASEDataModule(piwsl=False, **config))["atomic_energies"])
    assert found[0] == pytest.approx(ATOMS)
    source = open_source(path, DataSettings(energy="energy"))
    expected = atomic_energies("fit", source).values
    assert list(found[1].values()) == pytest.approx([expected[1], expected[6], expected[8]])


def test_a_table_gives_its_energies(tmp_path: Path) -> None:
    path = ani_file(tmp_path / "ani.h5")
    config = files_config(path, stats_manager=manager("ani1ccx-ccsdt-cbs"))
    found = statistics(PiwslFilesDataModule(labels=COMPOSITE, **config))["atomic_energies"]
    assert found["H"] == pytest.approx(-0.5 * ase.units.Hartree)


def test_an_underdetermined_fit_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = spice_file(tmp_path / "one.hdf5", names=["CH3OH"])
    config = files_config(path, stats_manager=manager("fit"))
    with caplog.at_level(logging.WARNING):
        statistics(PiwslFilesDataModule(labels={"energy": "dft_total_energy"}, **config))
    assert "the fit of the E0s is underdetermined" in caplog.text


def test_energies_of_atoms_are_of_types_that_are_elements(tmp_path: Path) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    names = ["my_H", "C", "O"]
    stats = manager("fit", type_names=names)
    config = files_config(path, stats_manager=stats)
    mapper = config["transforms"][0] | {"model_type_names": names}
    config["transforms"][0] = mapper | {
        "chemical_species_to_atom_type_map": {"H": "my_H", "C": "C", "O": "O"}
    }
    data = PiwslFilesDataModule(labels={"energy": "dft_total_energy"}, **config)
    assert statistics(data)["atomic_energies"].keys() == set(names)
    mapper["chemical_species_to_atom_type_map"] = {"H": "my_H", "C": "C", "O": "C"}
    config["transforms"][0] = mapper
    data = PiwslFilesDataModule(labels={"energy": "dft_total_energy"}, **config)
    with pytest.raises(ValueError, match=r"the type 'C' stands for 2 elements, expected one"):
        statistics(data)


def test_statistics_of_weak_forces_are_theirs(tmp_path: Path) -> None:
    path = ani_file(tmp_path / "ani.h5")
    labels = {**COMPOSITE, "weak_forces": "wb97x_dz.forces"}
    config = files_config(path, stats_manager=manager("fit", weak_forces=True))
    found = statistics(PiwslFilesDataModule(labels=labels, **config))
    squares = np.concatenate([np.square(forces(atoms)).ravel() for atoms in all_frames()])
    assert found["weak_forces_rms"] == pytest.approx(float(np.sqrt(squares.mean())), rel=1e-6)
    assert "forces_rms" not in found


# ---- parts ---------------------------------------------------------------------------------------


def test_parts_are_nequips_and_may_leave_frames_over(tmp_path: Path) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    dataset = FileDataset(str(path), {"energy": "dft_total_energy"})
    whole = split(dataset, {"train": 12, "val": 8}, "train", 3)
    less = split(dataset, {"train": 12, "val": 2}, "train", 3)
    assert list(whole.indices) == list(less.indices)
    val = split(dataset, {"train": 12, "val": 2}, "val", 3)
    assert len(val) == 2
    assert not set(val.indices) & set(less.indices)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": 15, "val": 6}, r"train: 15, val: 6 of spice\.hdf5 .* its 20 usable frames"),
        ({"train": 0.5, "val": 0.2}, r"fractions that add up to 1"),
        ({"train": 20, "val": 0}, r"val has no frame of the 20 usable ones"),
        ({"train": 0.99, "val": 0.01}, r"val has no frame"),
    ],
)
@pytest.mark.filterwarnings("ignore:Length of split at index")
def test_parts_that_cannot_be_are_refused(
    tmp_path: Path, parts: dict[str, Any], message: str
) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    dataset = FileDataset(str(path), {"energy": "dft_total_energy"})
    with pytest.raises(ValueError, match=message):
        [split(dataset, parts, part, 1) for part in parts]


# ---- what is refused -----------------------------------------------------------------------------


def fitted(config: dict[str, Any], labels: dict[str, Any], **more: Any) -> Any:
    model = module(loss=loss_config("none")).hparams["model"] | {
        "type_names": ORGANIC,
        "per_type_energy_shifts": ATOMS,
    }
    training = module(loss=loss_config("none"), model=model)
    data = PiwslFilesDataModule(labels=labels, piwsl=False, **config, **more)
    return fit(training, data)


def test_training_runs_from_a_lazy_file_that_is_split(tmp_path: Path) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    history = fitted(split_config(path, 0.8, 0.2), {"energy": "dft_total_energy"})
    assert len(history.steps) == 8
    assert all(np.isfinite(row["weighted_sum"]) for row in history.steps)


def test_the_training_frames_get_the_skin(tmp_path: Path) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    config = split_config(path, 0.8, 0.2)
    data = PiwslFilesDataModule(labels={"energy": "dft_total_energy"}, piwsl={}, **config)
    data.setup("fit")
    reach = [d[0].dataset.transforms[-1].r_max for d in (data.train_dataset, data.val_dataset)]
    assert reach == pytest.approx([2.7, 2.5])


def test_a_displacement_beyond_half_the_shortest_bond_names_the_frame(tmp_path: Path) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    settings = {"max_displacement": 0.6}
    data = PiwslFilesDataModule(
        labels={"energy": "dft_total_energy"}, piwsl=settings, **files_config(path)
    )
    model = module().hparams["model"] | {"type_names": ORGANIC, "per_type_energy_shifts": ATOMS}
    with pytest.raises(ValueError, match=r"spice\.hdf5, frame \d+, atoms .* apart"):
        fit(module("PiwslLightningModule", settings, model=model), data)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"enrgy": "a"}, r"data\.labels: .*'enrgy'.*'energy'"),
    "nequips_name": ({"total_energy": "a"}, r"data\.labels: write 'energy' for 'total_energy'"),
    "unit": ({"energy_unit": "Ha"}, r"data\.labels: energy_unit: .*'Ha'"),
    "low_forces": ({"low_forces": "f"}, r"low_forces 'f' without low_energy"),
    "weak_difference": (
        {"low_energy": "a", "weak_forces": "f"},
        r"weak_forces 'f' contradicts low_energy 'a'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_name_of_a_label_is_refused(tmp_path: Path, case: str) -> None:
    labels, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        PiwslFilesDataModule(labels=labels, **files_config(tmp_path / "none.h5"))


def test_a_key_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    path = ani_file(tmp_path / "ani.h5")
    with pytest.raises(ValueError, match=r"(?s)ani\.h5: .*'ccsd'.*hf_qz\.energy"):
        FileDataset(str(path), {"energy": "ccsd"})
    labels = {**COMPOSITE, "forces": "no_such"}
    expected = r"(?s)data\.labels\.forces: 'no_such' is in none of the data files.*wb97x_dz\.forces"
    with pytest.raises(ValueError, match=expected):
        fitted(files_config(path), labels)


def test_forces_may_be_in_the_test_file_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = tmp_path / "train.xyz"
    frames = all_frames()
    for atoms in frames:
        atoms.info["energy"] = energy(atoms)
    ase.io.write(train, frames)
    for atoms in (test := conformers("H2O", 3, seed=9)):
        atoms.info["energy"] = energy(atoms)
        atoms.arrays["f_high"] = forces(atoms)
    ase.io.write(tmp_path / "test.xyz", test)
    config = files_config(train, test_file_path=str(tmp_path / "test.xyz"))
    with caplog.at_level(logging.WARNING):
        fitted(config, {"energy": "energy", "forces": "f_high"})
    assert "train.xyz: there are no forces 'f_high'" in caplog.text


def test_arguments_of_ase_are_refused_with_what_to_write(tmp_path: Path) -> None:
    config = data_config(tmp_path / "none.h5", key_mapping={"REF_energy": "total_energy"})
    with pytest.raises(ValueError, match=r"key_mapping .* write labels: \{energy: REF_energy\}"):
        PiwslFilesDataModule(**config)


def test_test_frames_among_the_training_frames_are_refused_unless_allowed(tmp_path: Path) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    other = spice_file(tmp_path / "test.hdf5", names=["H2O"], frames=2)
    config = files_config(path, test_file_path=str(other))
    labels = {"energy": "dft_total_energy"}
    expected = r"(?s)2 of 2 frames of the test data are in the training data.*allow_overlap: true"
    with pytest.raises(ValueError, match=expected):
        fitted(config, labels)
    assert fitted(config, labels, allow_overlap=True).steps
    fresh = spice_file(tmp_path / "fresh.hdf5", names=["H2O"], frames=2, seed=7)
    assert fitted(files_config(path, test_file_path=str(fresh)), labels).steps


def test_copies_with_another_energy_are_refused(tmp_path: Path) -> None:
    frames = conformers("H2O", 3)
    for atoms in frames:
        atoms.info["energy"] = energy(atoms)
    again = frames[1].copy()
    again.info["energy"] = energy(frames[1]) + 1.0
    ase.io.write(tmp_path / "twice.xyz", [*frames, again])
    with pytest.raises(ValueError, match=r"copies of an earlier one with another energy"):
        fitted(files_config(tmp_path / "twice.xyz"), {"energy": "energy"})


def test_a_unit_that_makes_the_numbers_absurd_is_refused_with_the_likely_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    labels = {"energy": "dft_total_energy", "length_unit": "angstrom"}
    with pytest.raises(ValueError, match=r"looks like bohr; set length_unit to bohr"):
        FileDataset(str(path), labels)
    with caplog.at_level(logging.WARNING):
        FileDataset(str(path), {**labels, "allow_unusual_units": True})
    assert "times the sum of covalent radii" in caplog.text


def test_a_file_without_usable_frames_lists_its_keys(tmp_path: Path) -> None:
    path = ani_file(tmp_path / "ani.h5", missing=dict.fromkeys(NAMES, range(4)))
    with pytest.raises(ValueError, match=r"none of its 20 frames can be used.*mp2_qz\.corr_energy"):
        FileDataset(str(path), COMPOSITE)


def test_a_file_of_forces_alone_cannot_be_trained_on(tmp_path: Path) -> None:
    for atoms in (frames := conformers("H2O", 3)):
        atoms.arrays["f_high"] = forces(atoms)
    ase.io.write(tmp_path / "forces.xyz", frames)
    with pytest.raises(ValueError, match=r"no training frame has an energy .*f_high.*labels: \{en"):
        fitted(files_config(tmp_path / "forces.xyz"), {"forces": "f_high"})


def test_a_name_of_no_way_to_find_energies_of_atoms_is_refused(tmp_path: Path) -> None:
    path = spice_file(tmp_path / "spice.hdf5")
    config = files_config(path, stats_manager=manager("isolatd"))
    data = PiwslFilesDataModule(labels={"energy": "dft_total_energy"}, **config)
    with pytest.raises(Exception, match=r"atomic_energies: .*'isolatd'.*'isolated'"):
        statistics(data)


def test_forces_rms_without_forces_is_refused(tmp_path: Path) -> None:
    path = ani_file(tmp_path / "ani.h5")
    config = files_config(path, stats_manager=manager("fit", forces=True))
    with pytest.raises(ValueError, match=r"EnergyStatisticsManager needs 'forces'"):
        statistics(PiwslFilesDataModule(labels=COMPOSITE, **config))
