"""Conversions: what is selected, where it goes, and that nothing is lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import ase
import ase.io
import h5py
import numpy as np
import pytest
from ase.build import molecule
from memory_sources import MemorySource, block

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.convert import Conversion, convert
from piwsl_plugins.data.partition import UNITS
from piwsl_plugins.data.readers import DataError, Source, open_source
from piwsl_plugins.data.selection import Selection
from piwsl_plugins.data.settings import DataSettings

ENERGY, FORCES = "ccsd(t)_cbs.energy", "wb97x_dz.forces"
MOLECULES = ("H2O", "CH4", "C2H6", "CH3CH2OH", "CH3OCH3", "NH3")


def shaken(name: str, seed: int) -> ase.Atoms:
    atoms = molecule(name)
    atoms.rattle(0.05, seed=seed)
    return atoms


@pytest.fixture
def ani(tmp_path: Path) -> Source:
    """A file as ANI-1ccx is, with 20 conformers of each molecule; labels are partly missing."""
    random = np.random.default_rng(0)
    path = tmp_path / "ani.h5"
    with h5py.File(path, "w") as file:
        for name in MOLECULES:
            group = file.create_group(name)
            atoms = [shaken(name, seed) for seed in range(20)]
            energies = random.normal(-40.0, 0.01, 20)
            energies[::4] = np.nan
            forces = random.normal(0.0, 0.02, (20, len(atoms[0]), 3))
            forces[1::4] = np.nan
            group["atomic_numbers"] = atoms[0].numbers.astype("uint8")
            group["coordinates"] = np.array([one.positions for one in atoms])
            group[ENERGY], group[FORCES] = energies, forces
    return open_source(path, DataSettings(energy=ENERGY, forces=FORCES))


def joined(blocks: Sequence[Block]) -> list[tuple[list[int], np.ndarray, float, np.ndarray]]:
    """Numbers, positions, energy and forces frame by frame."""
    found = []
    for one in blocks:
        nothing = np.full(one.positions.shape, np.nan)
        energies = one.labels.get("energy", nothing[:, 0, 0])
        forces = one.labels.get("forces", nothing)
        found += [
            (one.numbers.tolist(), one.positions[i], float(energies[i]), forces[i])
            for i in range(len(one))
        ]
    return found


def again(path: Path) -> list[Block]:
    return list(open_source(path, DataSettings(energy="REF_energy", forces="REF_forces")).blocks())


@pytest.mark.parametrize("suffix", [".xyz", ".extxyz", ".db"])
def test_an_ani_file_is_read_again_with_equal_labels_and_positions(
    ani: Source, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"out{suffix}"
    convert(ani, out, Conversion())
    before, after = joined(list(ani.blocks())), joined(again(out))
    assert len(before) == len(after) == 120
    for one, other in zip(before, after, strict=True):
        assert one[0] == other[0]
        assert other[1] == pytest.approx(one[1], abs=1e-10)
        assert other[2] == pytest.approx(one[2], abs=1e-10, nan_ok=True)
        assert other[3] == pytest.approx(one[3], abs=1e-10, nan_ok=True)


def test_the_manifest_tells_source_units_counts_and_hashes(ani: Source, tmp_path: Path) -> None:
    out = tmp_path / "out.xyz"
    conversion = Conversion(selection=Selection(labels=("energy",)), sizes={"a": 0.5, "b": 20})
    done = convert(ani, out, conversion, ["piwsl", "data", "convert"])
    written = json.loads(done.manifest.read_text())
    assert done.manifest == tmp_path / "out.xyz.manifest.json"
    source = written["source"]
    assert source["sha256"] == hashlib.sha256(ani.path.read_bytes()).hexdigest()
    assert (source["frames"], source["format"]) == (120, "ANI HDF5")
    assert source["settings"]["energy"] == ENERGY
    assert written["units"]["energy"] == "eV"
    assert written["command"] == ["piwsl", "data", "convert"]
    assert written["refused"] == {"no energy": 30}
    assert written["split"]["frames_in_no_part"] == 90 - 45 - 20
    for part, frames in {"a": 45, "b": 20}.items():
        output = written["outputs"][part]
        path = tmp_path / output["file"]
        assert output["frames"] == output["labels"]["energy"] == frames
        assert output["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert len(joined(again(path))) == frames


def test_the_same_conversion_gives_the_same_files(ani: Source, tmp_path: Path) -> None:
    conversion = Conversion(selection=Selection(random=50, seed=3), sizes={"a": 0.8, "b": 0.2})
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        done = convert(ani, tmp_path / name / "out.xyz", conversion)
        files.append([path.read_bytes() for path in (*done.tallies, done.manifest)])
    assert files[0] == files[1]


def selected(source: Source, tmp_path: Path, **selection: object) -> list[Block]:
    out = tmp_path / "selected.xyz"
    chosen = Selection(**selection)  # type: ignore[arg-type]
    convert(source, out, Conversion(selection=chosen, force=True))
    return again(out)


def test_a_selection_takes_frames_by_elements_formula_size_and_labels(
    ani: Source, tmp_path: Path
) -> None:
    def formulas(**selection: object) -> set[str]:
        blocks = selected(ani, tmp_path, **selection)
        return {str(one.atoms(0).symbols.formula.format("hill")) for one in blocks}

    assert formulas(elements=("H", "C")) == {"CH4", "C2H6"}
    assert formulas(formulas=("OH2", "CH3OCH3")) == {"H2O", "C2H6O"}
    assert formulas(max_atoms=4) == {"H2O", "H3N"}
    both = joined(selected(ani, tmp_path, labels=("energy", "forces")))
    assert len(both) == 60
    assert all(np.isfinite(energy) and np.isfinite(forces).all() for _, _, energy, forces in both)


def test_a_selection_takes_every_kth_the_first_or_random_frames_in_their_order(
    ani: Source, tmp_path: Path
) -> None:
    def places(**selection: object) -> list[int]:
        everything = [frame[1].tobytes() for frame in joined(list(ani.blocks()))]
        rounded = [np.round(np.frombuffer(raw), 8).tobytes() for raw in everything]
        chosen = joined(selected(ani, tmp_path, **selection))
        return [rounded.index(np.round(one[1].ravel(), 8).tobytes()) for one in chosen]

    assert places(every=50) == [0, 50, 100]
    assert places(first=3) == [0, 1, 2]
    assert places(every=7, first=4) == [0, 7, 14, 21]
    assert places(formulas=("CH4",), every=7) == [60, 67, 74]
    drawn = places(random=30, seed=1)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 30
    assert drawn != places(random=30, seed=2)
    assert len(places(random=120)) == 120


@pytest.mark.parametrize("by", ["frame", "formula", "molecule"])
def test_no_frame_is_in_two_parts_and_all_are_in_one(ani: Source, tmp_path: Path, by: str) -> None:
    sizes = {"train": 0.6, "val": 0.2, "test": 0.2}
    done = convert(ani, tmp_path / "out.xyz", Conversion(sizes=sizes, split_by=by, seed=1))
    parts = {path.stem: joined(again(path)) for path in done.tallies}
    assert set(parts) == {"out_train", "out_val", "out_test"}
    seen = [one[1].round(6).tobytes() for frames in parts.values() for one in frames]
    assert len(seen) == len(set(seen)) == 120
    if by == "frame":
        assert [len(frames) for frames in parts.values()] == [72, 24, 24]
    else:
        kinds = [{tuple(one[0]) for one in frames} for frames in parts.values()]
        assert sum(len(kind) for kind in kinds) == len(set().union(*kinds))
    if by == "formula":  # ethanol and dimethyl ether
        formulas = [{tuple(sorted(kind)) for kind in part} for part in kinds]
        assert sum(len(part) for part in formulas) == 5


def test_molecules_without_groups_are_told_apart_by_their_bonds(tmp_path: Path) -> None:
    frames = [shaken(name, seed) for seed in range(10) for name in ("CH3CH2OH", "CH3OCH3")]
    for number, atoms in enumerate(frames):  # the same formula, and the same order of elements
        frames[number] = atoms[np.argsort(atoms.numbers, kind="stable")]
    done = convert(
        MemorySource(block(frames)),
        source_beside(tmp_path),
        Conversion(sizes={"train": 0.5, "test": 0.5}, split_by="molecule"),
    )
    assert done.partition is not None
    assert done.partition.units == 2
    assert [tally.frames for tally in done.tallies.values()] == [10, 10]


def source_beside(folder: Path) -> Path:
    """A place to write to, with the file that memory sources claim to be in its folder."""
    return folder / "out.xyz"


@pytest.fixture(autouse=True)
def _memory_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory sources name a file, which the manifest hashes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "memory.xyz").write_text("0\n\n")


@pytest.mark.parametrize("by", sorted(set(UNITS) - {"farthest-point"}))
def test_copies_go_to_the_same_part(tmp_path: Path, by: str) -> None:
    names = [f"molecule {number}" for number in range(20)]
    blocks = [
        block([shaken("CH4", number % 10)] * 3, group=name) for number, name in enumerate(names)
    ]
    other = block([shaken("H2O", 0)] * 20)
    done = convert(
        MemorySource(*blocks, other),
        source_beside(tmp_path),
        Conversion(sizes={"train": 0.5, "test": 0.5}, split_by=by),
    )
    parts = [
        {one[1].round(6).tobytes() for one in joined(again_without_labels(path))}
        for path in done.tallies
    ]
    assert parts[0].isdisjoint(parts[1])
    assert done.partition is not None
    assert done.partition.copies == 80 - 11


def again_without_labels(path: Path) -> list[Block]:
    return list(open_source(path).blocks())


def test_isolated_atoms_go_to_the_first_part_and_do_not_count(tmp_path: Path) -> None:
    frames = [shaken("H2O", seed) for seed in range(10)]
    atoms = [block([ase.Atoms(symbol)], energy=[-13.6]) for symbol in "HO"]
    source = MemorySource(*atoms, block(frames, energy=range(10)))
    sizes = {"train": 0.5, "val": 0.5}
    for seed in range(5):
        done = convert(
            source, source_beside(tmp_path), Conversion(sizes=sizes, seed=seed, force=True)
        )
        train, val = done.tallies.values()
        assert (train.frames, train.isolated_atoms, val.frames) == (7, 2, 5)


def test_farthest_points_cover_what_random_frames_miss(tmp_path: Path) -> None:
    pytest.importorskip("dscribe")
    pytest.importorskip("skmatter")
    usual = [shaken("H2O", seed) for seed in range(60)]
    rare = shaken("H2O", 60)
    rare.positions[1] *= 1.7
    source = MemorySource(block([*usual, rare, rare]))
    for seed in range(3):
        conversion = Conversion(
            sizes={"train": 6, "val": 20, "test": 10},
            split_by="farthest-point",
            seed=seed,
            force=True,
        )
        done = convert(source, source_beside(tmp_path), conversion)
        frames = [joined(again_without_labels(path)) for path in done.tallies]
        train = [one[1].round(6).tobytes() for one in frames[0]]
        assert train.count(rare.positions.round(6).tobytes()) == 2
        assert [len(part) for part in frames] in ([6, 20, 10], [7, 20, 10])  # the last: a copy
        seen = [one[1].round(6).tobytes() for part in frames for one in part]
        assert len(set(seen)) == len(seen) - 1


def test_farthest_points_without_their_libraries_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dscribe.descriptors", None)
    source = MemorySource(block([shaken("H2O", seed) for seed in range(4)]))
    conversion = Conversion(sizes={"train": 2}, split_by="farthest-point")
    with pytest.raises(DataError, match=r"needs dscribe.*: pip install 'piwsl-plugins\[data\]'"):
        convert(source, source_beside(tmp_path), conversion)


def test_what_is_not_written_is_told(ani: Source, tmp_path: Path) -> None:
    source = open_source(ani.path, DataSettings(energy=ENERGY))
    done = convert(source, tmp_path / "out.xyz", Conversion())
    assert done.left_behind == {FORCES: 90}
    assert convert(ani, tmp_path / "both.xyz", Conversion()).left_behind == {}


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"formulas": ("Fe2",)}, r"none of its 120 frames is selected: 120 have another formula"),
        ({"elements": ("Fe",)}, "120 have other elements than Fe"),
        ({"max_atoms": 1}, "120 have more than 1 atoms"),
        ({"labels": ("weak_forces",)}, r"no weak forces. Numbers in the file.*--weak-forces-key"),
        ({"random": 121}, "asks for more frames than the 120 that fit"),
        ({"random": 1, "formulas": ("Fe2",)}, "none of its 120 frames is selected"),
    ],
)
def test_a_selection_of_nothing_is_an_error_that_says_why(
    ani: Source, tmp_path: Path, selection: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        selected(ani, tmp_path, **selection)
    assert {path.name for path in tmp_path.iterdir()} == {"ani.h5", "memory.xyz"}


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"elements": ("C", "Xx")}, "--elements: 'Xx' is no element"),
        ({"formulas": ("C2H6O", "c2")}, "--formula: 'c2' is no chemical formula"),
        ({"formulas": ("",)}, "--formula: '' is no chemical formula"),
        ({"labels": ("force",)}, "--with: unknown label 'force'; did you mean 'forces'"),
        ({"every": 0}, "--every: got 0, expected a whole number from 1 on"),
        ({"max_atoms": -1}, "--max-atoms: got -1"),
        ({"first": 1, "random": 1}, "--first and --random are two ways"),
    ],
)
def test_a_selection_that_makes_no_sense_is_an_error(
    selection: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Selection(**selection)  # type: ignore[arg-type]


def test_parts_that_cannot_be_filled_are_an_error_and_nothing_is_written(
    ani: Source, tmp_path: Path
) -> None:
    sizes = {str(number): 0.1 for number in range(7)}
    with pytest.raises(DataError, match="120 frames of 6 molecules that stay together"):
        convert(ani, tmp_path / "out.xyz", Conversion(sizes=sizes, split_by="molecule"))
    assert {path.name for path in tmp_path.iterdir()} == {"ani.h5", "memory.xyz"}


def test_structure_files_beside_a_table_are_hashed_and_never_replaced(tmp_path: Path) -> None:
    names = [f"water_{seed}.xyz" for seed in range(3)]
    for seed, name in enumerate(names):
        ase.io.write(tmp_path / name, shaken("H2O", seed))
    rows = "".join(f"{name},{-2080.0 + i}\n" for i, name in enumerate(names))
    (tmp_path / "table.csv").write_text("file,energy\n" + rows)
    source = open_source(tmp_path / "table.csv", DataSettings(energy="energy"))
    done = convert(source, tmp_path / "out.xyz", Conversion())
    found = json.loads(done.manifest.read_text())["source"]["structure_files"]
    hashes = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names]
    assert found["number"] == 3
    assert found["sha256"] == hashlib.sha256("".join(hashes).encode()).hexdigest()
    with pytest.raises(DataError, match="this is the file that is read"):
        convert(source, tmp_path / names[1], Conversion(force=True))
