"""The model of a PIWSL run leaves by NequIP's exporters, and works where this package is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exports import Answers, ask, check_equal, molecule_and_cell
from nequip_commands import NEQUIP_COMPILE, Trained, train
from processes import PYTHON, BareEnvironment, execute

PREPARE = str(Path(PYTHON).with_name("nequip-prepare-lmp-mliap"))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return molecule_and_cell(tmp_path_factory.mktemp("frames") / "frames.xyz")


@pytest.fixture(scope="module")
def reference(short_run: Trained, frames: Path) -> Answers:
    """What the checkpoint answers, where this package is installed."""
    return ask(frames, [short_run.output / "best.ckpt"])


def test_a_packaged_model_is_the_checkpoint_and_so_is_its_object_for_mliap(
    package: Path, reference: Answers, frames: Path, bare: BareEnvironment
) -> None:
    unified = package.with_name("out.nequip.lmp.pt")
    words = (PREPARE, str(package), str(unified), "--no-compile")
    done = bare.run(*words, folder=package.parent)
    assert done.returncode == 0, done.stderr
    for answer in ask(frames, [package, unified], bare).values():
        check_equal(answer, reference["best.ckpt"], 1e-9)


@pytest.mark.slow
def test_a_model_trained_on_molecules_is_its_checkpoint_when_compiled(
    data: dict[str, Any], frames: Path, bare: BareEnvironment, tmp_path: Path
) -> None:
    one_layer = {"training_module.model.num_layers": 1}  # half the time to compile
    run = train(tmp_path, {**data, **one_layer})
    checkpoint, model = run.output / "best.ckpt", run.output / "ase.nequip.pt2"
    how = ("--mode", "aotinductor", "--device", "cpu", "--target", "ase")
    done = execute([*NEQUIP_COMPILE, str(checkpoint), str(model), *how], run.output)
    assert done.returncode == 0, done.stderr
    expected = ask(frames, [checkpoint])[checkpoint.name]
    check_equal(ask(frames, [model], bare)[model.name], expected, 1e-9)
