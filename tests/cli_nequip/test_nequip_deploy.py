"""A packaged NequIP model, fine-tuned to energies, and Allegro, run in ASE and LAMMPS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import pytest
from exports import Answers, ask, check_equal, molecule_and_cell
from lammps_files import check_forces, data_file, input_file, outcome, print_line
from nequip_commands import NEQUIP_COMPILE, NEQUIP_PACKAGE, SHIPPED, TINY, train
from processes import PYTHON, BareEnvironment, execute

from piwsl_plugins.cli import main
from piwsl_plugins.hosts.calculators import identify, load

PREPARE = str(Path(PYTHON).with_name("nequip-prepare-lmp-mliap"))
COMPILE = ("--mode", "aotinductor", "--device", "cpu", "--target")
ELEMENTS = ("H", "C", "O")
QUIET = ("-screen", "none", "-log", "none")


def build(command: list[str], model: Path) -> Path:
    """Run one of NequIP's commands that write a model."""
    done = execute(command, model.parent)
    assert done.returncode == 0, done.stderr
    return model


@pytest.fixture(scope="module")
def fine_tuned(
    package: Path, data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a run that starts from a package and sees energies alone, and of its package."""
    options = {name: None for name in TINY if name.startswith("training_module.model")}
    options |= {
        **data,
        "pretrained": package,
        "trainer.max_epochs": 1,
        "training_module.model._target_": "nequip.model.ModelFromPackage",
        "~training_module.model.checkpoint_path": "",
        "+training_module.model.package_path": package,
    }
    folder = tmp_path_factory.mktemp("fine_tuned")
    run = train(folder, options, config=SHIPPED.with_name("piwsl_nequip_finetune.yaml"))
    model, best = run.output / "fine.nequip.zip", run.output / "best.ckpt"
    return build([*NEQUIP_PACKAGE, "build", str(best), str(model)], model).parent


@pytest.fixture(scope="module")
def frames(fine_tuned: Path) -> Path:
    return molecule_and_cell(fine_tuned / "frames.xyz")


@pytest.fixture(scope="module")
def expected(fine_tuned: Path, frames: Path) -> Answers:
    """What the checkpoint answers, where this package is installed."""
    return ask(frames, {fine_tuned / "best.ckpt": "nequip"})


@pytest.mark.slow
def test_package_and_mliap_object_are_the_model_without_this_package(
    fine_tuned: Path, frames: Path, expected: Answers, bare: BareEnvironment
) -> None:
    package, unified = fine_tuned / "fine.nequip.zip", fine_tuned / "fine.nequip.lmp.pt"
    build([PREPARE, str(package), str(unified), "--no-compile"], unified)
    answers = ask(frames, {package: "nequip", unified: "mliap"}, bare)
    for name in (package.name, unified.name):
        check_equal(answers[name], expected["best.ckpt"], 1e-6)
    with pytest.raises(ValueError, match="'pair_style mliap unified' of a compiled LAMMPS"):
        identify(unified)


@pytest.mark.slow
def test_a_model_for_pair_nequip_is_the_model_without_this_package(
    fine_tuned: Path, frames: Path, expected: Answers, bare: BareEnvironment
) -> None:
    package, model = fine_tuned / "fine.nequip.zip", fine_tuned / "pair.nequip.pt2"
    build([*NEQUIP_COMPILE, str(package), str(model), *COMPILE, "pair_nequip"], model)
    answers = ask(frames, {model: "pair_nequip"}, bare)
    check_equal(answers[model.name], expected["best.ckpt"], 1e-6)
    with pytest.raises(ValueError, match="compile it with --target ase"):
        identify(model)


@pytest.fixture(scope="module")
def allegro(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Checkpoint of an Allegro model in single precision, and the same compiled for ASE."""
    options = {name: None for name in TINY if name.startswith("training_module.model")}
    options |= {**data, "trainer.max_epochs": 1, "training_module.model.num_layers": 1}
    config = SHIPPED.with_name("piwsl_allegro.yaml")
    run = train(tmp_path_factory.mktemp("allegro"), options, config=config)
    best, model = run.output / "best.ckpt", run.output / "allegro.nequip.pt2"
    return best, build([*NEQUIP_COMPILE, str(best), str(model), *COMPILE, "ase"], model)


@pytest.mark.slow
def test_a_compiled_allegro_model_in_single_precision_is_the_checkpoint(
    allegro: tuple[Path, Path], frames: Path, bare: BareEnvironment
) -> None:
    checkpoint, compiled = allegro
    expected = ask(frames, {checkpoint: "nequip"})[checkpoint.name]
    check_equal(ask(frames, {compiled: "nequip"}, bare)[compiled.name], expected, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["package", "compiled"])
def test_lammps_runs_packages_and_compiled_models(
    kind: str, fine_tuned: Path, allegro: tuple[Path, Path], frames: Path, tmp_path: Path
) -> None:
    model = {"package": fine_tuned / "fine.nequip.zip", "compiled": allegro[1]}[kind]
    calculator = load(identify(model)).calculator
    for number, atoms in enumerate(ase.io.iread(frames, index=":")):
        path = tmp_path / f"{number}.in"
        lines = f"pair_style piwsl\npair_coeff * * {model} {' '.join(ELEMENTS)}\n"
        commands = f"velocity all create 300 1\nfix 1 all nve\nrun 20\n{print_line(path)}"
        input_file(path, atoms, commands, potential=lines, elements=ELEMENTS)
        assert main(["lammps", "-in", str(path), *QUIET]) == 0
        found = outcome(path, ELEMENTS)
        assert len(found.frames) == 21
        tolerance = 1e-6 if kind == "package" else 1e-5  # double, single precision
        check_forces(found.frames[::10], calculator, tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nve", "nvt", "npt"])
def test_the_shipped_input_files_run(
    name: str,
    allegro: tuple[Path, Path],
    frames: Path,
    repo_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = repo_root / "configs" / "lammps"
    data = folder / "formaldehyde.data"
    if name == "npt":
        data = data_file(tmp_path / "cell.data", ase.io.read(frames, index=1), ELEMENTS)
    words = ["-in", str(folder / f"{name}.in"), "-var", "data", str(data), *QUIET]
    assert main(["lammps", *words, "--model", str(allegro[1]), "-var", "steps", "50"]) == 0


@pytest.mark.slow
def test_a_checkpoint_says_how_it_is_exported(
    fine_tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, path = fine_tuned / "best.ckpt", tmp_path / "in.file"
    path.write_text("pair_style piwsl\n", encoding="utf-8")
    assert main(["lammps", "-in", str(path), "--model", str(checkpoint), "--types", "H"]) == 2
    message = f"nequip-compile {checkpoint} NAME.nequip.pt2 --mode aotinductor --device cpu"
    assert message in capsys.readouterr().err
