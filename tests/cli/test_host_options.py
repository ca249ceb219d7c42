"""The terms stay on through what else MACE's command line offers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import pytest
import yaml
from commands import DATA, check_terms, train

from piwsl_plugins import datasets

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


def test_the_shipped_config_trains_on_weak_forces_until_they_have_faded(
    repo_root: Path, tmp_path: Path
) -> None:
    config = repo_root / "configs" / "piwsl_mace_weak_forces.yaml"
    full = yaml.safe_load(config.read_text(encoding="utf-8"))["piwsl_weak_forces_weight"]
    frames = ase.io.read(datasets.path(f"{DATA}/train_weak_forces.xyz"), index=":20")
    ase.io.write(tmp_path / "train.xyz", frames)
    options = {"config": config, "work_dir": ".", "train_file": "train.xyz", "batch_size": 9}
    run = train(tmp_path, {**options, "test_file": datasets.path(f"{DATA}/test.xyz")})
    assert len(run.steps) == 4
    for number, step in enumerate(run.steps):
        added = 0.0
        if number < 2:
            weight = step["piwsl_weak_forces_weight"]
            assert weight == pytest.approx(full * (1.0 - number / 2))
            added = weight * step["piwsl_weak_forces"]
            assert added > 0.0
        assert step["loss"] == pytest.approx(step["base_loss"] + added, rel=1e-5)
    assert "RMSE F" in run.log


@pytest.fixture(scope="module")
def foundation(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A "foundation" model: one epoch of plain MACE."""
    folder = tmp_path_factory.mktemp("foundation")
    options = {"loss": "weighted", "name": "foundation", "max_num_epochs": 1}
    return train(folder, {**data, **options}).folder / "foundation.model"


def test_every_head_has_the_terms_beside_another_loss(
    files: Files, atoms_energies: str, tmp_path: Path
) -> None:
    def head(part: slice, valid: slice) -> dict[str, str]:
        return {
            "train_file": str(files(f"train{part.start}", part)),
            "valid_file": str(files(f"valid{valid.start}", valid)),
            "E0s": atoms_energies,
        }

    heads = {"low": head(slice(0, 8), slice(12, 14)), "high": head(slice(8, 12), slice(14, 16))}
    options = {
        "heads": heads,
        "model": "MACE",
        "max_num_epochs": 1,
        "loss": "piwsl",
        "piwsl_base_loss": "universal",
        "piwsl_taylor_weight": 400.0,
        "piwsl_warmup": 4,
        **VISIBLE,
    }
    run = train(tmp_path, options)
    assert "order 1, displacements ball up to 0.3 angstrom, beside MACE's 'universal'" in run.log
    assert len(run.steps) == 3
    for number, step in enumerate(run.steps):
        check_terms(step, *BOTH)
        assert step["piwsl_taylor_weight"] == 100.0 * (number + 1)
    trained = [record for record in run.validations if record["epoch"] is not None]
    assert sorted({record["head"] for record in trained}) == ["high", "low"]
    # the means over an epoch's steps are written once, beside the first head's errors
    assert ["train_base_loss" in record for record in trained] == [True, False]
    assert run.log.count("PIWSL, mean over training steps") == 1


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
        "max_num_epochs": 1,
        **VISIBLE,
    }
    run = train(tmp_path, options)
    assert "PIWSL: --multiheads_finetuning makes MACE's base loss 'universal'" in run.log
    assert "Using heads: ['Default', 'pt_head']" in run.log
    assert "UniversalLoss(energy_weight=1000.000" in run.log
    assert len(run.steps) == (12 + 8) // 4
    for step in run.steps:
        check_terms(step, *BOTH)
