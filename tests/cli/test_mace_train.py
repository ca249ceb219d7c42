"""`mace_run_train --loss piwsl_*` on energies alone, and its models where this package is not."""

from __future__ import annotations

import json
import math
from typing import Any

import ase.io
import pytest
from commands import Trained, base_losses, check_terms, train, without_time
from processes import BareEnvironment

from piwsl_plugins.settings import DEFAULT_FADE, DEFAULT_WEIGHT_RATIO

LOSSES = {
    "piwsl_taylor": ("taylor",),
    "piwsl_conservative": ("conservative",),
    "piwsl": ("taylor", "conservative"),
    "piwsl_curvature": ("curvature",),
}
EPOCHS, STEPS_AN_EPOCH, ENERGY_WEIGHT = 2, 3, 1000.0
VISIBLE = {"piwsl_max_displacement": 0.3}

USE = """
import json, sys
import ase.io, torch
from mace.calculators import MACECalculator
try:
    import piwsl_plugins
    raise SystemExit("piwsl_plugins can be imported here")
except ModuleNotFoundError:
    pass
frame = ase.io.read(sys.argv[1], index=-1)
for path in sys.argv[2:]:
    if path.endswith("_compiled.model"):
        torch.jit.load(path)
        continue
    frame.calc = MACECalculator(model_paths=path, device="cpu", default_dtype="float64")
    print(json.dumps([path, frame.get_potential_energy(), frame.get_forces().tolist()]))
"""


@pytest.fixture(scope="module")
def plain(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The same training with MACE's own loss."""
    return train(tmp_path_factory.mktemp("plain"), {**data, "loss": "weighted"})


@pytest.fixture(scope="module")
def runs(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """One training with each loss."""
    return {
        loss: train(tmp_path_factory.mktemp(loss), {**data, "loss": loss, "name": loss, **VISIBLE})
        for loss in LOSSES
    }


@pytest.mark.parametrize("loss", LOSSES)
def test_each_step_logs_the_base_loss_and_the_terms_that_add_up_to_the_loss(
    runs: dict[str, Trained], loss: str
) -> None:
    steps = runs[loss].steps
    assert len(steps) == EPOCHS * STEPS_AN_EPOCH
    for number, step in enumerate(steps):
        check_terms(step, *LOSSES[loss])
        for term in LOSSES[loss]:
            left = 1.0 - DEFAULT_FADE[term] * number / len(steps)
            weight = DEFAULT_WEIGHT_RATIO[term] * ENERGY_WEIGHT * left
            assert step[f"piwsl_{term}_weight"] == pytest.approx(weight)
    # and each epoch the means over its steps
    run = runs[loss]
    assert run.log.count("PIWSL, mean over training steps") == EPOCHS
    for epoch in range(EPOCHS):
        (line,) = (x for x in run.log.splitlines() if f"Epoch {epoch}: PIWSL, mean" in x)
        (validation,) = (record for record in run.validations if record["epoch"] == epoch)
        steps = [step for step in run.steps if step["epoch"] == epoch]
        for name in ("base_loss", *(f"piwsl_{term}" for term in LOSSES[loss])):
            mean = sum(step[name] for step in steps) / len(steps)
            assert validation[f"train_{name}"] == pytest.approx(mean)
            assert f"{name}={mean:.6g}" in line


@pytest.mark.parametrize("loss", LOSSES)
def test_the_validation_loss_is_the_base_loss_alone(
    runs: dict[str, Trained], plain: Trained, loss: str
) -> None:
    validations = runs[loss].validations
    assert without_time(validations[:1]) == without_time(plain.validations[:1])
    frames = 4  # in one batch; MACE divides a batch's mean by their number once more
    for record in validations:
        energy_term = ENERGY_WEIGHT * record["rmse_e_per_atom"] ** 2 / frames
        assert record["loss"] == pytest.approx(energy_term, rel=1e-9)
    # training starts as plain MACE, and the terms change what follows
    losses = base_losses(runs[loss])
    assert losses[0] == base_losses(plain)[0]
    assert set(losses[1:]).isdisjoint(base_losses(plain))


def test_the_user_is_told_what_was_read_and_what_is_on(
    runs: dict[str, Trained],
) -> None:
    from piwsl_plugins import __version__

    log = runs["piwsl"].log
    assert log.count(f"PIWSL: piwsl-plugins {__version__}, --loss piwsl: terms") == 1
    assert "train.xyz: energy: 'REF_energy' (eV), 15 frames; forces: none" in log
    assert "PIWSL: taylor weight 50, 0.05 of the energy weight" in log
    assert "PIWSL: conservative weight 50" in log
    assert "beside MACE's 'weighted', which is the whole of the validation loss" in log


def test_the_models_give_energies_and_forces_where_this_package_is_not(
    runs: dict[str, Trained], data: dict[str, Any], bare: BareEnvironment
) -> None:
    paths = []
    for loss, run in runs.items():
        assert run.models == [f"{loss}.model", f"{loss}_compiled.model"]
        paths += [str(run.folder / name) for name in run.models]
    done = bare.run("-c", USE, str(data["valid_file"]), *paths)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(results) == len(LOSSES)
    reference = ase.io.read(data["valid_file"], index=-1).info["REF_energy"]
    for _, energy, forces in results:
        assert energy == pytest.approx(reference, abs=5.0)
        assert all(math.isfinite(x) for force in forces for x in force)
        assert any(x != 0.0 for force in forces for x in force)
