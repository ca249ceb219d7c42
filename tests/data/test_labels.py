"""Each label is found under its key and converted from its own unit, and nothing is invented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase
import ase.db
import numpy as np
import pytest
from ase import units
from molecules import OFFSET, calculated, in_cells, labelled, read_written, springs, write

from piwsl_plugins.data.frames import DataError
from piwsl_plugins.data.keys import is_total
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.units import ENERGY_UNITS, STATEMENT

EH, BOHR = units.Hartree, units.Bohr


TOTAL = """energy REF_energy total_energy TotEnergy dft_energy free_energy E E_tot wb97x_dz.energy
ccsd(t)_cbs.energy dft_total_energy PBE-D3-energy potential_energy"""
OTHER = """kinetic_energy energy_per_atom zero_point_energy formation_energy corr_energy weak_energy
U0 mp2_qz.corr_energy d3_energy energy_gap interaction_energy my_energy low_energy e_above_hull
atomization_energy energy_std electronic_energy homo"""


def test_names_of_total_energies_are_taken_and_of_others_never() -> None:
    assert [name for name in TOTAL.split() if not is_total(name)] == []
    assert [name for name in OTHER.split() if is_total(name)] == []


@pytest.mark.parametrize("suffix", ["xyz", "db"])
@pytest.mark.parametrize("key", ["kinetic_energy", "energy_per_atom", "zero_point_energy"])
def test_an_energy_that_is_no_total_one_is_asked_for(tmp_path: Path, key: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "xyz":
        frames = [atoms.copy() for atoms, _, _ in springs()[:3]]
        for i, atoms in enumerate(frames):
            atoms.info = {key: 0.3 + i, "u": 1.0}
        write(path, frames)
    else:
        with ase.db.connect(path) as database:
            for i, (atoms, _, _) in enumerate(springs()[:3]):
                database.write(atoms, **{key: 0.3 + i, "u": 1.0})
    with pytest.raises(DataError, match=rf"{key} \(3 frames\).*--energy_key"):
        read(path, DataSettings(), spelling={"energy": "--energy_key"})
    per_atom = "per_atom" in key
    if per_atom:
        with pytest.raises(DataError, match="per atom by its name; set per_atom_energy"):
            read(path, DataSettings(energy=key))
    found = read(path, DataSettings(energy=key, per_atom_energy=per_atom)).frames[0]
    assert found.labels["energy"] == pytest.approx(0.3 * (len(found.atoms) if per_atom else 1))


def test_several_total_energies_are_asked_for_and_ref_energy_comes_first(tmp_path: Path) -> None:
    frames = labelled(3)
    for atoms in frames:
        atoms.info["mp2_energy"] = atoms.info["REF_energy"] + 5.0
    assert "'REF_energy' (eV), 3 frames" in read_written(tmp_path / "a.xyz", frames).summary
    for atoms in frames:
        atoms.info["energy"] = atoms.info.pop("REF_energy")
    with pytest.raises(DataError, match="several keys may be the energy: energy, mp2_energy"):
        read_written(tmp_path / "b.xyz", frames)
    for atoms in frames:
        atoms.info = {"energy": atoms.info["energy"], "free_energy": atoms.info["energy"]}
    assert "'energy' (eV)" in read_written(tmp_path / "c.xyz", frames).summary


def test_the_summary_names_keys_units_and_counts(tmp_path: Path) -> None:
    frames = labelled(40)
    for atoms, (_, _, forces) in zip(frames, springs()[:40], strict=True):
        atoms.arrays["weak_forces"] = forces
    found = read_written(tmp_path / "energies.xyz", frames, weak_forces="weak_forces")
    assert found.summary == (
        "energies.xyz: energy: 'REF_energy' (eV), 40 frames; forces: none; weak forces: "
        "'weak_forces' (eV/angstrom), 40"
    )


@pytest.mark.parametrize("unit", ["eV", "hartree", "kcal/mol"])
def test_an_energy_unit_concerns_the_reference_energy_alone(tmp_path: Path, unit: str) -> None:
    frames = labelled(25, 1.0 / ENERGY_UNITS[unit])
    for atoms, (_, energy, forces) in zip(frames, springs()[:25], strict=True):
        atoms.info["weak_energy"], atoms.arrays["weak_forces"] = energy, forces
        atoms.info[STATEMENT] = "weak_energy=eV"
    keys = {"low_energy": "weak_energy", "weak_forces": "weak_forces"}
    found = read_written(tmp_path / "a.xyz", frames, energy_unit=unit, **keys)
    for frame, (_, energy, forces) in zip(found.frames, springs()[:25], strict=True):
        assert frame.labels["energy"] == pytest.approx(energy, rel=1e-7)
        assert frame.labels["low_energy"] == pytest.approx(energy, rel=1e-7)
        np.testing.assert_allclose(frame.labels["weak_forces"], forces, atol=1e-6)
        assert STATEMENT not in frame.atoms.info
    stated = read(tmp_path / "a.xyz", DataSettings(energy="weak_energy", energy_unit="hartree"))
    assert stated.frames[0].labels["energy"] == pytest.approx(springs()[0][1])


@pytest.mark.parametrize(
    ("settings", "factor"),
    [
        ({"forces_unit": "hartree/bohr"}, EH / BOHR),
        ({"energy_unit": "hartree"}, EH),
        ({"energy_unit": "hartree", "length_unit": "bohr"}, EH / BOHR),
        ({}, 1.0),
    ],
)
def test_forces_follow_their_own_unit_or_that_of_energy_and_length(
    tmp_path: Path, settings: dict[str, Any], factor: float
) -> None:
    length = BOHR if "length_unit" in settings else 1.0
    scale = EH if "energy_unit" in settings else 1.0
    frames = labelled(4, 1.0 / scale, forces=1.0 / factor)
    for atoms in frames:
        atoms.positions /= length
    found = read_written(tmp_path / "a.xyz", frames, forces="REF_forces", **settings).frames[0]
    assert found.labels["energy"] == pytest.approx(springs()[0][1])
    np.testing.assert_allclose(found.labels["forces"], springs()[0][2], atol=1e-6)
    np.testing.assert_allclose(found.atoms.positions, springs()[0][0].positions, atol=1e-6)


def test_labels_that_were_not_asked_for_are_not_taken(tmp_path: Path) -> None:
    found = read_written(tmp_path / "a.xyz", calculated())
    assert set(found.frames[0].labels) == {"energy"}
    path = tmp_path / "a.xyz"
    defaults = {"forces": ("REF_forces", "forces"), "energy": "REF_energy"}
    found = read(path, DataSettings(), default_keys=defaults)
    assert set(found.frames[0].labels) == {"energy", "forces"}


@pytest.mark.parametrize(
    ("key", "unit"), [("REF_energy_hartree", EH), ("dft_energy_eV", 1.0), ("energy.hartree", EH)]
)
def test_a_name_may_state_the_unit(tmp_path: Path, key: str, unit: float) -> None:
    frames = labelled(3)
    for atoms in frames:
        atoms.info = {key: atoms.info["REF_energy"] / unit}
    found = read_written(tmp_path / "a.xyz", frames)
    assert found.frames[0].labels["energy"] == pytest.approx(springs()[0][1])


GPA = units.GPa
TENSOR = np.array([[1.0, 0.2, 0.1], [0.2, 2.0, 0.3], [0.1, 0.3, 3.0]])
VOIGT = np.array([1.0, 2.0, 3.0, 0.3, 0.1, 0.2])


@pytest.mark.parametrize("value", [TENSOR.ravel(), VOIGT], ids=["9", "6"])
@pytest.mark.parametrize(
    ("settings", "unit"),
    [
        ({}, 1.0),
        ({"stress_unit": "GPa"}, GPA),
        ({"stress_unit": "kbar", "stress_sign": "compression"}, -0.1 * GPA),
    ],
)
def test_a_stress_has_a_unit_a_sign_and_six_or_nine_numbers(
    tmp_path: Path, value: np.ndarray, settings: dict[str, Any], unit: float
) -> None:
    frames = in_cells(labelled(3))
    for atoms in frames:
        atoms.info["s"] = 0.01 * value / unit
    found = read_written(tmp_path / "a.xyz", frames, stress="s", **settings)
    np.testing.assert_allclose(found.frames[0].labels["stress"], 0.01 * TENSOR, atol=1e-8)


def test_virials_are_minus_the_stress_times_the_volume(tmp_path: Path) -> None:
    frames = in_cells(labelled(3, 1.0 / EH))
    for atoms in frames:
        atoms.info["virials"] = -0.01 * TENSOR.ravel() * 1000.0
    found = read_written(tmp_path / "a.xyz", frames, virials="virials", energy_unit="hartree")
    np.testing.assert_allclose(found.frames[0].labels["stress"], 0.01 * TENSOR, atol=1e-8)
    with pytest.raises(DataError, match="both give the stress"):
        read_written(tmp_path / "a.xyz", frames, virials="virials", stress="virials")


def test_missing_labels_are_missing_and_never_zero(tmp_path: Path) -> None:
    frames = labelled(4, forces=1.0)
    del frames[0].info["REF_energy"]
    frames[1].info["REF_energy"] = np.nan
    frames[2].arrays["REF_forces"][:] = np.nan
    found = read_written(tmp_path / "a.xyz", frames, forces="REF_forces")
    assert ["energy" in frame.labels for frame in found.frames] == [False, False, True, True]
    assert "forces" not in found.frames[2].labels
    assert "2 of 4 frames" in found.summary
    assert np.isnan(found.energies()[:2]).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.info.update(REF_energy=np.inf), "'REF_energy' is not finite"),
        (lambda a: a.arrays["REF_forces"].__setitem__((0, 0), np.nan), "not finite throughout"),
        (lambda a: a.info.update(REF_energy="none"), "'none', expected a number"),
        (lambda a: a.positions.__setitem__((1, 2), np.nan), "position of atom 1"),
        (lambda a: a.numbers.__setitem__(0, 0), "atom 0 is of no element"),
    ],
)
def test_broken_numbers_name_the_frame(tmp_path: Path, spoil: Any, message: str) -> None:
    frames = labelled(4, forces=1.0)
    spoil(frames[2])
    with pytest.raises(DataError, match=f"frame 2.*{message}"):
        read_written(tmp_path / "a.xyz", frames, forces="REF_forces")


def test_a_missing_key_lists_those_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", labelled(3))
    with pytest.raises(DataError, match=r"'REF_enrgy'; did you mean 'REF_energy'.*\(3 frames\)"):
        read(path, DataSettings(energy="REF_enrgy"))
    found = read(path, DataSettings(forces="dft_forces"))
    assert any("dft_forces" in remark for remark in found.remarks)
    for atoms in (frames := labelled(2)):
        atoms.info = {}
    path = write(tmp_path / "b.xyz", frames)
    assert not read(path, DataSettings(), needs_energies=False).count("energy")
    with pytest.raises(DataError, match="keys in the file are none"):
        read(path, DataSettings())


def test_a_sum_of_columns_is_a_label(tmp_path: Path) -> None:
    frames = labelled(3)
    for atoms in frames:
        atoms.info = {"hf.energy": OFFSET + 1.0, "mp2.corr_energy": -1.0, "kind": "x"}
    found = read_written(tmp_path / "a.xyz", frames, energy="hf.energy + mp2.corr_energy")
    assert found.frames[0].labels["energy"] == pytest.approx(OFFSET)
    assert found.frames[0].atoms.info == {"kind": "x"}
