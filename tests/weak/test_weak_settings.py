"""The config of `piwsl weak train`: every wrong key and value is named before anything is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from piwsl_plugins.weak.sample_options import words_of
from piwsl_plugins.weak.settings import WeakSettings, file_of, read_settings
from piwsl_plugins.weak.train_command import STAGES
from piwsl_plugins.weak.trainings import Training, mace_flags, merged, nequip_config

SMALL: dict[str, Any] = {"host": "mace", "output": "out", "data": {"train": "train.xyz"}}


def read(tmp_path: Path, content: Any, **overrides: Any) -> WeakSettings:
    path = tmp_path / "weak.yaml"
    path.write_text(yaml.safe_dump(content))
    return read_settings(path, {key.replace("__", "."): v for key, v in overrides.items()})


def training(kind: str, **changes: Any) -> Training:
    values: dict[str, Any] = {
        "kind": kind,
        "train": Path("t.xyz"),
        "valid": Path("v.xyz"),
        "energy": "REF_energy",
        "atomic_energies": {"H": -13.0, "O": -2000.0},
    }
    return Training(**values | changes)


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    settings = read(tmp_path, SMALL)
    assert settings.committee.members == 3
    assert settings.low_level.method == "gfn2-xtb"
    assert settings.sample.is_empty


def test_dotted_keys_take_the_place_of_the_files(tmp_path: Path) -> None:
    settings = read(
        tmp_path, SMALL, sample__temperatures=[300, 500], training__model={"r_max": 5.0}
    )
    assert settings.sample.temperatures == (300.0, 500.0)
    assert settings.training == {"model": {"r_max": 5.0}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": "mcae"}, "did you mean 'mace'"),
        ({"hots": "mace"}, "did you mean 'host'"),
        ({"data": {}}, "data.train: this key is needed"),
        ({"data": {"trian": "a"}}, "data: unknown key 'trian'; did you mean 'train'"),
        ({"data": {"train": "a", "valid_fraction": 2.0}}, "data: valid_fraction must be between"),
        ({"data": {"train": "a", "energy_unit": 3}}, "data.energy_unit: got 3, expected text"),
        ({"committee": {"members": 1}}, "a committee of one does not tell where it is wrong"),
        ({"committee": {"members": True}}, "expected a whole number"),
        ({"committee": {"max_forces_std": 0}}, "max_forces_std must be positive"),
        ({"sample": {"temperatures": 300}}, "expected a list, each entry a number"),
        ({"sample": {"lengths": [-1]}}, "lengths must be positive"),
        ({"sample_by": "dleta"}, "did you mean 'delta'"),
        ({"plain": "yes"}, "plain: got 'yes'"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"device": "gpu"}, "device: got 'gpu', expected cpu or cuda"),
        ({"low_level": {"method": "keys"}}, "low_level: method is keys: .* name the method"),
        ({"report": {"nve_steps": -5}}, "report: nve_steps: got -5, expected a whole number >= 0"),
        ({"report": {"nve_temperature": -5}}, "nve_temperature: got -5"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, SMALL | changes)


def test_a_committee_of_one_may_be_allowed(tmp_path: Path) -> None:
    one = {"committee": {"members": 1, "allow_single": True}}
    assert read(tmp_path, SMALL | one).committee.members == 1


def test_a_file_is_the_users_or_a_shipped_one(tmp_path: Path) -> None:
    assert file_of("piwsl_dataset:formaldehyde_ccsdt_cbs/train.xyz").is_file()
    with pytest.raises(ValueError, match="no shipped data named 'nothing'"):
        file_of("piwsl_dataset:nothing")
    with pytest.raises(ValueError, match="there is no such file"):
        file_of(str(tmp_path / "nothing.xyz"))


@pytest.mark.parametrize("host", ["mace", "nequip"])
def test_the_shipped_configs_are_read_and_make_every_training(repo_root: Path, host: str) -> None:
    settings = read_settings(repo_root / "configs" / f"piwsl_weak_{host}.yaml", {})
    make = mace_flags if host == "mace" else nequip_config
    for kind in ("plain", "delta", "student"):
        differs = getattr(settings, kind)
        assert make(settings.training, training(kind, differs=differs))
    assert settings.sample.select == 300
    assert "--temperatures" in words_of(settings.sample)


def test_settings_and_options_of_sampling_are_the_same(tmp_path: Path) -> None:
    from piwsl_plugins.weak.command import parser
    from piwsl_plugins.weak.sample_options import settings_of

    given = {"temperatures": [300, 600.5], "steps": 100, "relax": False, "select": 7, "strain": 0.1}
    sample = read(tmp_path, SMALL | {"sample": given}).sample
    words = ["sample", "a.xyz", "--potential", "x", "-o", "b.xyz", *words_of(sample)]
    assert settings_of(parser().parse_args(words)) == sample


# --- what the hosts are told ------------------------------------------------------------


def test_mace_is_told_files_labels_and_seed_beside_the_users_flags() -> None:
    base = {"r_max": 4.0, "max_num_epochs": 10}
    differs = {"max_num_epochs": 20}
    low = {"low_energy": "weak_energy", "seed": 3, "differs": differs}
    flags = mace_flags(base, training("delta", **low))
    assert flags["E0s"] == "{1: -13.0, 8: -2000.0}"
    assert flags["max_num_epochs"] == 20
    assert flags["loss"] == "piwsl_supervised"
    assert flags["piwsl_low_energy_key"] == "weak_energy"
    assert flags["scaling"] == "std_scaling"
    assert flags["seed"] == 3
    student = mace_flags(base, training("student", forces="target_forces"))
    assert student["scaling"] == "rms_forces_scaling"
    assert student["loss"] == "weighted"
    assert not any(name.startswith("piwsl") for name in student)


def test_nequips_student_is_trained_by_nequips_own_classes_alone() -> None:
    config = nequip_config(
        {"cutoff_radius": 4.0, "trainer": {"max_epochs": 5}},
        training("student", forces="target_forces", differs={"trainer": {"max_epochs": 9}}),
    )
    assert config["trainer"]["max_epochs"] == 9
    assert config["training_module"]["_target_"] == "nequip.train.EMALightningModule"
    assert config["training_module"]["loss"]["_target_"] == "nequip.train.EnergyForceLoss"
    assert config["data"]["_target_"] == "nequip.data.datamodule.ASEDataModule"
    assert config["data"]["key_mapping"] == {
        "REF_energy": "total_energy",
        "target_forces": "forces",
    }
    delta = nequip_config(
        {"cutoff_radius": 4.0}, training("delta", low_energy="weak_energy", scale=0.2)
    )
    assert delta["data"]["labels"] == {"energy": "REF_energy", "low_energy": "weak_energy"}
    assert delta["training_module"]["model"]["per_type_energy_scales"] == 0.2


@pytest.mark.parametrize(
    ("make", "base", "message"),
    [
        (mace_flags, {"train_file": "mine.xyz"}, "training.train_file: piwsl weak train says"),
        (nequip_config, {"type_names": ["H"]}, "training.type_names: piwsl weak train says"),
        (nequip_config, {"data": {"labels": {}}}, "training.data.labels: piwsl weak train says"),
        (nequip_config, {}, "training.cutoff_radius: this key is needed"),
        (nequip_config, {"training_modul": {}}, "unknown key 'training_modul'; did you mean"),
    ],
)
def test_what_the_stages_say_is_not_the_users_to_say(make: Any, base: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(base, training("plain"))


def test_another_target_replaces_a_block_and_the_same_one_is_completed() -> None:
    below = {"optimizer": {"_target_": "Adam", "lr": 0.01}, "data": {"a": 1}}
    assert merged(below, {"optimizer": {"lr": 0.1}})["optimizer"] == {"_target_": "Adam", "lr": 0.1}
    other = {"_target_": "SGD"}
    assert merged(below, {"optimizer": other})["optimizer"] == other
    assert merged(below, {"data": {"_target_": "Own"}})["data"] == {"a": 1, "_target_": "Own"}
    assert below["data"] == {"a": 1}


def test_the_help_names_every_stage_in_order() -> None:
    from piwsl_plugins.weak.train_command import DESCRIPTION

    places = [DESCRIPTION.index(f"\n  {stage} ") for stage in STAGES]
    assert places == sorted(places)
