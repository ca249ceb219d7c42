"""`piwsl weak label`: every frame labelled once, nothing lost, nothing made up."""

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
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from springs import springs

from piwsl_plugins.weak.cache import Cache
from piwsl_plugins.weak.command import main

HERE = Path(__file__).parent
SPRINGS = "springs.Springs"


def trimer(distance: float, symbols: str = "H3") -> ase.Atoms:
    return ase.Atoms(symbols, [[0.0, 0.0, 0.0], [distance, 0.0, 0.0], [0.1, 1.1, 0.3]])


def trimers(count: int) -> list[ase.Atoms]:
    frames = [trimer(0.9 + 0.01 * number) for number in range(count)]
    for number, atoms in enumerate(frames):
        atoms.info["REF_energy"] = 2.0 * springs(atoms.positions)[0] - 100.0
        atoms.info["config_type"] = f"kind {number}"
    return frames


def write(path: Path, frames: list[ase.Atoms]) -> Path:
    ase.io.write(path, frames, format="extxyz")
    return path


def label(file: Path, out: Path, *options: str, method: str = SPRINGS) -> int:
    return main(
        ["label", str(file), "--method", method, "-o", str(out), "--processes", "1", *options]
    )


def read(path: Path) -> list[ase.Atoms]:
    return ase.io.read(path, index=":")


# --- what is written -----------------------------------------------------------------------------


def test_every_frame_gets_the_methods_labels_and_keeps_all_that_it_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = trimers(5)
    for atoms in frames:
        atoms.positions += 1e-10 / 3.0
        atoms.arrays["tags_of_mine"] = np.arange(3)
        atoms.arrays["charges_of_mine"] = np.array([[0.1, 1.0 / 3.0]] * 3)
    source = tmp_path / "in.xyz"
    source.write_text("".join(_full(atoms) for atoms in frames))
    assert label(source, tmp_path / "out.xyz") == 0
    for atoms, found in zip(read(source), read(tmp_path / "out.xyz"), strict=True):
        energy, forces = springs(atoms.positions)
        assert found.info["weak_energy"] == energy
        np.testing.assert_array_equal(found.arrays["weak_forces"], forces)
        np.testing.assert_array_equal(found.positions, atoms.positions)
        assert found.info["REF_energy"] == atoms.info["REF_energy"]
        assert found.info["config_type"] == atoms.info["config_type"]
        for name in ("tags_of_mine", "charges_of_mine"):
            np.testing.assert_array_equal(found.arrays[name], atoms.arrays[name])
    said = capsys.readouterr().out
    assert "computed 5 frames" in said
    assert "5 frames): Pearson r 1.000, slope 0.500" in said


def _full(atoms: ase.Atoms) -> str:
    """Extxyz by hand, with all digits."""
    info = f'REF_energy={atoms.info["REF_energy"]!r} config_type="{atoms.info["config_type"]}"'
    rows = [
        f"{s} {' '.join(map(repr, p.tolist()))} {t} {' '.join(map(repr, c.tolist()))}"
        for s, p, t, c in zip(
            atoms.symbols,
            atoms.positions,
            atoms.arrays["tags_of_mine"],
            atoms.arrays["charges_of_mine"],
            strict=True,
        )
    ]
    columns = "species:S:1:pos:R:3:tags_of_mine:I:1:charges_of_mine:R:2"
    return "\n".join([str(len(atoms)), f"Properties={columns} {info}", *rows, ""])


def test_a_crystal_gets_stress_and_a_molecule_none(tmp_path: Path) -> None:
    crystal, cluster = bulk("Cu", cubic=True), ase.Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]])
    crystal.rattle(0.1, seed=1)
    source = write(tmp_path / "in.xyz", [crystal, cluster])
    assert label(source, tmp_path / "out.xyz", method="ase.calculators.emt.EMT") == 0
    found = read(tmp_path / "out.xyz")
    atoms = read(source)[0]
    atoms.calc = EMT()
    np.testing.assert_allclose(
        found[0].info["weak_stress"].reshape(3, 3), atoms.get_stress(voigt=False), atol=1e-14
    )
    assert found[0].info["weak_energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    assert "weak_stress" not in found[1].info
    assert found[0].pbc.all()
    assert not found[1].pbc.any()


def test_names_and_decimals_are_the_users(tmp_path: Path) -> None:
    source = write(tmp_path / "in.xyz", trimers(2))
    names = ("--weak-energy-key", "low_energy", "--weak-forces-key", "low_forces")
    assert label(source, tmp_path / "out.xyz", *names, "--decimals", "3") == 0
    found = read(tmp_path / "out.xyz")[1]
    energy, forces = springs(read(source)[1].positions)
    assert found.info["low_energy"] == round(energy, 3)
    np.testing.assert_array_equal(found.arrays["low_forces"], np.round(forces, 3))


def test_labels_of_the_file_get_new_names(tmp_path: Path) -> None:
    source, first = write(tmp_path / "in.xyz", trimers(3)), tmp_path / "first.xyz"
    assert label(source, first) == 0
    frames = read(first)
    del frames[1].info["weak_energy"]
    given = write(tmp_path / "given.xyz", frames)
    options = ["--low-energy-key", "weak_energy", "--low-forces-key", "weak_forces"]
    options += ["--weak-energy-key", "b_energy", "--weak-forces-key", "b_forces"]
    assert label(given, tmp_path / "out.xyz", *options, method="keys") == 0
    found = read(tmp_path / "out.xyz")
    assert len(found) == 2  # the one without such a label is left out
    for atoms in found:
        assert atoms.info["b_energy"] == atoms.info["weak_energy"]
        np.testing.assert_array_equal(atoms.arrays["b_forces"], atoms.arrays["weak_forces"])


# --- failures ------------------------------------------------------------------------------------


def test_a_frame_that_does_not_converge_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.xyz", [*trimers(3), trimer(3.0), *trimers(5)[3:]])
    options = ["--arguments", '{"fails_above": 2.0}']
    assert label(source, tmp_path / "out.xyz", *options) == 0
    assert [len(read(tmp_path / "out.xyz")), len(read(source))] == [5, 6]
    said = capsys.readouterr()
    assert "in.xyz, frame 3 (H3): the springs did not converge" in said.err
    assert "warning: left out: 1 frames have no labels" in said.err
    assert "5 of 6 frames" in said.out


def test_with_strict_a_failed_frame_means_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.xyz", [*trimers(3), trimer(3.0)])
    options = ["--arguments", '{"fails_above": 2.0}', "--strict"]
    assert label(source, tmp_path / "out.xyz", *options) == 1
    assert not (tmp_path / "out.xyz").exists()
    assert "frame 3: the springs did not converge; " in capsys.readouterr().err


def test_a_process_that_dies_costs_only_the_frame_that_it_died_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.xyz", [*trimers(4), trimer(3.0), *trimers(8)[4:]])
    assert label(source, tmp_path / "out.xyz", "--arguments", '{"dies_above": 2.0}') == 0
    assert len(read(tmp_path / "out.xyz")) == 8
    assert "in.xyz, frame 4 (H3): the process that labelled it died" in capsys.readouterr().err


def test_forces_that_are_not_numbers_are_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.xyz", [trimer(1.0), trimer(1.0, "HHS")])
    assert label(source, tmp_path / "out.xyz") == 0
    assert len(read(tmp_path / "out.xyz")) == 1
    assert "frame 1 (H2S): the forces is not a finite number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("frames", "options", "reason"),
    [
        ([trimer(1.0, "HHAu")], [], r"frame 0 \(H2Au\): springs.Springs cannot treat it: .*gold"),
        (trimers(25), ["--arguments", '{"fails_above": 0.1}'], "failed for each of the first 20"),
        (trimers(2), ["--arguments", '{"fails_above": 0.1}'], "no frame could be labelled"),
        (trimers(2), ["--arguments", '{"fails": 1}'], "--method springs.Springs.*fails"),
        (trimers(2), ["--arguments", "[1]"], "expected a JSON object"),
        (trimers(2), ["--charge", "1"], "--charge is for GFN-xTB alone"),
        (trimers(2), ["--low-energy-key", "a"], "only --method keys"),
        (trimers(2), ["--weak-energy-key", "weak_forces"], "two labels have one name"),
        (trimers(2), ["--weak-energy-key", "REF_energy"], "frame 0 has REF_energy already"),
        (trimers(2), ["--processes", "0"], "--processes: got 0"),
        (trimers(2), ["--decimals", "-1"], "--decimals: got -1"),
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
    assert "Traceback" not in message
    assert [path.name for path in tmp_path.glob("*.xyz*")] == ["in.xyz"]


def test_nothing_is_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write(tmp_path / "in.xyz", trimers(2)), tmp_path / "out.xyz"
    out.write_text("precious")
    assert label(source, out) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "precious"
    assert label(source, source, "--force") == 2
    assert label(source, out, "--force") == 0
    assert len(read(out)) == 2
    assert label(source, tmp_path / "out.db") == 2
    assert label(source, tmp_path / "nowhere" / "out.xyz") == 2
    assert label(tmp_path / "nothing.xyz", tmp_path / "new.xyz") == 2


def test_a_method_that_says_nothing_of_the_energies_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = trimers(9)
    for number, atoms in enumerate(frames):
        atoms.info["REF_energy"] = (-1.0) ** number
    assert label(write(tmp_path / "in.xyz", frames), tmp_path / "out.xyz") == 0
    assert "springs.Springs tells little about these frames" in capsys.readouterr().err


def test_a_charge_that_a_method_is_not_told_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = trimers(3)
    frames[0].info["charge"], frames[1].info["charge"] = 1, 0
    assert label(write(tmp_path / "in.xyz", frames), tmp_path / "out.xyz") == 0
    assert "1 frames have a charge or a multiplicity" in capsys.readouterr().err


# --- cache, interruption, processes --------------------------------------------------------------


def test_what_is_in_the_cache_is_not_computed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    options = ["--arguments", f'{{"log": "{log}"}}', "--cache", str(tmp_path / "kept")]
    source = write(tmp_path / "in.xyz", trimers(4))
    assert label(source, tmp_path / "one.xyz", *options) == 0
    more = write(tmp_path / "more.xyz", trimers(6))
    assert label(more, tmp_path / "two.xyz", *options) == 0
    assert "computed 2 frames" in capsys.readouterr().out
    lines = log.read_text().splitlines()
    assert len(lines) == len(set(lines)) == 6
    assert {line.split()[1] for line in lines} == {"1"}  # threads of each process
    assert read(tmp_path / "one.xyz") == read(tmp_path / "two.xyz")[:4]
    options[1] = f'{{"log": "{log}", "delay": 0.001}}'  # other arguments, other labels
    assert label(source, tmp_path / "three.xyz", *options) == 0
    assert len(log.read_text().splitlines()) == 10


def command(source: Path, out: Path, log: Path, delay: float = 0.05) -> subprocess.Popen[str]:
    arguments = f'{{"log": "{log}", "delay": {delay}}}'
    words = [sys.executable, "-m", "piwsl_plugins", "weak", "label", str(source), "-o", str(out)]
    words += ["--method", SPRINGS, "--arguments", arguments, "--processes", "2"]
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )


def wait_for_lines(log: Path, number: int) -> None:
    until = time.monotonic() + 120.0
    while not (log.exists() and log.read_text().count("\n") >= number):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_an_interrupted_command_does_not_wait_for_long_calculations(tmp_path: Path) -> None:
    source, log = write(tmp_path / "in.xyz", trimers(4)), tmp_path / "log"
    run = command(source, tmp_path / "out.xyz", log, delay=600.0)
    wait_for_lines(log, 1)
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "interrupted; the same command goes on" in said


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_goes_on_where_it_stood(how: signal.Signals, tmp_path: Path) -> None:
    source, out, log = (
        write(tmp_path / "in.xyz", trimers(150)),
        tmp_path / "out.xyz",
        tmp_path / "l",
    )
    first = command(source, out, log)
    wait_for_lines(log, 60)
    first.send_signal(how)
    # the pipe ends only when every process that holds it has ended, those that label included
    said, _ = first.communicate(timeout=30)
    assert not out.exists()
    assert first.returncode == (-how if how == signal.SIGKILL else 130)
    assert "Traceback" not in said
    done = len(log.read_text().splitlines())
    with Cache(tmp_path / "piwsl-cache") as cache:
        (kept,) = cache._database.execute("SELECT COUNT(*) FROM labels").fetchone()
    assert 0 < kept <= done < 150
    second = command(source, out, log)
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 0, said
    assert f"computed {150 - kept} frames" in said
    assert len(log.read_text().splitlines()) == done + 150 - kept
    for atoms, found in zip(read(source), read(out), strict=True):
        assert found.info["weak_energy"] == springs(atoms.positions)[0]
    assert sorted(path.name for path in tmp_path.glob("*.xyz*")) == ["in.xyz", "out.xyz"]


def test_a_cache_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.xyz", trimers(2))
    (tmp_path / "piwsl-cache").mkdir()
    (tmp_path / "piwsl-cache" / "weak-labels.sqlite").write_text("no database at all " * 99)
    assert label(source, tmp_path / "out.xyz") == 2
    assert "this is no cache of labels" in capsys.readouterr().err


# --- GFN-xTB -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("atoms", "options", "reason"),
    [
        (molecule("NO"), [], r"15 electrons at charge \+0, an odd number"),
        (molecule("H2O"), ["--charge", "1"], r"9 electrons at charge \+1, an odd number"),
        (molecule("H2O"), ["--multiplicity", "2"], "10 electrons at charge .* multiplicity 2"),
        (ase.Atoms("UO2", [[0, 0, 0], [0, 0, 1.8], [0, 0, -1.8]]), [], r"H to Rn .* U \(Z = 92\)"),
        (
            ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.7]], cell=[9] * 3, pbc=[1, 1, 0]),
            [],
            "pbc = 'T T F'",
        ),
        (molecule("H2O"), ["--arguments", '{"acuracy": 1}'], "knows no 'acuracy'"),
        (molecule("H2O"), ["--arguments", '{"charge": 1}'], "charge is not given here: --charge"),
    ],
)
def test_frames_that_xtb_cannot_treat_are_named_before_anything_is_computed(
    atoms: ase.Atoms,
    options: list[str],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("tblite", reason="needs tblite (pip install piwsl-plugins[weak])")
    source = write(tmp_path / "in.xyz", [molecule("CH4"), atoms])
    assert label(source, tmp_path / "out.xyz", *options, method="gfn2-xtb") == 2
    message = capsys.readouterr().err
    assert re.search(reason, message), message
    assert not (tmp_path / "out.xyz").exists()


@pytest.mark.parametrize("method", ["gfn1-xtb", "GFN2-xTB"])
def test_xtb_labels_are_those_of_tblite_whatever_frames_came_before(
    method: str, tmp_path: Path
) -> None:
    tblite = pytest.importorskip("tblite.ase", reason="needs tblite")
    frames = [molecule(name) for name in ("H2O", "CH4", "NO", "H2O")]
    frames[2].info["multiplicity"] = 2
    frames[3].info |= {"charge": -1, "spin": 2}
    frames[3].rattle(0.05, seed=2)
    source = write(tmp_path / "in.xyz", frames)
    assert label(source, tmp_path / "out.xyz", method=method) == 0
    for atoms, found in zip(frames, read(tmp_path / "out.xyz"), strict=True):
        atoms = atoms.copy()
        atoms.positions = found.positions
        state = {
            "charge": atoms.info.get("charge", 0),
            "multiplicity": atoms.info.get("multiplicity", atoms.info.get("spin", 1)),
        }
        atoms.calc = tblite.TBLite(method=found_name(method), verbosity=0, **state)
        assert found.info["weak_energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
        np.testing.assert_allclose(found.arrays["weak_forces"], atoms.get_forces(), atol=1e-6)


def found_name(method: str) -> str:
    return {"gfn1-xtb": "GFN1-xTB", "gfn2-xtb": "GFN2-xTB"}[method.lower()]


def test_a_calculation_of_xtb_that_does_not_converge_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tblite", reason="needs tblite")
    source = write(tmp_path / "in.xyz", [molecule("C6H6"), ase.Atoms("He")])
    options = ["--arguments", '{"max_iterations": 3}']
    assert label(source, tmp_path / "out.xyz", *options, method="gfn2-xtb") == 0
    assert [str(atoms.symbols) for atoms in read(tmp_path / "out.xyz")] == ["He"]
    assert "frame 0 (C6H6): SCF not converged in 3 cycles" in capsys.readouterr().err


def test_electrons_are_odd_where_tblite_says_so() -> None:
    tblite = pytest.importorskip("tblite.ase", reason="needs tblite")
    from piwsl_plugins.weak.xtb import HEAVIEST, electrons

    for number in range(1, HEAVIEST + 1):
        atoms = ase.Atoms(numbers=[number])
        atoms.calc = tblite.TBLite(method="GFN1-xTB", multiplicity=2, verbosity=0)
        if electrons(atoms.numbers, 0) % 2:
            atoms.get_potential_energy()
        else:
            with pytest.raises(RuntimeError, match="not compatible"):
                atoms.get_potential_energy()
