"""Placeholders, copies, isolated atoms and distances: what is wrong is named, nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase
import ase.build
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from molecules import as_frames, labelled, read_written, springs
from scipy.spatial.transform import Rotation

from piwsl_plugins.data.checks import check_displacement, closest_pair, copies, find_overlaps
from piwsl_plugins.data.frames import DataError


@pytest.mark.parametrize("value", [0.0, 9999.0, 1e30])
@pytest.mark.parametrize("bad", [[3], [0, 5, 10]])
def test_placeholder_energies_are_refused_and_left_out_on_request(
    tmp_path: Path, value: float, bad: list[int]
) -> None:
    frames = labelled(20)
    for i in bad:
        frames[i].info["REF_energy"] = value
    with pytest.raises(DataError, match=r"stands for none.*leave_out_placeholders"):
        read_written(tmp_path / "a.xyz", frames)
    found = read_written(tmp_path / "a.xyz", frames, leave_out_placeholders=True)
    assert [i for i, f in enumerate(found.frames) if "energy" not in f.labels] == bad
    assert f"{20 - len(bad)} of 20 frames" in found.summary
    assert any("left out" in remark for remark in found.remarks)


def test_energies_that_are_zero_somewhere_on_a_scale_about_zero_are_right(tmp_path: Path) -> None:
    frames = labelled(20)
    for i, atoms in enumerate(frames):
        atoms.info["REF_energy"] = 0.05 * i
    assert read_written(tmp_path / "a.xyz", frames).count("energy") == 20


@pytest.mark.parametrize("bad", [[0], [2, 3], list(range(20))])
@pytest.mark.parametrize("label", ["forces", "weak_forces"])
def test_forces_of_zero_at_other_energies_are_placeholders(
    tmp_path: Path, bad: list[int], label: str
) -> None:
    frames = labelled(20, forces=1.0)
    for i in bad:
        frames[i].arrays["REF_forces"][:] = 0.0
    with pytest.raises(DataError, match="of exactly 0 in"):
        read_written(tmp_path / "a.xyz", frames, **{label: "REF_forces"})
    found = read_written(
        tmp_path / "a.xyz", frames, leave_out_placeholders=True, **{label: "REF_forces"}
    )
    assert [i for i, f in enumerate(found.frames) if label not in f.labels] == bad


def test_forces_that_symmetry_makes_zero_are_right(tmp_path: Path) -> None:
    frames = [ase.build.bulk("Si", a=a) for a in np.linspace(5.2, 5.6, 6)]
    for i, atoms in enumerate(frames):
        atoms.info["energy"] = -10.0 + 0.1 * i
        atoms.arrays["f"] = np.zeros((2, 3))
    assert read_written(tmp_path / "a.xyz", frames, forces="f").count("forces") == 6


def moved(atoms: ase.Atoms, how: str) -> ase.Atoms:
    copy = atoms.copy()
    if how == "turned":
        copy.positions = copy.positions @ Rotation.random(rng=np.random.default_rng(3)).as_matrix()
    if how == "shifted":
        copy.positions += [1.0, 2.0, 3.0]
    if how == "reordered":
        copy = copy[::-1]
    copy.info = dict(atoms.info)
    return copy


@pytest.mark.parametrize("how", ["same", "turned", "shifted", "reordered"])
def test_copies_with_other_energies_are_refused_and_others_told(tmp_path: Path, how: str) -> None:
    frames = labelled(5)
    frames.append(moved(frames[1], how))
    found = read_written(tmp_path / "a.xyz", frames)
    assert any("1 frames are copies" in remark for remark in found.remarks)
    frames[-1].info["REF_energy"] += 0.5
    with pytest.raises(DataError, match=r"frame 5: .* eV; frame 1: "):
        read_written(tmp_path / "a.xyz", frames)
    frames[-1].info["total_charge"] = 1
    read_written(tmp_path / "a.xyz", frames)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.booleans())
def test_copies_are_found_whatever_their_order(chosen: list[int], periodic: bool) -> None:
    frames = []
    for i in chosen:
        atoms = springs()[i][0].copy()
        if periodic:
            atoms.set_cell([8.0, 8.0, 8.0])
            atoms.pbc = True
        frames.append(moved(atoms, "shifted" if len(frames) % 2 else "same"))
    first = copies(as_frames(frames))
    assert first.tolist() == [chosen.index(i) for i in chosen]


def test_frames_of_two_sets_that_are_the_same_are_found() -> None:
    train, test = (as_frames([a for a, _, _ in springs()[i : i + 4]]) for i in (0, 3))
    ((one, other),) = find_overlaps(train, test)
    assert (one.number, other.number) == (0, 3)


def isolated(symbol: str, energy: float | None, **info: Any) -> ase.Atoms:
    label = {} if energy is None else {"REF_energy": energy}
    return ase.Atoms(symbol, info={**label, **info})


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("extra", [{"charge": 1}, {}])
def test_two_energies_of_one_isolated_atom_are_refused(
    tmp_path: Path, marked: bool, extra: dict[str, Any]
) -> None:
    mark = {"config_type": "IsolatedAtom"} if marked else {}
    atoms = [isolated("H", -10.7, **mark), isolated("H", 0.0, **mark, **extra)]
    with pytest.raises(DataError, match=r"isolated atoms of H .* -10.7 eV .* 0 eV"):
        read_written(tmp_path / "a.xyz", [*atoms, *labelled(3)])
    same = [isolated("H", -10.7, **mark), isolated("H", -10.7), isolated("H", None)]
    found = read_written(tmp_path / "a.xyz", [*same, *labelled(3)])
    assert sum(frame.is_isolated_atom for frame in found.frames) == 3


def test_the_closest_pair_is_that_of_all_images() -> None:
    atoms = ase.Atoms("HO", [[0.1, 0, 0], [4.8, 0, 0]], cell=[5, 5, 5], pbc=True)
    found = closest_pair(atoms, 1.0)
    assert found is not None
    assert found[0] == pytest.approx(0.3)
    assert closest_pair(ase.Atoms("H"), 1.0) is None


def test_displacements_beyond_half_the_shortest_distance_are_refused() -> None:
    frames = as_frames([ase.build.molecule("H2O"), ase.build.molecule("H2")])
    check_displacement(frames, 0.3, "--d", "--allow")
    with pytest.raises(ValueError, match=r"frame 1, atoms 0 \(H\) and 1 \(H\), .*Choose --d below"):
        check_displacement(frames, 0.5, "--d", "--allow")


def test_zeros_throughout_a_file_of_many_molecules_are_placeholders(tmp_path: Path) -> None:
    frames = [ase.build.molecule(name) for name in ("H2O", "CH4", "NH3")]
    for i, atoms in enumerate(frames):
        atoms.info["REF_energy"], atoms.arrays["f"] = -300.0 - i, np.zeros((len(atoms), 3))
    with pytest.raises(DataError, match="of exactly 0 in 3 of 3 frames"):
        read_written(tmp_path / "a.xyz", frames, forces="f")
    for atoms in frames:
        atoms.info["REF_energy"] = 0.0
    with pytest.raises(DataError, match="energy 'REF_energy' of exactly 0 in 3 of 3"):
        read_written(tmp_path / "a.xyz", frames)
