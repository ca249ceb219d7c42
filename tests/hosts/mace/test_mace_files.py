"""Files of every format through MACE's own loading: lazily, by keys and units, or named as bad."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Sequence
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
from small_mace import arguments

from piwsl_plugins import datasets
from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.frames import Frames, LazyDataset
from piwsl_plugins.hosts.mace.sources import is_lazy

Load = Callable[..., Any]
NAME = "formaldehyde_ccsdt_cbs"
COMPOSITE = "hf.energy + `corr`"


@pytest.fixture(scope="module")
def molecules() -> list[ase.Atoms]:
    """Thirty frames of formaldehyde with a coupled-cluster energy, eV."""
    frames = ase.io.read(datasets.path(f"{NAME}/train.xyz"), index=":30")
    assert isinstance(frames, list)
    return frames


def energies_of(frames: Sequence[ase.Atoms]) -> np.ndarray:
    return np.array([atoms.info["REF_energy"] for atoms in frames])


def forces_of(frames: Sequence[ase.Atoms]) -> np.ndarray:
    return np.random.default_rng(3).normal(scale=0.1, size=(len(frames), len(frames[0]), 3))


def write_ani(path: Path, frames: Sequence[ase.Atoms]) -> Path:
    """Two groups; every fifth frame lacks a part of the energy, all but every fourth the forces."""
    energies = energies_of(frames) / units.Hartree
    correlation = 0.1 * energies
    correlation[::5] = np.nan
    forces = forces_of(frames) / units.Hartree
    forces[np.arange(len(frames)) % 4 != 0] = np.nan
    with h5py.File(path, "w") as file:
        for name, part in (("a", slice(0, 10)), ("b", slice(10, None))):
            group = file.create_group(name)
            group["atomic_numbers"] = frames[0].numbers.astype("u1")
            group["coordinates"] = np.array([atoms.positions for atoms in frames[part]])
            group["hf.energy"] = 0.9 * energies[part]
            group["corr"] = correlation[part]
            group["dft.forces"] = forces[part]
    return path


def write_database(path: Path, frames: Sequence[ase.Atoms]) -> Path:
    with ase.db.connect(path) as database:
        for atoms in frames:
            plain = ase.Atoms(atoms.numbers, atoms.positions)
            plain.calc = SinglePointCalculator(plain, energy=atoms.info["REF_energy"])
            database.write(plain)
    return path


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """MACE's own way from the command line to a head's configurations."""

    def load_head(*words: str, heads: dict[str, Any] | None = None) -> Any:
        from mace.cli import run_train
        from mace.tools import check_args
        from mace.tools.multihead_tools import prepare_default_head

        args, _ = check_args(arguments(*words))
        args.work_dir = str(tmp_path)
        args.key_specification = run_train.KeySpecification()
        run_train.update_keyspec_from_kwargs(args.key_specification, vars(args))
        head = prepare_default_head(args)["Default"] | (heads or {})
        config = run_train.dict_head_to_dataclass(head, "Default", args)
        config.train_file = run_train.normalize_file_paths(config.train_file)
        assert all(run_train.check_path_ase_read(path) for path in config.train_file)
        config.collections, config.atomic_energies_dict = run_train.get_dataset_from_xyz(
            work_dir=args.work_dir,
            train_path=config.train_file,
            valid_path=None if config.valid_file is None else [config.valid_file],
            valid_fraction=config.valid_fraction,
            config_type_weights={"Default": 1.0},
            test_path=None if config.test_file is None else [config.test_file],
            seed=args.seed,
            key_specification=config.key_specification,
            head_name="Default",
            keep_isolated_atoms=config.keep_isolated_atoms,
            prefix="test",
        )
        return config

    return load_head


def ani_words(path: Path) -> list[str]:
    words = ["--loss", "piwsl_supervised", "--train_file", str(path), "--energy_key", COMPOSITE]
    return [*words, "--forces_key", "dft.forces", "--E0s", "average", "--valid_fraction", "0.25"]


def test_an_hdf5_file_is_read_when_asked_for_with_what_is_labelled(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = write_ani(tmp_path / "ani.h5", molecules)
    config = load(*ani_words(path))
    train, valid = config.collections.train, config.collections.valid
    assert isinstance(train, Frames)
    # six energies are missing; of these frames 0 and 20 have forces, and stay
    assert (len(train), len(valid)) == (20, 6)
    places = sorted([*train.place.tolist(), *valid.place.tolist()])
    assert places == [n for n in range(30) if n % 5 or n % 4 == 0]
    assert set(train.place).isdisjoint(valid.place.tolist())
    assert config.atomic_numbers == "[1, 6, 8]"
    assert "4 of 30 frames have none of the labels" in caplog.text
    assert "26 training frames, 24 with energies, 8 with forces" in caplog.text
    forces = forces_of(molecules)
    for frames in (train, valid):
        for place, frame in zip(frames.place.tolist(), frames, strict=True):
            known = place % 5 != 0
            assert frame.property_weights["energy"] == float(known)
            assert frame.property_weights["forces"] == float(place % 4 == 0)
            np.testing.assert_allclose(frame.positions, molecules[place].positions)
            if known:
                reference = molecules[place].info["REF_energy"]
                assert frame.properties["energy"] == pytest.approx(reference, rel=1e-9)
            if place % 4 == 0:
                np.testing.assert_allclose(frame.properties["forces"], forces[place])


def test_the_split_is_maces_own(load: Load, molecules: list[ase.Atoms], tmp_path: Path) -> None:
    config = load(*ani_words(write_ani(tmp_path / "ani.h5", molecules)))
    from mace.data import random_train_valid_split

    labelled = [n for n in range(30) if n % 5 or n % 4 == 0]
    train, valid = random_train_valid_split(labelled, 0.25, 123, str(tmp_path), "again")
    assert config.collections.train.place.tolist() == train
    assert config.collections.valid.place.tolist() == valid


# Python 3.12 and later warn of forks beside other threads
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_items_are_made_when_asked_for_in_another_process_as_well(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    from mace.tools import AtomicNumberTable
    from mace.tools.run_train_utils import load_dataset_for_path

    config = load(*ani_words(write_ani(tmp_path / "ani.h5", molecules)))
    assert config.valid_file == config.train_file  # so that MACE makes its items lazily, too
    datasets_of = {
        name: load_dataset_for_path(
            file_path=config.train_file,
            r_max=4.0,
            z_table=AtomicNumberTable([1, 6, 8]),
            head_config=config,
            heads=["Default"],
            collection=getattr(config.collections, name),
        )
        for name in ("train", "valid")
    }
    train = datasets_of["train"]
    assert isinstance(train, LazyDataset)
    assert (len(train), len(datasets_of["valid"])) == (20, 6)
    pickled = pickle.loads(pickle.dumps(train))
    forks = torch.utils.data.DataLoader(
        train, batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    for one, *others in zip(train, pickled, forks, strict=True):
        for other in others:
            assert one.positions.tolist() == other.positions.tolist()
            assert float(one.energy) == float(other.energy)


@pytest.mark.parametrize(("loss", "skin"), [("piwsl_taylor", True), ("piwsl_supervised", False)])
def test_only_training_items_carry_a_second_neighbour_list_and_only_in_training(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path, loss: str, skin: bool
) -> None:
    from mace.tools import AtomicNumberTable

    words = ani_words(write_ani(tmp_path / "ani.h5", molecules))
    config = (
        load("--piwsl_max_displacement", "0.1", *words[2:], "--loss", loss)
        if skin
        else load(*words)
    )
    options = {"z_table": AtomicNumberTable([1, 6, 8]), "cutoff": 4.0, "heads": ["Default"]}
    active = run.active()
    assert active is not None

    def has_skin(training: bool) -> bool:
        item = LazyDataset(config.collections.train, training=training, **options)[0]
        return "piwsl_edge_index" in item.to_dict()

    assert not has_skin(True)
    active.training = True
    assert has_skin(True) is skin
    assert not has_skin(False)


def fit(config: Any) -> dict[int, float]:
    from mace.tools import AtomicNumberTable
    from mace.tools.scripts_utils import get_atomic_energies

    return dict(
        get_atomic_energies(config.E0s, config.collections.train, AtomicNumberTable([1, 6, 8]))
    )


def write_xyz(path: Path, frames: Sequence[ase.Atoms], **changes: Any) -> Path:
    copies = [atoms.copy() for atoms in frames]
    for atoms, copy in zip(frames, copies, strict=True):
        copy.info = dict(atoms.info)
    for change in changes.values():
        for number, atoms in enumerate(copies):
            change(number, atoms)
    ase.io.write(path, copies)
    return path


def lose_energies(number: int, atoms: ase.Atoms) -> None:
    if number % 3 == 0:
        del atoms.info["REF_energy"]


def test_the_fit_of_atomic_energies_leaves_frames_without_an_energy_out(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = write_xyz(tmp_path / "mixed.xyz", molecules, change=lose_energies)
    words = ["--train_file", str(path), "--valid_file", str(path), "--E0s", "average"]
    config = load("--loss", "piwsl", *words)
    found = fit(config)
    known = [n for n in range(30) if n % 3]
    total = found[6] + 2 * found[1] + found[8]
    assert total == pytest.approx(energies_of(molecules)[known].mean(), rel=1e-9)
    assert "the fit of the E0s is underdetermined" in caplog.text
    run._active = None
    bare = fit(load("--loss", "weighted", *words))
    assert bare[6] + 2 * bare[1] + bare[8] != pytest.approx(total, rel=1e-3)


def test_lazy_frames_are_fitted_alike(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    config = load(*ani_words(write_ani(tmp_path / "ani.h5", molecules)))
    found = fit(config)
    train = config.collections.train
    known = [place for place in train.place.tolist() if place % 5]
    mean = energies_of([molecules[place] for place in known]).mean()
    assert found[6] + 2 * found[1] + found[8] == pytest.approx(mean, rel=1e-9)


def test_a_tables_name_gives_the_atomic_energies(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    config = load(*ani_words(write_ani(tmp_path / "ani.h5", molecules)))
    config.E0s = "ani1ccx-ccsdt-cbs"
    found = fit(config)
    assert found[1] == pytest.approx(-0.5 * units.Hartree)
    config.E0s = "{H: -13.6, C: -1030.0, 8: -2040.0}"
    assert fit(config) == {1: -13.6, 6: -1030.0, 8: -2040.0}
    config.E0s = "{1: -13.6, 6: -1030.0}"
    with pytest.raises(SystemExit, match=r"no reference energy \(E0\) of O"):
        fit(config)
    config.E0s = "ani1ccx-ccsdt-cb"
    with pytest.raises(SystemExit, match="did you mean 'ani1ccx-ccsdt-cbs'"):
        fit(config)


def test_a_database_is_ours_and_its_calculators_energies_are_found(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    path = write_database(tmp_path / "frames.db", molecules)
    words = ["--train_file", str(path), "--valid_fraction", "0.2", "--E0s", "average"]
    for given in (["--energy_key", "energy"], []):
        config = load("--loss", "piwsl", *words, *given)
        train = config.collections.train
        for place in train.place[:3].tolist():
            frame = train[train.place.tolist().index(place)]
            assert frame.properties["energy"] == molecules[place].info["REF_energy"]


def test_a_table_of_energies_beside_structures_is_read(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    write_xyz(tmp_path / "geometries.xyz", molecules, change=lambda _, a: a.info.clear())
    lines = ["file,frame,E_ccsdt"]
    for number, energy in enumerate(energies_of(molecules) / units.Hartree):
        lines.append(f"geometries.xyz,{number},{'' if number == 3 else repr(float(energy))}")
    path = tmp_path / "energies.csv"
    path.write_text("\n".join(lines) + "\n")
    words = ["--loss", "piwsl", "--train_file", str(path), "--valid_fraction", "0.2"]
    words += ["--energy_key", "E_ccsdt", "--energy_unit", "hartree", "--E0s", "average"]
    collections = load(*words).collections
    assert len(collections.train) + len(collections.valid) == 29
    for place, frame in zip(collections.valid.place.tolist(), collections.valid, strict=True):
        reference = molecules[place].info["REF_energy"]
        assert frame.properties["energy"] == pytest.approx(reference, rel=1e-9)


def in_other_units(number: int, atoms: ase.Atoms) -> None:
    atoms.info["E"] = atoms.info.pop("REF_energy") / units.Hartree
    atoms.positions /= units.Bohr
    if number % 2:
        atoms.arrays["gfn2"] = np.full((len(atoms), 3), 0.01)


OTHER_UNITS = [
    *["--energy_key", "E", "--energy_unit", "hartree", "--length_unit", "bohr"],
    *["--piwsl_weak_forces_key", "gfn2", "--E0s", "average"],
]


def test_units_and_weak_forces_of_extxyz(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    path = write_xyz(tmp_path / "units.xyz", molecules, change=in_other_units)
    words = ["--loss", "piwsl", "--train_file", str(path), "--valid_fraction", "0.2", *OTHER_UNITS]
    config = load(*words)
    active = run.active()
    assert active is not None
    assert active.weak_frames == 15
    train = config.collections.train
    assert isinstance(train, list)
    scale = units.Hartree / units.Bohr
    for frame in train:
        place = next(
            n for n, m in enumerate(molecules) if np.allclose(m.positions, frame.positions)
        )
        reference = molecules[place].info["REF_energy"]
        assert frame.properties["energy"] == pytest.approx(reference, rel=1e-9)
        assert frame.properties["forces"] is None
        weak = frame.properties["piwsl_weak_forces"]
        assert (weak is not None) == (place % 2 == 1)
        if weak is not None:
            np.testing.assert_allclose(weak, 0.01 * scale)


def with_low_energy(number: int, atoms: ase.Atoms) -> None:
    atoms.info["low"] = 0.9 * atoms.info["REF_energy"]
    atoms.arrays["REF_forces"] = np.full((len(atoms), 3), 0.3)
    if number % 3:
        atoms.arrays["low_forces"] = np.full((len(atoms), 3), 0.1)
    if number == 5:
        del atoms.info["low"]


@pytest.mark.parametrize("forces", [True, False])
def test_the_model_learns_the_difference_to_a_low_energy(
    load: Load,
    molecules: list[ase.Atoms],
    tmp_path: Path,
    forces: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    path = write_xyz(tmp_path / "low.xyz", molecules, change=with_low_energy)
    words = ["--loss", "piwsl", "--train_file", str(path), "--valid_file", str(path)]
    low = ["--piwsl_low_energy_key", "low"]
    low += ["--piwsl_low_forces_key", "low_forces"] if forces else []
    config = load(*words, "--E0s", "average", *low)
    for place, frame in enumerate(config.collections.train):
        expected = None if place == 5 else 0.1 * molecules[place].info["REF_energy"]
        assert frame.properties["energy"] == (
            None if expected is None else pytest.approx(expected, rel=1e-9)
        )
        if not forces or place % 3 == 0:
            assert frame.properties["forces"] is None
        else:
            np.testing.assert_allclose(frame.properties["forces"], 0.2)
    assert "learns the difference 'REF_energy' minus 'low'" in caplog.text
    config.E0s = "ani1ccx-ccsdt-cbs"
    with pytest.raises(SystemExit, match="give the differences of the atoms"):
        fit(config)


def test_isolated_atoms_give_their_energies_and_are_not_trained_on(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    atoms = ase.io.read(datasets.path(f"{NAME}/isolated_atoms.xyz"), index=":")
    expected = {int(a.numbers[0]): a.info["REF_energy"] for a in atoms}
    # under the key that ASE moves to a calculator the bare host takes zero
    for frame in [*atoms, *(moved := [m.copy() for m in molecules])]:
        frame.info["energy"] = frame.info.pop("REF_energy", None)
    for frame, molecule in zip(moved, molecules, strict=True):
        frame.info["energy"] = molecule.info["REF_energy"]
    path = tmp_path / "all.xyz"
    ase.io.write(path, [*atoms, *moved])
    words = ["--train_file", str(path), "--valid_fraction", "0.2", "--energy_key", "energy"]
    bare = load("--loss", "weighted", *words)
    assert set(bare.atomic_energies_dict.values()) == {0.0}
    config = load("--loss", "piwsl", *words)
    assert config.atomic_energies_dict == pytest.approx(expected)
    assert len(config.collections.train) + len(config.collections.valid) == 30
    path = write_database(tmp_path / "all.db", [*map(with_reference, atoms), *molecules])
    config = load("--loss", "piwsl", "--train_file", str(path), "--valid_fraction", "0.2")
    assert config.atomic_energies_dict == pytest.approx(expected)
    assert len(config.collections.train) + len(config.collections.valid) == 30


def with_reference(atoms: ase.Atoms) -> ase.Atoms:
    copy = atoms.copy()
    copy.info["REF_energy"] = atoms.info["energy"]
    return copy


def test_maces_own_hdf5_stays_maces(molecules: list[ase.Atoms], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file.create_group("config_batch_0").create_group("config_0")
    assert not is_lazy(str(tmp_path / "own.h5"))
    assert is_lazy(str(write_ani(tmp_path / "ani.h5", molecules)))
    assert is_lazy(str(write_database(tmp_path / "frames.db", molecules)))
    assert not is_lazy(str(write_xyz(tmp_path / "frames.xyz", molecules)))


def test_without_a_piwsl_loss_mace_decides_by_the_name_as_ever(
    molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    from mace.tools.scripts_utils import check_path_ase_read

    path = str(write_ani(tmp_path / "ani.h5", molecules))
    assert check_path_ase_read(path) is False


def write_bad(kind: str, frames: Sequence[ase.Atoms], folder: Path) -> list[str]:
    """Options with which a run must be refused."""
    path, other = folder / "train.xyz", folder / "other.xyz"
    write_xyz(path, frames[:20])
    words = ["--train_file", str(path), "--E0s", "average"]
    if kind == "overlap":
        write_xyz(other, frames[15:])
        return [*words, "--valid_fraction", "0.2", "--test_file", str(other)]
    if kind == "overlap_of_formats":
        write_database(folder / "test.db", frames[15:])
        return [*words, "--valid_fraction", "0.2", "--test_file", str(folder / "test.db")]
    if kind == "units":
        write_xyz(path, frames, change=lambda _, a: a.info.update(REF_energy=-114.0 - 0.01 * _))
        return [*words, "--valid_fraction", "0.2"]
    if kind == "cut_off":
        path.write_text(path.read_text()[:-100])
        return [*words, "--valid_fraction", "0.2"]
    if kind == "missing_key":
        return [*words, "--valid_fraction", "0.2", "--energy_key", "E_ccsd"]
    if kind == "no_file":
        return [*words, "--valid_file", str(folder / "valid.xyz")]
    if kind == "no_energies_of_atoms":
        return ["--train_file", str(path), "--valid_fraction", "0.2"]
    if kind == "new_element":
        write_xyz(other, frames[20:], change=lambda _, a: a.set_atomic_numbers([6, 9, 1, 1]))
        return [*words, "--valid_fraction", "0.2", "--test_file", str(other)]
    if kind == "no_fraction":
        return [*words, "--valid_fraction", "1.5"]
    if kind == "contradiction":
        return [*words, "--valid_fraction", "0.2", "--piwsl_low_forces_key", "f"]
    if kind == "lone_frame":
        write_database(folder / "one.db", frames[:1])
        return ["--train_file", str(folder / "one.db"), "--valid_fraction", "0.2"]
    raise KeyError(kind)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "overlap",
            r"5 of 15 test frames are training frames.*\n.*other\.xyz, frame \d is .*train",
        ),
        (
            "overlap_of_formats",
            r"of 15 test frames are training .*\n.*test\.db, frame \d+ is .*xyz",
        ),
        ("units", r"looks like hartree.*--piwsl_energy_unit"),
        ("cut_off", r"train\.xyz, line 119: frame 19, which begins at line 115, has 4 atoms, but"),
        ("missing_key", r"no frame has an energy under --energy_key 'E_ccsd'.*REF_energy"),
        ("no_file", r"--valid_file .*valid\.xyz: there is no such file"),
        ("no_energies_of_atoms", r"no reference energies of atoms .*--E0s is not given"),
        ("new_element", r"--test_file has F, which no training"),
        ("no_fraction", r"--valid_fraction: got 1\.5"),
        ("contradiction", r"--piwsl_low_forces_key 'f' without --piwsl_low_energy_key"),
        ("lone_frame", r"1 training frames cannot be split"),
    ],
)
def test_bad_input_is_one_message(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path, kind: str, expected: str
) -> None:
    words = write_bad(kind, molecules, tmp_path)
    with pytest.raises(SystemExit) as error:
        load("--loss", "piwsl", *words)
    message = str(error.value)
    assert message.startswith("mace_run_train: error: ")
    assert re.search(expected, message, re.DOTALL), message


def test_copies_between_training_and_validation_are_pointed_out(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = write_xyz(tmp_path / "train.xyz", molecules[:20])
    valid = write_xyz(tmp_path / "valid.xyz", molecules[18:])
    words = ["--train_file", str(train), "--valid_file", str(valid), "--E0s", "average"]
    load("--loss", "piwsl", *words)
    assert "2 of 12 validation frames are training frames as well" in caplog.text
    assert f"{valid}, frame 0 is {train}, frame 18" in caplog.text


def test_a_head_may_have_units_of_its_own(
    load: Load, molecules: list[ase.Atoms], tmp_path: Path
) -> None:
    path = write_xyz(tmp_path / "units.xyz", molecules, change=in_other_units)
    words = ["--loss", "piwsl", "--train_file", str(path), "--valid_fraction", "0.2"]
    own = {"energy_unit": "hartree", "piwsl_length_unit": "bohr"}
    config = load(*words, "--energy_key", "E", "--E0s", "average", heads=own)
    assert config.collections.train[0].properties["energy"] < -3000.0
    with pytest.raises(SystemExit, match="did you mean 'piwsl_length_unit'"):
        load(*words, "--energy_key", "E", heads={"piwsl_lenght_unit": "bohr"})
