"""NequIP's data with what training without forces needs: a skin, partial labels, statistics."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.io
import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from nequip.data.datamodule import ASEDataModule, NequIPDataModule
from small_nequip import (
    POSITIONS,
    R_MAX,
    UNEQUAL,
    boxed,
    crystals,
    data_config,
    fit,
    loss_config,
    make_batch,
    many_molecules,
    model_config,
    module,
    molecules,
    with_forces,
    write_frames,
)

from piwsl_plugins.hosts.nequip import (
    EnergyStatisticsManager,
    PartialLabelsASEDataset,
    PiwslASEDataModule,
    PiwslDataModule,
)
from piwsl_plugins.hosts.nequip.data import widened

KEYS = {"REF_energy": "total_energy", "REF_forces": "forces", "REF_stress": "stress"}
ORGANIC = ["H", "C", "O"]
ATOMS = {"H": -1.0, "C": -2.0, "O": -4.0}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Six molecules with energies alone."""
    return write_frames(tmp_path / "train.xyz", many_molecules())


def reach(dataset: Any) -> float:
    """Cutoff of the neighbour list of a dataset, or of the one that it is a part of."""
    while not hasattr(dataset, "transforms"):
        dataset = dataset.dataset
    return float(dataset.transforms[-1].r_max)


def read(path: Path) -> PartialLabelsASEDataset:
    return PartialLabelsASEDataset(file_path=str(path), key_mapping=KEYS)


# ---- the skin ------------------------------------------------------------------------------------


def test_every_list_of_a_config_is_widened_and_nothing_else() -> None:
    names = ["NeighborListTransform", "SortedNeighborListTransform", "NeighborListPruneTransform"]
    transforms = [{"_target_": f"nequip.data.transforms.{name}", "r_max": 3} for name in names]
    transforms[0]["per_edge_type_cutoff"] = {"H": 2, "C": {"H": 2.5}}
    config = [{"dataset": {"transforms": [*transforms, {"_target_": "a.B", "r_max": 3}]}, "n": 5}]
    wide, found = widened(config, 0.25)
    assert found
    *lists, other = wide[0]["dataset"]["transforms"]
    assert [entry["r_max"] for entry in lists] == [3.25, 3.25, 3.25]
    assert lists[0]["per_edge_type_cutoff"] == {"H": 2.25, "C": {"H": 2.75}}
    assert other == {"_target_": "a.B", "r_max": 3}
    assert wide[0]["n"] == 5
    assert config[0]["dataset"]["transforms"][0]["r_max"] == 3
    assert widened({"transforms": []}, 0.25) == ({"transforms": []}, False)


@pytest.mark.parametrize("split", [False, True], ids=["files", "split"])
def test_the_training_data_get_the_skin_and_the_validation_data_none(
    file: Path, split: bool
) -> None:
    config = data_config(file)
    if split:
        config |= {"train_file_path": [], "val_file_path": []}
        config["split_dataset"] = {"file_path": str(file), "train": 4, "val": 2}
    data = PiwslASEDataModule(piwsl={"displacement": "cube", "max_displacement": 0.1}, **config)
    data.setup("fit")
    assert reach(data.train_dataset[0]) == pytest.approx(R_MAX + 0.2 * 3**0.5)
    assert reach(data.val_dataset[0]) == R_MAX
    again = data.train_dataset_config[0]
    transforms = again.get("dataset", again)["transforms"]
    assert transforms[-1]["r_max"] == R_MAX


def test_any_dataset_of_nequips_gets_the_skin(file: Path) -> None:
    given = data_config(file)
    dataset = {
        "_target_": "nequip.data.dataset.ASEDataset",
        "file_path": str(file),
        "key_mapping": KEYS,
        "transforms": given["transforms"],
    }
    loaders = {key: given[key] for key in ("train_dataloader", "val_dataloader")}
    config = {"seed": 1, "train_dataset": dataset, "val_dataset": dataset, **loaders}
    history = fit(module(), PiwslDataModule(**config))
    assert len(history.steps) == 3
    with pytest.raises(ValueError, match=r"list reaches 2\.5 .* 2\.5 \+ 0\.2 = 2\.7 angstrom"):
        fit(module(), NequIPDataModule(**config))


def test_data_without_a_neighbour_list_are_refused(file: Path) -> None:
    config = data_config(file)
    config["transforms"] = config["transforms"][:1]
    with pytest.raises(ValueError, match=r"add nequip\.data\.transforms\.NeighborListTransform"):
        PiwslASEDataModule(**config).setup("fit")


def test_the_hosts_own_data_module_needs_the_skin_in_its_r_max(file: Path) -> None:
    config = data_config(file)
    with pytest.raises(
        ValueError,
        match=r"(?s)reaches 2\.5 angstrom for pairs H-H.*2\.7 angstrom.*PiwslASEDataModule.*r_max",
    ):
        fit(module(), ASEDataModule(**config))
    config["transforms"][-1]["r_max"] = R_MAX + 0.2
    by_hand = fit(module(), ASEDataModule(**config))
    ours = fit(module(), PiwslASEDataModule(**data_config(file)))
    for row, other in zip(by_hand.steps, ours.steps, strict=True):
        assert row == pytest.approx(other, rel=1e-9)


def test_cutoffs_of_pairs_are_compared_pair_by_pair(tmp_path: Path) -> None:
    file = write_frames(tmp_path / "train.xyz", molecules())
    config = data_config(file)
    unequal = {"per_edge_type_cutoff": UNEQUAL, "type_names": model_config()["type_names"]}
    config["transforms"][-1] |= unequal
    model = model_config(per_edge_type_cutoff=UNEQUAL)
    history = fit(module(model=model), PiwslASEDataModule(**config))
    assert history.steps[0]["piwsl_taylor"] > 0
    # the skin in the longest cutoff alone is not enough
    config["transforms"][-1]["r_max"] = R_MAX + 0.2
    with pytest.raises(ValueError, match=r"reaches 1\.5 angstrom for pairs H-H.*1\.5 \+ 0\.2"):
        fit(module(model=model), ASEDataModule(**config))


@pytest.mark.parametrize("enough", [True, False])
def test_loaders_of_ones_own_are_judged_by_their_first_batch(enough: bool) -> None:
    batch = make_batch(molecules(), R_MAX + (0.2 if enough else 0.0))
    batch["total_energy"] = torch.zeros(2, 1, dtype=torch.float64)
    loader = torch.utils.data.DataLoader([batch], batch_size=None)
    if enough:
        assert fit(module(), loader).steps[0]["piwsl_taylor"] > 0
        return
    with pytest.raises(ValueError, match=r"lacks \d+ pairs of the first batch within 2\.7 angst"):
        fit(module(), loader)


# ---- labels --------------------------------------------------------------------------------------


def test_a_label_that_some_frames_lack_is_nan_in_them(tmp_path: Path) -> None:
    frames = with_forces(many_molecules(4), [1])
    write_frames(tmp_path / "partial.xyz", frames)
    del frames[2].info["REF_energy"]
    ase.io.write(tmp_path / "partial.xyz", frames)
    found = read(tmp_path / "partial.xyz").data_list
    assert [bool(data["total_energy"].isnan().any()) for data in found] == [False] * 2 + [
        True,
        False,
    ]
    assert [bool(data["forces"].isnan().all()) for data in found] == [True, False, True, True]
    assert found[0]["forces"].shape == found[1]["forces"].shape
    assert all("stress" not in data for data in found)
    loss = loss_config(forces=1.0)
    config = data_config(tmp_path / "partial.xyz", write_frames(tmp_path / "v.xyz", frames[:2]))
    history = fit(module(loss=loss), PiwslASEDataModule(**config))
    for row in history.steps:
        assert all(np.isfinite(value) for name, value in row.items() if name != "forces_mse")


def test_a_cell_without_volume_is_dropped_where_no_frame_has_another(tmp_path: Path) -> None:
    cases = {"molecules": molecules(), "boxed": boxed(), "mixed": [*molecules(), *crystals()]}
    cells = {
        name: {"cell" in data for data in read(write_frames(tmp_path / name, frames)).data_list}
        for name, frames in cases.items()
    }
    assert cells == {"molecules": {False}, "boxed": {True}, "mixed": {True}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_energy_that_is_no_number_is_named_by_file_and_frame(
    tmp_path: Path, value: float
) -> None:
    frames = many_molecules()
    frames[4].info["REF_energy"] = value
    path = write_frames(tmp_path / "bad.xyz", frames)
    with pytest.raises(ValueError, match=rf"bad\.xyz, frame 4: energy is {value}"):
        read(path)
    # as Hydra wraps what a class that it makes raises
    with pytest.raises(InstantiationException, match=rf"bad\.xyz, frame 4: energy is {value}"):
        fit(module(), PiwslASEDataModule(**data_config(path)))


@pytest.mark.parametrize("split", [False, True], ids=["file", "part"])
def test_the_hosts_own_dataset_is_checked_before_the_first_step(
    tmp_path: Path, split: bool
) -> None:
    frames = many_molecules()
    for number in (3, 4):  # one of them at least in the larger part
        frames[number].info["REF_energy"] = float("nan")
    config = data_config(write_frames(tmp_path / "bad.xyz", frames))
    config["transforms"][-1]["r_max"] = R_MAX + 0.2
    if split:
        config |= {"train_file_path": [], "val_file_path": []}
        config["split_dataset"] = {"file_path": str(tmp_path / "bad.xyz"), "train": 5, "val": 1}
    with pytest.raises(ValueError, match=r"bad\.xyz, frame [34]: energy is nan"):
        fit(module(), ASEDataModule(**config))


def test_forces_that_are_nan_in_part_are_refused_and_throughout_are_missing(
    tmp_path: Path,
) -> None:
    frames = with_forces(many_molecules(3), [0, 1, 2])
    frames[1].arrays["REF_forces"][:] = np.nan
    read(write_frames(tmp_path / "whole.xyz", frames))
    frames[2].arrays["REF_forces"][3, 0] = np.nan
    with pytest.raises(ValueError, match=r"part\.xyz, frame 2: forces of atom 3 are \[ *nan"):
        read(write_frames(tmp_path / "part.xyz", frames))


def test_a_file_without_energies_lists_the_keys_it_has(tmp_path: Path) -> None:
    frames = many_molecules()
    for atoms in frames:
        atoms.info["E_ccsdt"] = -1.0
    ase.io.write(tmp_path / "other.xyz", frames)
    expected = r"other\.xyz: no training frame has an energy.*E_ccsdt.*key_mapping: \{REF_energy"
    with pytest.raises(ValueError, match=expected):
        fit(module(), PiwslASEDataModule(**data_config(tmp_path / "other.xyz")))


def test_a_displacement_beyond_half_the_shortest_bond_names_frame_and_pair(
    tmp_path: Path,
) -> None:
    frames = many_molecules()
    frames[3].positions[2] = frames[3].positions[0] + [0.0, 0.0, 0.15]
    path = write_frames(tmp_path / "close.xyz", frames)
    expected = (
        r"(?s)close\.xyz, frame 3, atoms 0 \(O\) and 2 \(H\), 0\.1500 angstrom apart.*"
        r"training_module\.piwsl\.max_displacement below 0\.0750.*allow_large_displacement: true"
    )
    with pytest.raises(ValueError, match=expected):
        fit(module(), PiwslASEDataModule(**data_config(path)))
    for settings in ({"allow_large_displacement": True}, {"max_displacement": 0.07}):
        data = PiwslASEDataModule(piwsl=settings, **data_config(path))
        assert len(fit(module("PiwslLightningModule", settings), data).steps) == 3


# ---- statistics ----------------------------------------------------------------------------------


def statistics(kind: Any, path: Path, manager: str, **arguments: Any) -> dict[str, Any]:
    """What a data module computes of the training data for the model."""
    config = data_config(path)
    config["transforms"][0]["model_type_names"] = ORGANIC
    config["stats_manager"] = {
        "_target_": manager,
        "type_names": ORGANIC,
        "dataloader_kwargs": {"batch_size": 4},
        **arguments,
    }
    found: dict[str, Any] = kind(**config).get_statistics("train")
    return found


OURS = "piwsl_plugins.hosts.nequip.EnergyStatisticsManager"


def test_neighbours_are_counted_within_the_true_cutoff(file: Path) -> None:
    ours = statistics(PiwslASEDataModule, file, OURS)
    hosts = statistics(ASEDataModule, file, "nequip.data.EnergyOnlyDataStatisticsManager")
    for name in ("num_neighbors_mean", "per_type_num_neighbors_mean"):
        assert ours[name] == hosts[name]
    batch = make_batch(many_molecules())
    assert ours["num_neighbors_mean"] == pytest.approx(
        batch["edge_index"].shape[1] / len(batch[POSITIONS])
    )


def test_statistics_of_forces_are_the_hosts_own_over_the_frames_that_have_them(
    tmp_path: Path,
) -> None:
    frames = with_forces(many_molecules(), [0, 2, 3])
    partial = write_frames(tmp_path / "partial.xyz", frames)
    known = write_frames(tmp_path / "known.xyz", [frames[i] for i in (0, 2, 3)])
    ours = statistics(PiwslASEDataModule, partial, OURS, forces=True)
    hosts = statistics(ASEDataModule, known, "nequip.data.CommonDataStatisticsManager")
    assert ours["forces_rms"] == pytest.approx(hosts["forces_rms"], rel=1e-12)
    assert ours["per_type_forces_rms"] == pytest.approx(hosts["per_type_forces_rms"], rel=1e-12)


def test_shifts_are_the_free_atoms_and_the_mean_of_what_is_left(tmp_path: Path) -> None:
    frames = [*many_molecules(3), ase.build.molecule("CH3OH")]
    left = np.array([-0.5, -0.25, 0.125, 1.0])
    for atoms, energy in zip(frames, left, strict=True):
        free = sum(ATOMS[symbol] for symbol in atoms.get_chemical_symbols())
        atoms.info["REF_energy"] = free + len(atoms) * energy
    found = statistics(
        PiwslASEDataModule, write_frames(tmp_path / "a.xyz", frames), OURS, atomic_energies=ATOMS
    )
    expected = {name: energy + left.mean() for name, energy in ATOMS.items()}
    assert found["per_type_energy_shifts"] == pytest.approx(expected, rel=1e-12)
    spread = found["per_atom_interaction_energy_std"]
    assert spread == pytest.approx(left.std(ddof=1), rel=1e-9) or spread == pytest.approx(
        left.std()
    )


def test_missing_energies_are_left_out_of_the_statistics(tmp_path: Path) -> None:
    frames = many_molecules()
    whole = write_frames(tmp_path / "known.xyz", frames[:4])
    write_frames(tmp_path / "partial.xyz", frames)
    for atoms in frames[4:]:
        del atoms.info["REF_energy"]
    ase.io.write(tmp_path / "partial.xyz", frames)
    names = ("per_type_energy_shifts", "per_atom_interaction_energy_std")
    partial, known = (
        statistics(PiwslASEDataModule, path, OURS, atomic_energies=ATOMS)
        for path in (tmp_path / "partial.xyz", whole)
    )
    for name in names:
        assert partial[name] == pytest.approx(known[name], rel=1e-12)


def test_a_type_without_a_free_atom_energy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"atomic_energies: got \['C', 'H'\], expected .* 'O'\]"):
        EnergyStatisticsManager(ORGANIC, {"H": -1.0, "C": -2.0})


def test_a_manager_that_asks_for_forces_names_the_one_that_does_not(file: Path) -> None:
    with pytest.raises(
        ValueError, match=r"CommonDataStatisticsManager needs 'forces'.*EnergyStatisticsManager"
    ):
        statistics(PiwslASEDataModule, file, "nequip.data.CommonDataStatisticsManager")


def test_test_frames_among_the_training_frames_are_refused_unless_allowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = write_frames(tmp_path / "train.xyz", many_molecules(6))
    test = write_frames(tmp_path / "test.xyz", many_molecules(8)[5:])
    config = data_config(train) | {"test_file_path": str(test)}
    expected = r"(?s)1 of 3 frames of the test data .*test\.xyz, frame 0 is .*train\.xyz, frame 5"
    with pytest.raises(ValueError, match=expected + r".*data\.allow_overlap: true"):
        PiwslASEDataModule(piwsl=False, **config).setup("fit")
    with caplog.at_level(logging.WARNING):
        PiwslASEDataModule(piwsl=False, allow_overlap=True, **config).setup("fit")
    assert "6 of 6 frames of the validation data are in the training data" in caplog.text
    assert "1 of 3 frames of the test data" in caplog.text
    fresh = write_frames(tmp_path / "fresh.xyz", many_molecules(8)[6:])
    PiwslASEDataModule(piwsl=False, **(config | {"test_file_path": str(fresh)})).setup("fit")


def test_numbers_in_other_units_are_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = many_molecules()
    for atoms in frames:
        atoms.positions /= ase.units.Bohr
    bohr = write_frames(tmp_path / "bohr.xyz", frames)
    with caplog.at_level(logging.WARNING):
        PiwslASEDataModule(piwsl=False, **data_config(bohr)).setup("fit")
    assert "PiwslFilesDataModule converts" in caplog.text
    assert f"{bohr}: " in caplog.text
