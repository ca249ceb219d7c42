"""`piwsl label`: every frame labelled once, nothing lost, nothing made up."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase
import ase.io
import h5py
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from springs import springs

from piwsl_plugins.cli import main
from piwsl_plugins.data.frames import Frame
from piwsl_plugins.data.reading import read as read_labels
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.teacher.label import agreement
from piwsl_plugins.teacher.labelling import Labels

HERE = Path(__file__).parent
SPRINGS = "springs.Springs"


def trimer(distance: float, symbols: str = "H3") -> ase.Atoms:
    return ase.Atoms(symbols, [[0.0, 0.0, 0.0], [distance, 0.0, 0.0], [0.1, 1.1, 0.3]])


def trimers(count: int, slope: float = 2.0) -> list[ase.Atoms]:
    frames = [trimer(0.9 + 0.01 * number) for number in range(count)]
    for number, atoms in enumerate(frames):
        atoms.info["REF_energy"] = slope * springs(atoms.positions)[0] - 100.0
        atoms.info["config_type"] = f"kind {number}"
    return frames


def write(path: Path, frames: list[ase.Atoms]) -> Path:
    ase.io.write(path, frames, format="extxyz")
    return path


def label(file: Path, out: Path, *options: str, method: str = SPRINGS) -> int:
    words = ["--method", method, "-o", str(out), "--allow-unusual-units", *options]
    return main(["label", str(file), *words])


def read(path: Path) -> list[ase.Atoms]:
    return ase.io.read(path, index=":")


# --- what is written -----------------------------------------------------------------------------


def test_every_frame_gets_the_methods_labels_and_keeps_all_that_it_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = trimers(5)
    for atoms in frames:
        atoms.arrays["tags_of_mine"] = np.arange(3)
        atoms.arrays["charges_of_mine"] = np.array([[0.1, 0.3]] * 3)
        atoms.calc = SinglePointCalculator(atoms, energy=-7.0, forces=np.full((3, 3), 0.5))
    source, out = write(tmp_path / "in.xyz", frames), tmp_path / "out.xyz"
    assert label(source, out, "--energy-key", "REF_energy", "--forces-key", "forces") == 0
    for atoms, found in zip(read(source), read(out), strict=True):
        energy, forces = springs(atoms.positions)
        assert found.info["weak_energy"] == energy  # to the last bit
        np.testing.assert_array_equal(found.arrays["weak_forces"], forces)
        np.testing.assert_array_equal(found.positions, atoms.positions)
        assert found.info["REF_energy"] == atoms.info["REF_energy"]
        assert found.info["config_type"] == atoms.info["config_type"]
        assert found.get_potential_energy() == -7.0
        np.testing.assert_array_equal(found.get_forces(), atoms.get_forces())
        for name in ("tags_of_mine", "charges_of_mine"):
            np.testing.assert_array_equal(found.arrays[name], atoms.arrays[name])
    assert "(5 frames): slope 0.500, correlation 1.000" in capsys.readouterr().out


def test_labels_are_read_back_in_their_own_units_whatever_those_of_the_reference(
    tmp_path: Path,
) -> None:
    frames = trimers(12)
    source = write(tmp_path / "in.xyz", frames)
    assert label(source, tmp_path / "out.xyz") == 0
    settings = DataSettings(
        energy="REF_energy",
        energy_unit="hartree",
        low_energy="weak_energy",
        low_forces="weak_forces",
        allow_unusual_units=True,
    )
    for frame in read_labels(tmp_path / "out.xyz", settings).frames:
        energy, forces = springs(frame.atoms.positions)
        assert frame.labels["low_energy"] == pytest.approx(energy, abs=1e-12)
        np.testing.assert_allclose(frame.labels["low_forces"], forces, atol=1e-12)


def test_other_formats_and_units_become_ours(tmp_path: Path) -> None:
    positions = np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 0.7 + 0.1 * i]] for i in range(3)])
    with h5py.File(tmp_path / "ani.h5", "w") as file:
        group = file.create_group("H2")
        group["atomic_numbers"] = np.array([1, 1], dtype="u1")
        group["coordinates"] = positions
        group["wb97x_dz.energy"] = np.array([-1.0, np.nan, -1.2])
    ase.io.write(tmp_path / "in.xyz", ase.Atoms("H2", positions[0], info={"REF_energy": -1.0}))
    key = ["--energy-key", "wb97x_dz.energy"]
    assert label(tmp_path / "ani.h5", tmp_path / "a.xyz", *key) == 0
    found = read(tmp_path / "a.xyz")
    assert [("REF_energy" in atoms.info) for atoms in found] == [True, False, True]
    for atoms, expected in zip(found, positions, strict=True):
        np.testing.assert_array_equal(atoms.positions, expected)
        assert atoms.info["weak_energy"] == springs(expected)[0]
    units = ["--energy-unit", "hartree", "--length-unit", "bohr"]
    assert label(tmp_path / "in.xyz", tmp_path / "b.xyz", *units) == 0
    for atoms, length in ((found[0], 1.0), (read(tmp_path / "b.xyz")[0], 0.529177)):
        assert atoms.info["REF_energy"] == pytest.approx(-27.211386, abs=1e-5)
        assert atoms.positions[1, 2] == pytest.approx(0.7 * length, abs=1e-5)


# --- charge and spin -----------------------------------------------------------------------------


def test_charge_and_spin_are_taken_from_what_states_them_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tblite = pytest.importorskip("tblite.ase")
    frames = [molecule("O2"), molecule("H2O"), molecule("NO"), molecule("H2O")]
    for atoms in frames:
        atoms.set_initial_magnetic_moments(np.zeros(len(atoms)))
    frames[0].info |= {"total_charge": 0, "total_spin": 3}
    frames[1].set_initial_charges([-0.5, -0.25, -0.25])
    frames[3].info |= {"charge": 1, "total_charge": -1}
    assert label(write(tmp_path / "in.xyz", frames), tmp_path / "o.xyz", method="gfn2-xtb") == 0
    said = capsys.readouterr()
    assert "charge +0 (total_charge), multiplicity 3 (total_spin): 1 frames" in said.out
    assert "multiplicity 2 (nothing states it): 1 frames" in said.out
    assert "frame 3 (OH2): charge is stated twice: charge is 1 and total_charge is -1" in said.err
    found = read(tmp_path / "o.xyz")
    for atoms, (charge, spin) in zip(found, [(0, 3), (-1, 2), (0, 2)], strict=True):
        other = ase.Atoms(atoms.numbers, atoms.positions)
        other.calc = tblite.TBLite(method="GFN2-xTB", charge=charge, multiplicity=spin, verbosity=0)
        assert atoms.info["weak_energy"] == pytest.approx(other.get_potential_energy(), abs=1e-6)


def test_a_charge_that_a_method_is_not_told_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = trimers(3)
    frames[0].info["charge"] = 1
    assert label(write(tmp_path / "in.xyz", frames), tmp_path / "out.xyz") == 0
    assert "1 frames state a charge or spin (charge)" in capsys.readouterr().err


# --- failures ------------------------------------------------------------------------------------


def test_a_frame_that_fails_in_whatever_way_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = [trimer(3.0), trimer(4.0), trimer(5.0), trimer(1.0, "HHS"), trimer(1.0, "HHAu")]
    frames = [*trimers(4), *odd, *trimers(8)[4:]]
    source, out = write(tmp_path / "in.xyz", frames), tmp_path / "out.xyz"
    limits = '{"fails_above": 2.9, "hangs_above": 3.9, "dies_above": 4.9}'
    assert label(source, out, "--arguments", limits, "--timeout", "3") == 0
    assert [atoms.info["config_type"] for atoms in read(out)] == [f"kind {i}" for i in range(8)]
    said = capsys.readouterr()
    for number, formula, why in (
        (4, "H3", "the springs did not converge"),
        (5, "H3", "its process died, or took longer than 3 s"),
        (6, "H3", "its process died"),
        (7, "H2S", "the forces are not finite"),
        (8, "H2Au", "NotImplementedError: no springs for gold"),
    ):
        assert f"in.xyz, frame {number} ({formula}): {why}" in said.err
    assert "5 frames have no labels and are left out" in said.err
    assert "8 of 13 frames" in said.out


@pytest.mark.parametrize(
    ("frames", "options", "reason"),
    [
        (trimers(25), ["--arguments", '{"fails_above": 0.1}'], "failed for each of the first 20"),
        (trimers(2), ["--arguments", '{"fails_above": 0.1}'], "no frame could be labelled"),
        (trimers(2), ["--arguments", '{"fails": 1}'], "--method springs.Springs.*fails"),
        (trimers(2), ["--charge", "1"], "springs.Springs is not told them"),
        (
            [ase.Atoms("H", info={"REF_energy": 1.0, "weak_energy": 1.0})],
            [],
            "has weak_energy already",
        ),
        (trimers(2), ["--processes", "0"], "--processes: got 0"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_written(
    frames: list[ase.Atoms],
    options: list[str],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write(tmp_path / "in.xyz", frames)
    assert label(source, tmp_path / "out.xyz", *options) == 2
    message = capsys.readouterr().err
    assert re.search(reason, message), message
    assert [path.name for path in tmp_path.glob("*xyz*")] == ["in.xyz"]


def test_nothing_is_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write(tmp_path / "in.xyz", trimers(2)), tmp_path / "out.xyz"
    out.write_text("precious")
    assert label(source, out) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert label(source, source, "--overwrite") == 2
    assert label(source, tmp_path / "out.db") == 2
    assert label(source, tmp_path / "nowhere" / "out.xyz") == 2
    assert label(tmp_path / "nothing.xyz", tmp_path / "new.xyz") == 2
    assert label(source, out, "--overwrite") == 0
    assert len(read(out)) == 2


# --- cache, interruption, processes --------------------------------------------------------------


def test_what_was_computed_is_not_computed_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ["--arguments", f'{{"log": "{log}"}}']
    source = write(tmp_path / "in.xyz", trimers(4))
    assert label(source, tmp_path / "one.xyz", *options) == 0
    more = write(tmp_path / "more.xyz", trimers(6))
    assert label(more, tmp_path / "two.xyz", *options) == 0
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)) == 6
    assert {line.split()[1] for line in lines} == {"1"}  # threads of each process
    assert read(tmp_path / "one.xyz") == read(tmp_path / "two.xyz")[:4]
    options[1] = f'{{"log": "{log}", "delay": 0.001}}'  # other arguments, other labels
    assert label(source, tmp_path / "three.xyz", *options) == 0
    assert len(log.read_text().splitlines()) == 10


def command(source: Path, out: Path, log: Path, delay: float) -> subprocess.Popen[str]:
    arguments = f'{{"log": "{log}", "delay": {delay}}}'
    words = ["label", str(source), "-o", str(out), "--method", SPRINGS, "--processes", "2"]
    words += ["--arguments", arguments, "--allow-unusual-units"]
    return subprocess.Popen(
        [sys.executable, "-m", "piwsl_plugins", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )


def count(cache: Path) -> int:
    return sum(path.read_text().count(", null]]\n") for path in cache.glob("*.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_stopped_goes_on_where_it_stood(how: signal.Signals, tmp_path: Path) -> None:
    source = write(tmp_path / "in.xyz", trimers(60))
    out, log, kept = tmp_path / "out.xyz", tmp_path / "log", tmp_path / "piwsl-cache"
    first = command(source, out, log, 0.05)
    until = time.monotonic() + 120.0
    while count(kept) < 10:
        assert time.monotonic() < until
        time.sleep(0.02)
    first.send_signal(how)
    # the pipe ends only when every process that holds it has ended, those that label included
    said, _ = first.communicate(timeout=60)
    assert first.returncode == (-how if how == signal.SIGKILL else 128 + how)
    assert "Traceback" not in said
    assert not out.exists()
    done = count(kept)
    assert 10 <= done < 60
    log.unlink()
    second = command(source, out, log, 0.05)
    said, _ = second.communicate(timeout=120)
    assert second.returncode == 0, said
    assert len(log.read_text().splitlines()) == 60 - done
    for atoms, found in zip(read(source), read(out), strict=True):
        assert found.info["weak_energy"] == springs(atoms.positions)[0]


# --- agreement with the reference ----------------------------------------------------------------


def collected(
    slope: float, force_slope: float = 1.0, noise: float = 0.0
) -> tuple[list[str], list[str]]:
    random = np.random.default_rng(3)
    pairs = []
    for name, reference, cheap in (("H2O", -2000.0, -130.0), ("CH4", -1100.0, -110.0)):
        for number in range(30):
            atoms = molecule(name)
            energy, forces = random.normal(), random.normal(size=(len(atoms), 3))
            made = Labels(
                energy=cheap + slope * energy + noise * random.normal(),
                forces=force_slope * forces + noise * random.normal(size=forces.shape),
            )
            labels = {"energy": reference + energy, "forces": forces}
            pairs.append((Frame(atoms=atoms, labels=labels, source="f", number=number), made))
    return agreement(pairs, "cheap")


def test_a_method_that_differs_by_free_atoms_alone_agrees() -> None:
    lines, warnings = collected(1.0)
    assert "energies against the reference (60 frames): slope 1.000, correlation 1.000" in lines[0]
    assert "RMS difference 0.0 meV" in lines[0]
    assert "forces against the reference (60 frames): slope 1.000" in lines[1]
    assert not warnings


@pytest.mark.parametrize(
    ("energy", "forces", "unit"),
    [
        (27.2, 1.0, "hartree"),
        (1 / 23.06, 1.0, "kcal/mol"),
        (23.06, 1.0, "kcal/mol"),
        (1.0, 51.4, "hartree/bohr"),
        (1.0, 0.53, "eV/bohr"),
        (1.0, 1.89, "eV/bohr"),
    ],
)
def test_a_slope_that_is_a_unit_is_warned_of(energy: float, forces: float, unit: str) -> None:
    _, warnings = collected(energy, forces)
    assert len(warnings) == 1
    assert f"between {unit} and eV" in warnings[0]


def test_a_method_that_says_nothing_of_the_energies_is_warned_of() -> None:
    lines, warnings = collected(0.05, 0.7, noise=0.5)
    assert "slope 0.6" in lines[1]
    assert ["cheap tells little about these frames" in text for text in warnings] == [True]


def test_one_frame_of_each_formula_or_none_at_all_leaves_nothing_to_compare() -> None:
    frames = [
        Frame(atoms=molecule(name), labels={"energy": -5.0}, source="f", number=0)
        for name in ("H2O", "CH4")
    ]
    pairs = [(frame, Labels(energy=-1.0, forces=np.zeros((1, 3)))) for frame in frames]
    for some in (pairs, pairs[:1], []):
        assert agreement(some, "cheap")[0][0].startswith("no reference to compare with")
