"""The terms stay on through what else MACE's command line offers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import MACE_RUN_TRAIN, TINY, Trained, check_terms, in_fork, train

BOTH = ("taylor", "conservative")
VISIBLE = {"piwsl_order": 1, "piwsl_max_displacement": 0.3}

Files = Callable[[str, slice], Path]


@pytest.fixture(scope="module")
def files(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Write some of the frames to a file, without the free atoms."""
    folder = tmp_path_factory.mktemp("files")

    def write(name: str, part: slice) -> Path:
        path = folder / f"{name}.xyz"
        path.write_text("".join(texts[part]), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def foundation(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A "foundation" model: one epoch of plain MACE."""
    folder = tmp_path_factory.mktemp("foundation")
    options = {"loss": "weighted", "name": "foundation", "max_num_epochs": 1}
    return train(folder, {**data, **options}).folder / "foundation.model"


def test_a_config_file_holds_the_settings_and_the_terms_work_in_single_precision(
    files: Files, tmp_path: Path
) -> None:
    options = {
        **TINY,
        "name": "run",
        "train_file": str(files("train", slice(12))),
        "valid_file": str(files("valid", slice(12, 16))),
        "model": "MACE",
        "default_dtype": "float32",
        "E0s": "average",
        "config_type_weights": '{"300K": 2.0, "1000K": 0.5}',
        "loss": "piwsl",
        "piwsl_base_loss": "universal",
        "piwsl_order": 1,
        "piwsl_max_displacement": 0.6,
        "piwsl_allow_large_displacement": True,
        "piwsl_taylor_weight": 400.0,
        "piwsl_warmup": 4,
        "piwsl_every": 1,
        "piwsl_seed": 7,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")
    done = in_fork([*MACE_RUN_TRAIN, "--config", "run.yaml"], tmp_path)
    run = Trained(tmp_path, "run", done.returncode, done.stdout, done.stderr).check()
    for number, step in enumerate(run.steps):
        check_terms(step, *BOTH, relative=1e-5)
        assert step["piwsl_taylor_weight"] == 400.0 * min(1.0, (number + 1) / 4)
    assert "order 1, displacements ball up to 0.6 angstrom, beside MACE's 'universal'" in run.log
    assert "UniversalLoss(energy_weight=1000.000" in run.log
    assert run.models == ["run.model", "run_compiled.model"]


def test_every_head_has_the_terms(files: Files, atoms_energies: str, tmp_path: Path) -> None:
    def head(part: slice, valid: slice) -> dict[str, str]:
        return {
            "train_file": str(files(f"train{part.start}", part)),
            "valid_file": str(files(f"valid{valid.start}", valid)),
            "E0s": atoms_energies,
        }

    heads = {"low": head(slice(0, 8), slice(12, 14)), "high": head(slice(8, 12), slice(14, 16))}
    run = train(tmp_path, {"heads": heads, "loss": "piwsl", **VISIBLE})
    assert len(run.steps) == 6
    for step in run.steps:
        check_terms(step, *BOTH)
    trained = [record for record in run.validations if record["epoch"] is not None]
    assert sorted({record["head"] for record in trained}) == ["high", "low"]
    # the means over an epoch's steps are written once, beside the first head's errors
    assert ["train_base_loss" in record for record in trained] == [True, False, True, False]
    assert run.log.count("PIWSL, mean over training steps") == 2


@pytest.mark.parametrize("options", [{}, {"lora": "True", "lora_rank": 2}], ids=["plain", "lora"])
def test_finetuning_a_foundation_model_keeps_the_terms(
    foundation: Path, data: dict[str, Any], tmp_path: Path, options: dict[str, Any]
) -> None:
    finetuning = {"loss": "piwsl", "foundation_model": foundation, "lr": 0.001}
    run = train(tmp_path, {**data, **finetuning, **VISIBLE, **options})
    for step in run.steps:
        check_terms(step, *BOTH)
    assert "WeightedEnergyForcesLoss(energy_weight=1000.000" in run.log
    assert ("Injecting LoRA layers" in run.log) == bool(options)
    assert run.models == ["run.model", "run_compiled.model"]


def test_finetuning_with_replay_adds_the_terms_to_the_loss_that_mace_chooses_for_it(
    foundation: Path, data: dict[str, Any], files: Files, tmp_path: Path
) -> None:
    options = {
        **data,
        "loss": "piwsl",
        "foundation_model": foundation,
        "multiheads_finetuning": "True",
        "pt_train_file": files("replay", slice(8)),
        "pt_valid_file": files("replay_valid", slice(12, 14)),
        "force_mh_ft_lr": "True",
        **VISIBLE,
    }
    run = train(tmp_path, options)
    assert "PIWSL: --multiheads_finetuning makes MACE's base loss 'universal'" in run.log
    assert "Using heads: ['Default', 'pt_head']" in run.log
    assert "base=UniversalLoss(energy_weight=1000.000" in run.log
    assert len(run.steps) == 2 * ((12 + 8) // 4)
    for step in run.steps:
        check_terms(step, *BOTH)
