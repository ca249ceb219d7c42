"""`nequip-train` on the shipped config, however it is started, and what it leaves behind."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from nequip_commands import (
    EPOCH,
    MODULE,
    NEQUIP_TRAIN,
    SHIPPED,
    STEP,
    Trained,
    fingerprint,
    overrides,
)
from processes import PYTHON, execute

# 0.9 of 201 structures, 5 a step
STEPS_AN_EPOCH = 37
OPTIONS = {
    "trainer.max_epochs": 1,
    "trainer.log_every_n_steps": 1,
    "++training_module.piwsl.every": 1,
}

WAYS: dict[str, list[str]] = {
    "path": [*NEQUIP_TRAIN, f"configs/{SHIPPED.name}"],
    "folder_and_name": [*NEQUIP_TRAIN, "-cp", str(SHIPPED.parent), "-cn", SHIPPED.stem],
    "module": [PYTHON, *MODULE, f"configs/{SHIPPED.name}"],
}


def trained(way: str, folder: Path) -> Trained:
    """One epoch of the shipped config as it stands, in a folder that has it and nothing else."""
    (folder / "configs").symlink_to(SHIPPED.parent)
    done = execute([*WAYS[way], *overrides(OPTIONS)], folder)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {"configs", "results"}
    (output,) = (folder / "results" / "piwsl_nequip").iterdir()
    return Trained(output, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained("path", tmp_path_factory.mktemp("path"))


def test_checkpoints_and_both_logs_are_there(run: Trained) -> None:
    assert {path.name for path in run.output.glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}
    assert list(run.output.glob("tensorboard/version_0/events.*"))
    assert "TRAIN RUN END" in (run.output / "train.log").read_text(encoding="utf-8")


def test_every_step_and_every_epoch_logs_the_terms_by_name(run: Trained) -> None:
    steps, (epoch,) = run.steps(), run.epochs()
    assert len(steps) == STEPS_AN_EPOCH
    for row, prefix in [*((step, STEP) for step in steps), (epoch, EPOCH)]:
        error, taylor = row[f"{prefix}per_atom_energy_mse"], row[f"{prefix}piwsl_taylor"]
        assert taylor > 0.0
        expected = (error + 0.05 * taylor) / 1.05
        assert row[f"{prefix}weighted_sum"] == pytest.approx(expected, rel=1e-6)
    # 180 structures in 36 steps of 5, and one more
    sizes = [5] * 36 + [1]
    mean = sum(n * step[f"{STEP}piwsl_taylor"] for n, step in zip(sizes, steps, strict=True)) / 181
    assert epoch[f"{EPOCH}piwsl_taylor"] == pytest.approx(mean, rel=1e-6)


# tensorboard asks numpy and protobuf for what they deprecate
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_terms_beside_the_hosts_own(run: Trained) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags: set[str] = set()
    for path in run.output.glob("tensorboard/version_0/events.*"):
        events = EventAccumulator(str(path))
        events.Reload()
        tags.update(events.Tags()["scalars"])
    for name in ("piwsl_taylor", "per_atom_energy_mse", "weighted_sum"):
        assert {STEP + name, EPOCH + name} <= tags


def test_validation_and_test_are_the_hosts_own(run: Trained) -> None:
    names = {name for row in run.rows() for name in row}
    assert {"val0_epoch/total_energy_rmse", "test0_epoch/forces_rmse"} <= names
    assert {name for name in names if "piwsl" in name} == {
        f"{STEP}piwsl_taylor",
        f"{EPOCH}piwsl_taylor",
    }
    assert all(math.isfinite(value) for row in run.rows() for value in row.values())


def test_the_running_mean_of_the_weights_is_saved(run: Trained) -> None:
    saved = torch.load(run.output / "best.ckpt", weights_only=False)
    assert saved["hyper_parameters"]["piwsl"] == {
        "order": 2,
        "max_displacement": 0.1,
        "every": 1,
    }
    assert any(name.startswith("ema.") for name in saved["state_dict"])


@pytest.mark.parametrize("way", ["folder_and_name", "module"])
def test_the_training_is_the_same_however_it_is_started(
    run: Trained, tmp_path: Path, way: str
) -> None:
    other = trained(way, tmp_path)
    assert fingerprint(other) == fingerprint(run)
    assert other.rows() == run.rows()


def test_a_word_that_is_no_existing_yaml_is_left_to_hydra(tmp_path: Path) -> None:
    done = execute([*NEQUIP_TRAIN, "no_such.yaml", "trainer.max_epochs=1"], tmp_path)
    assert done.returncode != 0
    assert "no_such.yaml" in done.stderr
    assert "missing EQUAL" in done.stderr
