"""Methods by name: what the labels depend on, and files of every format."""

from __future__ import annotations

import sys
from pathlib import Path

import ase
import ase.io
import h5py
import numpy as np
import pytest
from ase.db import connect
from springs import springs

from piwsl_plugins.weak.command import main
from piwsl_plugins.weak.frames import Frame
from piwsl_plugins.weak.methods import method_of
from piwsl_plugins.weak.states import task_of
from piwsl_plugins.weak.tasks import Task

EMT = "ase.calculators.emt.EMT"


def frame(**info: object) -> Frame:
    atoms = ase.Atoms("H2", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.7]], info=info)
    return Frame(name="file, frame 0", atoms=atoms, keys=frozenset(), energy=None, forces=None)


def told(made: Frame, takes_state: bool, charge: int | None, spin: int | None) -> Task:
    return task_of(made.name, made.atoms, takes_state, charge, spin)


def test_labels_belong_to_frame_state_method_and_arguments() -> None:
    emt = method_of(EMT, None, "")
    same = method_of(EMT, '{"asap_cutoff": false}', "")
    assert emt.digest() == method_of(EMT, "{}", "/elsewhere").digest()
    assert emt.digest() != same.digest()
    task = told(frame(), True, 0, 1)
    moved = frame()
    moved.atoms.positions[1, 2] += 1e-12
    other = [told(moved, True, 0, 1), told(frame(), True, 0, 3), told(frame(), True, 2, 1)]
    keys = {found.key("method") for found in (task, *other)}
    assert len(keys | {task.key("another method")}) == 5
    assert task.key("method") == told(frame(), True, 0, 1).key("method")


def test_a_module_of_ones_own_counts_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for word in ("one", "two"):
        folder = tmp_path / word
        folder.mkdir()
        text = f"# {word}\nfrom ase.calculators.emt import EMT as Mine\n"
        (folder / "my_own_calculator.py").write_text(text)
        monkeypatch.syspath_prepend(folder)
        sys.modules.pop("my_own_calculator", None)
        digests.append(method_of("my_own_calculator.Mine", None, "").digest())
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("gfn3-xtb", None, "unknown method 'gfn3-xtb'; expected gfn1-xtb, gfn2-xtb, keys"),
        ("mine.model", None, "mine.model: there is no such file"),
        ("ase.calculators.emt.MET", None, "--method ase.calculators.emt.MET.*has no attribute"),
        ("ase.build.molecule", '{"name": "H2"}', "this is no ASE calculator"),
        (EMT, '{"a": ', "this is no JSON"),
    ],
)
def test_a_method_that_is_none_is_told(name: str, arguments: str | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        method_of(name, arguments, "")


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, (0, None)),
        ({"charge": np.int64(-1), "spin": 2.0}, (-1, 2)),
        ({"charge": 1, "multiplicity": 2, "spin": 2}, (1, 2)),
    ],
)
def test_charge_and_multiplicity_come_from_the_frame(
    info: dict[str, object], expected: tuple[int, int | None]
) -> None:
    task = told(frame(**info), True, None, None)
    assert (task.charge, task.spin) == expected
    untold = told(frame(**info), False, None, None)
    assert (untold.charge, untold.spin) == (None, None)


@pytest.mark.parametrize(
    ("info", "given", "reason"),
    [
        ({"charge": 0.5}, (None, None), "charge in its info is 0.5"),
        ({"spin": 0}, (None, None), "spin in its info is 0, expected 2S"),
        ({"charge": "two"}, (None, None), "charge in its info is 'two'"),
        ({"spin": 1, "multiplicity": 3}, (None, None), "multiplicity in its info is 3 and spin"),
        ({"charge": 1}, (0, None), "--charge is 0 and charge in its info is 1"),
    ],
)
def test_a_charge_or_multiplicity_that_contradicts_is_an_error(
    info: dict[str, object], given: tuple[int | None, int | None], reason: str
) -> None:
    with pytest.raises(ValueError, match=f"file, frame 0: {reason}"):
        told(frame(**info), True, *given)


def test_an_ani_file_is_labelled_in_electronvolt_and_angstrom(tmp_path: Path) -> None:
    positions = np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 0.7 + 0.1 * i]] for i in range(3)])
    with h5py.File(tmp_path / "ani.h5", "w") as file:
        group = file.create_group("H2")
        group["atomic_numbers"] = np.array([1, 1], dtype="u1")
        group["coordinates"] = positions
        group["wb97x_dz.energy"] = np.array([-1.0, np.nan, -1.2])
        group["wb97x_dz.forces"] = np.ones((3, 2, 3))
    out = tmp_path / "out.xyz"
    words = ["--method", "springs.Springs", "--processes", "1", "-o", str(out)]
    assert main(["label", str(tmp_path / "ani.h5"), *words]) == 0
    found = ase.io.read(out, index=":")
    assert found[0].info["REF_energy"] == pytest.approx(-27.211386, abs=1e-5)
    assert "REF_energy" not in found[1].info
    for atoms, expected in zip(found, positions, strict=True):
        np.testing.assert_array_equal(atoms.positions, expected)
        assert atoms.info["weak_energy"] == springs(expected)[0]


def test_an_ase_database_keeps_its_own_labels(tmp_path: Path) -> None:
    atoms = frame().atoms
    with connect(tmp_path / "in.db") as database:
        for number in range(3):
            atoms.positions[1, 2] += 0.1
            database.write(atoms, REF_energy=-30.0 + number, kind="dimer")
    out = tmp_path / "out.xyz"
    words = ["--method", "springs.Springs", "--processes", "1", "-o", str(out)]
    assert main(["label", str(tmp_path / "in.db"), *words]) == 0
    found = ase.io.read(out, index=":")
    assert [atoms.info["REF_energy"] for atoms in found] == [-30.0, -29.0, -28.0]
    assert all("weak_forces" in atoms.arrays for atoms in found)


@pytest.mark.parametrize("unit", ["hartree", "eV"])
def test_units_that_are_given_are_turned_into_ours(unit: str, tmp_path: Path) -> None:
    atoms = frame(REF_energy=-1.0).atoms
    ase.io.write(tmp_path / "in.xyz", atoms)
    out = tmp_path / "out.xyz"
    words = ["--method", "springs.Springs", "--processes", "1", "-o", str(out)]
    units = ["--energy-unit", unit, "--length-unit", "bohr"]
    assert main(["label", str(tmp_path / "in.xyz"), *words, *units]) == 0
    found = ase.io.read(out)
    assert found.positions[1, 2] == pytest.approx(0.7 * 0.529177, abs=1e-5)
    factor = {"hartree": 27.211386, "eV": 1.0}[unit]
    assert found.info["REF_energy"] == pytest.approx(-factor, abs=1e-5)
