"""Wrong units are refused with the likely right one where that is sure, and right data never."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.collections import g2
from molecules import OFFSET, in_cells, labelled, read_written, springs

from piwsl_plugins import datasets
from piwsl_plugins.data.frames import DataError
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.units import ENERGY_UNITS, LENGTH_UNITS

EH, BOHR = units.Hartree, units.Bohr
SHIPPED = datasets.path("formaldehyde_ccsdt_cbs")


def shipped() -> tuple[list[ase.Atoms], dict[int, float]]:
    """Coupled-cluster geometries and energies, and the isolated atoms' energies, eV."""
    atoms = ase.io.read(SHIPPED / "isolated_atoms.xyz", ":")
    return ase.io.read(SHIPPED / "train.xyz", ":"), {
        int(a.numbers[0]): a.info["REF_energy"] for a in atoms
    }


def test_the_shipped_data_are_right() -> None:
    found = read(SHIPPED / "train_weak_forces.xyz", DataSettings(weak_forces="weak_forces"))
    assert not found.remarks
    assert not read(SHIPPED / "train.xyz", DataSettings(), atomic_energies=shipped()[1]).remarks


@pytest.mark.parametrize("unit", ["hartree", "meV", "kcal/mol", "rydberg"])
@pytest.mark.parametrize("kind", ["total", "valence"])
def test_energies_in_another_unit_are_refused_with_its_name(
    tmp_path: Path, unit: str, kind: str
) -> None:
    frames = shipped()[0][:60] if kind == "total" else labelled()
    for atoms in frames:
        atoms.info = {"REF_energy": atoms.info["REF_energy"] / ENERGY_UNITS[unit]}
    found = read_written(tmp_path / "a.xyz", frames, allow_unusual_units=True)
    assert any("looks like" in remark for remark in found.remarks)
    with pytest.raises(DataError, match=rf"looks like.* {unit}.*--energy_unit"):
        read(tmp_path / "a.xyz", DataSettings(), spelling={"energy_unit": "--energy_unit"})
    read_written(tmp_path / "a.xyz", frames, energy_unit=unit)


@pytest.mark.parametrize("unit", ["bohr", "nm"])
@pytest.mark.parametrize("bulk", [False, True])
def test_lengths_in_another_unit_are_refused(tmp_path: Path, unit: str, bulk: bool) -> None:
    frames = labelled(5)
    if bulk:
        frames = [ase.build.bulk("Cu", "fcc", 3.6 + 0.1 * i, cubic=True) for i in range(4)]
        for i, atoms in enumerate(frames):
            atoms.info["REF_energy"] = -10.0 - i
    for atoms in frames:
        atoms.set_cell(atoms.cell / LENGTH_UNITS[unit])
        atoms.positions /= LENGTH_UNITS[unit]
    with pytest.raises(DataError, match=f"looks like {unit}; set length_unit to {unit}"):
        read_written(tmp_path / "a.xyz", frames)
    assert read_written(tmp_path / "a.xyz", frames, length_unit=unit).count("energy") == len(frames)


@pytest.mark.parametrize(
    ("label", "unit", "factor"),
    [
        ("forces", "hartree/bohr", EH / BOHR),
        ("forces", "eV/bohr", 1 / BOHR),
        ("weak_forces", "kcal/mol/angstrom", units.kcal / units.mol),
    ],
)
def test_forces_in_another_unit_are_refused_where_many_pairs_say_so(
    tmp_path: Path, unit: str, factor: float, label: str
) -> None:
    frames = labelled(forces=1.0 / factor)
    keys = {label: "REF_forces"}
    with pytest.raises(DataError, match=f"looks like {unit}.*set {label}_unit"):
        read_written(tmp_path / "a.xyz", frames, **keys)
    read_written(tmp_path / "a.xyz", frames, **keys, **{f"{label}_unit": unit})
    few = read_written(tmp_path / "a.xyz", frames[:8], **keys)
    assert any(label.replace("_", " ") in remark for remark in few.remarks)


def test_gradients_are_not_forces(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="write forces as -KEY"):
        read_written(tmp_path / "a.xyz", labelled(forces=-1.0), forces="REF_forces")
    found = read_written(tmp_path / "a.xyz", labelled(forces=-1.0), forces="-REF_forces")
    np.testing.assert_allclose(found.frames[0].labels["forces"], springs()[0][2], atol=1e-7)


def test_two_odd_frames_refuse_nothing(tmp_path: Path) -> None:
    frames = labelled(2, forces=1.0)
    frames[1].info["REF_energy"] += 2.0
    found = read_written(tmp_path / "a.xyz", frames, forces="REF_forces")
    assert found.count("forces") == 2


def strained(number: int, rattle: float) -> list[ase.Atoms]:
    """Copper cells under strain, with energies, forces and stress of EMT."""
    generator = np.random.default_rng(1)
    frames = []
    for i in range(number):
        atoms = ase.build.bulk("Cu", cubic=True)
        strain = generator.normal(scale=0.01, size=(3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
        atoms.rattle(rattle, seed=i)
        atoms.calc = EMT()
        results = {k: atoms.calc.get_property(k, atoms) for k in ("energy", "forces", "stress")}
        atoms.calc = None
        atoms.info = {"REF_energy": results["energy"], "REF_stress": results["stress"]}
        atoms.arrays["REF_forces"] = results["forces"]
        frames.append(atoms)
    return frames


@pytest.mark.parametrize("rattle", [0.0, 0.02])
def test_the_sign_and_the_unit_of_the_stress_follow_from_strained_pairs(
    tmp_path: Path, rattle: float
) -> None:
    frames = strained(60, rattle)
    keys = {"forces": "REF_forces", "stress": "REF_stress"}
    good = read_written(tmp_path / "a.xyz", frames, **keys)
    assert not any("stress" in remark for remark in good.remarks)
    for atoms in frames:
        atoms.info["REF_stress"] = -10.0 * atoms.info["REF_stress"] / units.GPa
    with pytest.raises(DataError, match="stress"):
        read_written(tmp_path / "b.xyz", frames, **keys)
    with pytest.raises(DataError, match="set stress_sign"):
        read_written(tmp_path / "b.xyz", frames, **keys, stress_unit="kbar")
    with pytest.raises(DataError, match="looks like kbar"):
        read_written(
            tmp_path / "b.xyz", frames, **keys, stress_unit="GPa", stress_sign="compression"
        )
    read_written(tmp_path / "b.xyz", frames, **keys, stress_unit="kbar", stress_sign="compression")


def test_a_stress_beyond_all_experiments_is_refused(tmp_path: Path) -> None:
    frames = in_cells(labelled(2))
    for atoms in frames:
        atoms.info["s"] = 50.0 * np.ones(6)
    with pytest.raises(DataError, match=r"50 eV/angstrom\^3 \(8011 GPa\)"):
        read_written(tmp_path / "a.xyz", frames, stress="s")
    assert read_written(tmp_path / "a.xyz", frames, stress="s", stress_unit="kbar").count("stress")


E0S = {1: -13.6, 6: -1029.0, 8: -2041.8}


@pytest.mark.parametrize("atoms", [E0S, {1: -0.4, 6: -5.5, 8: -9.0}])
def test_energies_of_atoms_of_another_method_are_told_as_such(
    tmp_path: Path, atoms: dict[int, float]
) -> None:
    path = tmp_path / "a.xyz"
    ase.io.write(path, labelled())
    with pytest.raises(DataError, match="different methods, or the E0s are not in eV") as error:
        read(path, DataSettings(), atomic_energies=atoms)
    assert "looks like" not in str(error.value)
    right = {1: -10.0, 6: -150.0, 8: OFFSET + 15.0 + 170.0}
    assert not read(path, DataSettings(), atomic_energies=right).remarks


def test_isolated_atoms_in_the_file_tell_the_unit(tmp_path: Path) -> None:
    frames, atoms = shipped()
    # counted from elsewhere, so that the total energies say nothing
    isolated = [ase.Atoms([z], info={"REF_energy": (e + 1000.0) / EH}) for z, e in atoms.items()]
    molecules = frames[:3]
    for molecule in molecules:
        molecule.info = {"REF_energy": (molecule.info["REF_energy"] + 4000.0) / EH}
    with pytest.raises(DataError, match="looks like hartree"):
        read_written(tmp_path / "a.xyz", [*isolated, *molecules])


def test_what_cannot_be_judged_is_said(tmp_path: Path) -> None:
    frames = [ase.Atoms("Cu2", [[0, 0, 0], [2.2, 0, 0]], info={"energy": -10.0})]
    (remark,) = read_written(tmp_path / "a.xyz", frames).remarks
    assert "could not be judged" in remark


def test_low_energies_in_another_unit_are_refused(tmp_path: Path) -> None:
    frames = labelled()
    for atoms in frames:
        atoms.info["mp2"] = atoms.info["REF_energy"] / EH
    with pytest.raises(DataError, match="looks like hartree; set low_energy_unit"):
        read_written(tmp_path / "a.xyz", frames, low_energy="mp2")
    read_written(tmp_path / "a.xyz", frames, low_energy="mp2", low_energy_unit="hartree")


def test_energies_that_never_change_are_refused(tmp_path: Path) -> None:
    frames = labelled(20)
    for atoms in frames:
        atoms.info["REF_energy"] = OFFSET
    with pytest.raises(DataError, match="all the same, at different geometries"):
        read_written(tmp_path / "a.xyz", frames)


def test_single_precision_is_told(tmp_path: Path) -> None:
    frames = labelled(20, 1.0 / EH)
    for i, atoms in enumerate(frames):
        atoms.info["REF_energy"] = float(np.float32(-5000.0 + atoms.info["REF_energy"] + i * 1e-3))
    found = read_written(tmp_path / "a.xyz", frames, energy_unit="hartree")
    assert any("single precision, in steps of 0.00049 hartree" in text for text in found.remarks)


def test_right_data_of_other_kinds_raise_no_alarm(tmp_path: Path) -> None:
    molecules = [g2[name] for name in g2.names]
    for atoms in molecules:
        atoms.info["energy"] = -12.0 * len(atoms)
    assert read_written(tmp_path / "a.xyz", molecules).count("energy") == len(molecules)
    scan = [ase.Atoms("H2", [[0, 0, 0], [0.7 + 0.3 * i, 0, 0]]) for i in range(20)]
    for i, atoms in enumerate(scan):
        atoms.info["energy"] = -30.0 + 0.2 * i
    assert read_written(tmp_path / "b.xyz", scan).count("energy") == 20
    salt = []
    for i in range(25):
        atoms = ase.build.bulk("MgO", "rocksalt", a=4.21, cubic=True)
        atoms.rattle(0.05, seed=i)
        u = atoms.positions - ase.build.bulk("MgO", "rocksalt", a=4.21, cubic=True).positions
        atoms.info["energy"] = float(-50.0 + 3.0 * np.sum(u**2))
        atoms.arrays["f"] = -6.0 * u
        salt.append(atoms)
    found = read_written(tmp_path / "c.xyz", salt, forces="f")
    assert not any("forces" in remark for remark in found.remarks)


def test_few_near_frames_prove_nothing(acac: Path, tmp_path: Path) -> None:
    frames = ase.io.read(acac / "test_300K.xyz", ":12")
    found = read_written(tmp_path / "a.xyz", frames, forces="REF_forces")
    assert not any("times" in remark for remark in found.remarks)
