"""What cannot train is refused in one message, before training, and nothing is written over."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import pytest
from commands import Trained, start_training

Refuse = Callable[..., Trained]


EARLIER = (
    "run.model",
    "run_compiled.model",
    "checkpoints/run_run-1_epoch-0.pt",
    "results/run_run-1_train.txt",
)


@pytest.fixture
def refuse(data: dict[str, Any], tmp_path: Path) -> Refuse:
    """Refuse a training before it starts, in the folder of an earlier run of the same name."""
    for name in EARLIER:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("earlier", encoding="utf-8")

    def run(**options: Any) -> Trained:
        done = start_training(tmp_path, {**data, "loss": "piwsl", **options})
        assert done.status != 0
        assert "Traceback" not in done.stderr
        assert "Started training" not in done.stdout
        assert all((tmp_path / name).read_text(encoding="utf-8") == "earlier" for name in EARLIER)
        assert len([*tmp_path.rglob("*.pt"), *tmp_path.rglob("*.model")]) == 3
        return done

    return run


def message(run: Trained) -> str:
    """The one error, which the terminal shows once."""
    assert (run.stdout + run.stderr).count("error: ") == 1
    _, text = run.stderr.split("mace_run_train: error: ")
    assert text.strip() not in run.stdout
    return text


WRONG_FLAGS = {
    "lbfgs": ({"lbfgs": True}, "--lbfgs .* use --optimizer adam"),
    "dipole_model": (
        {"model": "AtomicDipolesMACE"},
        "needs a model that gives an energy, got --model AtomicDipolesMACE",
    ),
    "negative_weight": (
        {"piwsl_taylor_weight": -1},
        r"--piwsl_taylor_weight: got -1\.0, expected a finite number >= 0",
    ),
    "contradiction": (
        {"loss": "piwsl_taylor", "piwsl_conservative_weight": 3},
        r"--piwsl_conservative_weight 3\.0 contradicts --loss piwsl_taylor",
    ),
    "unknown_flag": ({"piwsl_wieght": 3}, "unrecognized arguments: --piwsl_wieght"),
}


@pytest.mark.parametrize("case", WRONG_FLAGS)
def test_flags_that_cannot_work_are_refused(refuse: Refuse, case: str) -> None:
    options, expected = WRONG_FLAGS[case]
    assert re.search(expected, message(refuse(**options)), flags=re.DOTALL)


def test_scaling_by_forces_that_no_frame_has_is_refused(refuse: Refuse) -> None:
    text = message(refuse(scaling="rms_forces_scaling"))
    assert "12 of 12 training frames have none" in text
    assert "--scaling std_scaling" in text


def test_an_energy_that_is_no_number_is_named_by_file_and_frame(
    refuse: Refuse, data: dict[str, Any], tmp_path: Path
) -> None:
    frames = ase.io.read(data["train_file"], index=":")
    frames[7].info["REF_energy"] = float("inf")  # counted with the three free atoms
    ase.io.write(tmp_path / "bad.xyz", frames)
    run = refuse(train_file=tmp_path / "bad.xyz")
    expected = "frame 7, energy: 'REF_energy' is not finite throughout: inf"
    assert f"{tmp_path / 'bad.xyz'}, {expected}" in message(run)
    assert expected in run.log


def test_a_file_without_energies_under_the_key_is_refused_and_its_keys_are_listed(
    refuse: Refuse, data: dict[str, Any], tmp_path: Path
) -> None:
    text = message(refuse(energy_key="CCSD_energy"))
    assert f"{data['train_file']}: no frame has an energy under --energy_key 'CCSD_energy'" in text
    assert "the keys in the file are REF_energy" in text


def test_a_displacement_beyond_half_a_bond_names_frame_and_pair(
    refuse: Refuse, data: dict[str, Any]
) -> None:
    frames = ase.io.read(data["train_file"], index=":")
    lengths = [
        (atoms.get_distance(i, j), number, i, j)
        for number, atoms in enumerate(frames)
        for i in range(len(atoms))
        for j in range(i + 1, len(atoms))
    ]
    shortest, number, i, j = min(lengths)
    text = message(refuse(piwsl_max_displacement=0.7))
    symbols = frames[number].get_chemical_symbols()
    assert f"{data['train_file']}, frame {number}, atoms {i} ({symbols[i]}) and {j} " in text
    assert f"{shortest:.4f} angstrom apart" in text
    assert f"Choose --piwsl_max_displacement below {shortest / 2:.4f}" in text
    assert "--piwsl_allow_large_displacement" in text
