"""What cannot train is refused in one message, before the first step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ase.io
import pytest
from nequip_commands import NEQUIP_TRAIN, Trained, start_many, start_training

TRAINING_MODULE = "training_module._target_"
PLAIN_LOSS = {
    "~training_module.loss": "",
    "+training_module.loss._target_": "nequip.train.EnergyOnlyLoss",
}

# what is asked for, and what the message says: what, where, and what to do
CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "module_of_the_host": (
        {
            TRAINING_MODULE: "nequip.train.EMALightningModule",
            "data.piwsl": "{}",
            "~training_module.piwsl": "",
        },
        ("piwsl_taylor needs a PIWSL training module", "training_module._target_"),
    ),
    "loss_of_the_host": (
        PLAIN_LOSS,
        (
            "training_module._target_ is PiwslEMALightningModule, and its loss has no PIWSL term",
            "piwsl_plugins.hosts.nequip.PiwslLoss",
            "use nequip.train.EMALightningModule",
        ),
    ),
    "unknown_key": (
        {"+training_module.piwsl.max_displacment": 0.05},
        ("piwsl: unknown key 'max_displacment'", "did you mean 'max_displacement'?"),
    ),
    "value_out_of_range": (
        {"training_module.piwsl.max_displacement": -0.05},
        (r"piwsl.max_displacement: got -0\.05, expected a finite number > 0",),
    ),
    "unknown_term": (
        {"training_module.loss.terms": "[tailor]"},
        ("training_module.loss.terms: unknown", "'tailor'; did you mean 'taylor'?"),
    ),
    "unknown_coefficient": (
        {"+training_module.loss.coeffs.piwsl_tailor": 1},
        ("training_module.loss.coeffs: unknown key", "did you mean 'piwsl_taylor'?"),
    ),
    "cutoff_without_skin": (
        {"data._target_": "nequip.data.datamodule.ASEDataModule", "~data.piwsl": ""},
        (
            r"neighbour list reaches 4 angstrom for pairs H-H",
            r"4 \+ 0\.2 = 4\.2 angstrom",
            "use data._target_: piwsl_plugins.hosts.nequip.PiwslASEDataModule",
            "r_max of the NeighborListTransform",
        ),
    ),
    "no_forces_of_the_model": (
        {"+training_module.model.do_derivatives": False},
        (
            "training_module.model has do_derivatives: false",
            "need the model's forces; leave it out",
        ),
    ),
    "no_energies": (
        {"~data.key_mapping.REF_energy": ""},
        ("energ", r"key_mapping: \{REF_energy: total_energy\}"),
    ),
    "too_long_a_displacement": (
        {"training_module.piwsl.max_displacement": 0.7},
        (
            r"longer than half the shortest interatomic distance",
            r"few\.xyz, frame \d+, atoms \d",
            r"Choose training_module.piwsl.max_displacement below 0\.",
            "allow_large_displacement: true",
        ),
    ),
    "weight_given_twice": (
        {"+training_module.piwsl.taylor_weight": 0.2},
        (
            "weight of the taylor term is given twice",
            r"training_module.piwsl.taylor_weight 0\.2",
            r"training_module.loss.coeffs.piwsl_taylor 0\.05; keep one",
        ),
    ),
    "no_forces_to_anchor_at": (
        {"+training_module.piwsl.anchor": "label_and_forces"},
        ("anchor 'label_and_forces'", "no training frame has any; use anchor: label"),
    ),
    "hessian_of_a_compiled_model": (
        {
            "+training_module.piwsl.second_order": "hessian",
            "training_module.model.compile_mode": "compile",
        },
        ("second_order 'hessian'", "use second_order: trapezoid"),
    ),
}
BAD_ENERGIES = {"nan_energy": float("nan"), "infinite_energy": float("inf")}
AS_USERS_START_IT = "module_of_the_host"


def with_energy(path: Path, data: dict[str, Any], value: float) -> dict[str, Any]:
    """Data whose frame 7 has that energy."""
    frames = ase.io.read(data["data.split_dataset.file_path"], index=":")
    frames[7].info["REF_energy"] = value
    ase.io.write(path, frames)
    return {"data.split_dataset.file_path": path}


@pytest.fixture(scope="module")
def runs(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    folder = tmp_path_factory.mktemp("runs")
    wanted = {name: {**data, **options} for name, (options, _) in CASES.items()}
    for name, value in BAD_ENERGIES.items():
        wanted[name] = {**data, **with_energy(folder / f"{name}.xyz", data, value)}
    return start_many(folder, wanted)


def message(run: Trained) -> str:
    """The one error, which a terminal shows once, of a run that has not made a step."""
    assert run.status != 0
    assert "Traceback" not in run.stderr, run.stderr
    assert (run.stdout + run.stderr).count("error: ") == 1, run.stderr
    _, text = run.stderr.split("nequip-train: error: ")
    assert len(text) < 700
    assert text.strip() not in run.stdout
    assert not list(run.output.glob("*.ckpt"))
    assert not [path for path in run.output.rglob("metrics.csv") if run.steps()]
    return text


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_work_is_refused(runs: dict[str, Trained], case: str) -> None:
    text = message(runs[case])
    for expected in CASES[case][1]:
        assert re.search(expected, text), text


def test_the_command_itself_ends_with_the_message(
    runs: dict[str, Trained], data: dict[str, Any], tmp_path: Path
) -> None:
    options, _ = CASES[AS_USERS_START_IT]
    run = start_training(tmp_path, {**data, **options}, program=NEQUIP_TRAIN)
    assert message(run) == message(runs[AS_USERS_START_IT])


@pytest.mark.parametrize("case", BAD_ENERGIES)
def test_an_energy_that_is_no_number_is_named_by_file_and_frame(
    runs: dict[str, Trained], case: str
) -> None:
    text = message(runs[case])
    assert re.search(rf"{case}\.xyz, frame 7: energy is {BAD_ENERGIES[case]}", text), text
    assert "remove the frame" in text
