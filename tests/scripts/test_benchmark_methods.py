"""Every method that is there can be told to its hosts, and what cannot be read is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import benchmark_methods
import pytest
import yaml
from benchmark_data import Subset
from benchmark_hosts import MASKED_MSE, Setup, put, read_config
from benchmark_methods import Method, read

from piwsl_plugins.weak.settings import read_settings
from piwsl_plugins.weak.trainings import Training, mace_flags, nequip_config

NAMES = sorted(path.stem for path in benchmark_methods.FOLDER.glob("*.yaml"))
ENERGIES = Subset(
    train="data/a/train.xyz",
    valid="data/a/valid.xyz",
    n_train=20,
    n_forces=0,
    valid_forces=False,
    digest="",
)


def subset(n_forces: int) -> Subset:
    return Subset(
        train=ENERGIES.train,
        valid=ENERGIES.valid,
        n_train=20,
        n_forces=n_forces,
        valid_forces=n_forces == 20,
        digest="",
    )


@pytest.fixture
def setup(repo_root: Path) -> Setup:
    return Setup(
        mace=read_config(repo_root / "scripts" / "benchmarks" / "mace.yaml"),
        nequip=read_config(repo_root / "configs" / "piwsl_nequip.yaml"),
        free_atoms={"H": -13.6, "O": -2041.0},
        force_weight=0.5,
        batch_size=10,
        device="cpu",
        dtype="float32",
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_a_method_that_its_hosts_can_be_told(name: str, setup: Setup) -> None:
    method = read(name)
    assert method.name == name
    for host in method.hosts:
        for n_forces in (0, 5, 20):
            config = setup.config(host, method, subset(n_forces), 3, 40)
            assert yaml.safe_load(yaml.safe_dump(config)) == config


def test_steps_may_be_given_as_a_part_of_the_run(setup: Setup) -> None:
    method = Method(name="x", title="x", terms=("curvature",), of_run={"warmup": 0.5})
    assert setup.config("mace", method, ENERGIES, 1, 40)["piwsl_warmup"] == 40
    config = setup.config("nequip", method, ENERGIES, 1, 41)
    assert config["training_module"]["piwsl"] == {"warmup": 41}
    with pytest.raises(ValueError, match="of_run: unknown key 'every'"):
        Method(name="x", title="x", terms=("curvature",), of_run={"every": 0.5})
    with pytest.raises(ValueError, match=r"of_run.warmup: got 2, expected a part"):
        Method(name="x", title="x", terms=("curvature",), of_run={"warmup": 2})


def test_weak_forces_are_told_to_either_host(setup: Setup) -> None:
    method = read("weak-forces-steady")
    mace = setup.config("mace", method, ENERGIES, 1, 40)
    assert mace["loss"] == "piwsl_supervised"
    assert mace["piwsl_weak_forces_key"] == "weak_forces"
    assert mace["piwsl_weak_forces_weight"] == pytest.approx(1000 * 0.1)
    assert mace["piwsl_weak_forces_fade"] == 0
    config = setup.config("nequip", method, ENERGIES, 1, 40)
    module = config["training_module"]
    assert module["piwsl"] == {"weak_forces_weight": 0.1, "weak_forces_fade": 0}
    assert module["loss"]["terms"] == ["weak_forces"]
    assert config["data"]["key_mapping"]["weak_forces"] == "weak_forces"
    assert config["data"]["piwsl"] is False
    both = Method(name="x", title="x", terms=("curvature",), weak_forces=True)
    assert setup.config("mace", both, ENERGIES, 1, 40)["loss"] == "piwsl_curvature"
    config = setup.config("nequip", both, ENERGIES, 1, 40)
    assert config["training_module"]["loss"]["terms"] == ["curvature", "weak_forces"]
    assert config["data"]["piwsl"] == "${training_module.piwsl}"
    with pytest.raises(ValueError, match="weak_forces_weight: nothing reads it"):
        Method(name="x", title="x", terms=("curvature",), piwsl={"weak_forces_weight": 1.0})


def test_a_difference_is_told_to_either_host_with_what_it_begins_with(setup: Setup) -> None:
    begins = {"energies": {"H": -0.5, "O": 2.0}, "scale": 0.25}
    files = dataclasses.replace(ENERGIES, difference=begins)
    for name in ("delta", "delta-taylor"):
        mace = setup.config("mace", read(name), files, 1, 40)
        assert mace["loss"] == {"delta": "piwsl_supervised", "delta-taylor": "piwsl_taylor"}[name]
        assert (mace["energy_key"], mace["piwsl_low_energy_key"]) == ("REF_energy", "weak_energy")
        assert mace["E0s"] == "{1: -0.5, 8: 2.0}"
        config = setup.config("nequip", read(name), files, 1, 40)
        assert config["data"]["labels"] == {"energy": "REF_energy", "low_energy": "weak_energy"}
        assert config["atomic_energies"] == {"H": -0.5, "O": 2.0}
        assert config["training_module"]["model"]["per_type_energy_scales"] == 0.25
    assert config["data"]["piwsl"] == "${training_module.piwsl}"  # displaced atoms need a skin


@pytest.mark.parametrize("host", ["mace", "nequip"])
def test_a_students_way_is_a_config_of_piwsl_weak_train(
    host: str, setup: Setup, tmp_path: Path
) -> None:
    method = read("student")
    assert method.student is not None
    training = dataclasses.replace(method, labels="cheap_forces")
    many = dataclasses.replace(subset(20), n_train=200, n_forces=200, valid_forces=True)
    config = method.student.config(
        host,
        {"train": "train.xyz", "valid": "valid.xyz", "geometries": ["rest.xyz"]},
        "gfn1-xtb",
        setup.free_atoms,
        "cpu",
        3,
        setup.config(host, read("delta"), ENERGIES, 3, 20),
        setup.config(host, training, many, 3, 40),
    )
    path = tmp_path / "weak.yaml"
    path.write_text(yaml.safe_dump(config | {"output": "out"}))
    found = read_settings(path, {})
    assert found.low_level.method == "gfn1-xtb"
    assert (found.committee.members, found.plain) == (2, False)
    assert found.sample == dataclasses.replace(method.student.sample, seed=3)
    make = mace_flags if host == "mace" else nequip_config
    made = {}
    for kind, differs in (("delta", found.delta), ("student", found.student)):
        low = {"low_energy": "weak_energy"} if kind == "delta" else {}
        made[kind] = make(
            found.training,
            Training(
                kind=kind,
                train=Path("a.xyz"),
                valid=Path("b.xyz"),
                energy="e",
                forces="f" if kind == "student" else None,
                atomic_energies={"H": 1.0},
                scale=0.25,
                differs=differs,
                **low,
            ),
        )
    delta, student = made["delta"], made["student"]
    if host == "mace":
        assert (delta["max_num_epochs"], student["max_num_epochs"]) == (20, 40)
        assert student["lr_scheduler_gamma"] ** 40 == pytest.approx(0.02, rel=1e-4)
        assert (delta["loss"], student["loss"]) == ("piwsl_supervised", "weighted")
        assert student["forces_weight"] == pytest.approx(0.5 * student["energy_weight"])
        assert not any("piwsl" in name for name in student)
        return
    assert [made[kind]["trainer"]["max_epochs"] for kind in made] == [20, 40]
    model = delta["training_module"]["model"]
    assert (model["per_type_energy_scales"], model["do_derivatives"]) == (0.25, False)
    module = student["training_module"]
    assert module["loss"]["coeffs"] == {"total_energy": 1.0, "forces": 0.5}
    assert module["val_metrics"]["_target_"] == "nequip.train.EnergyForceMetrics"
    assert "piwsl" not in yaml.safe_dump(student).replace("piwsl_plugins.hosts.nequip.Energy", "")


def test_weights_count_from_that_of_the_energies(setup: Setup) -> None:
    method = read("taylor-order1")
    mace = setup.config("mace", method, subset(20), 3, 40)
    assert mace["loss"] == "piwsl_taylor"
    assert mace["piwsl_taylor_weight"] == pytest.approx(1000 * 0.01)
    assert mace["forces_weight"] == pytest.approx(1000 * 0.5)
    assert mace["piwsl_max_displacement"] == 0.05
    module = setup.config("nequip", method, subset(20), 3, 40)["training_module"]
    assert module["piwsl"]["taylor_weight"] == 0.01
    assert module["loss"]["coeffs"] == {"total_energy": 1.0, "forces": 0.5}


def test_the_learning_rate_falls_over_the_run_and_the_seed_is_everywhere(setup: Setup) -> None:
    mace = setup.config("mace", read("plain"), ENERGIES, 3, 40)
    assert mace["lr_scheduler_gamma"] ** mace["max_num_epochs"] == pytest.approx(0.02, rel=1e-4)
    assert mace["seed"] == 3
    nequip = setup.config("nequip", read("plain"), ENERGIES, 3, 40)
    assert nequip["trainer"]["max_epochs"] == 40
    assert nequip["data"]["seed"] == nequip["training_module"]["model"]["seed"] == 3
    assert (
        nequip["training_module"]["lr_scheduler"]["scheduler"]["T_max"] == "${trainer.max_epochs}"
    )


def test_plain_runs_know_nothing_of_the_terms(setup: Setup) -> None:
    assert not any("piwsl" in key for key in setup.config("mace", read("plain"), ENERGIES, 3, 40))
    module = setup.config("nequip", read("plain"), ENERGIES, 3, 40)["training_module"]
    assert module["_target_"] == "nequip.train.EMALightningModule"
    assert module["loss"] == {"_target_": "nequip.train.EnergyOnlyLoss"}
    fast = setup.config("nequip", read("plain-energies"), ENERGIES, 3, 40)["training_module"]
    assert fast.pop("model") == module.pop("model") | {"do_derivatives": False}
    assert fast == module


def loss(setup: Setup, n_forces: int) -> Any:
    config = setup.config("nequip", read("plain"), subset(n_forces), 3, 40)
    return config["training_module"]


def test_plain_nequip_leaves_out_forces_that_are_missing(setup: Setup) -> None:
    some, full = loss(setup, 5), loss(setup, 20)
    assert [entry["metric"]["_target_"] for entry in some["loss"]["metrics"]] == [MASKED_MSE] * 2
    assert [entry["coeff"] for entry in some["loss"]["metrics"]] == [1.0, 0.5]
    assert some["val_metrics"]["_target_"] == "nequip.train.EnergyOnlyMetrics"
    assert full["loss"]["_target_"] == "nequip.train.EnergyForceLoss"
    assert full["val_metrics"]["_target_"] == "nequip.train.EnergyForceMetrics"


def test_small_sets_have_smaller_batches(setup: Setup) -> None:
    few = Subset(train="a", valid="b", n_train=7, n_forces=0, valid_forces=False, digest="")
    assert setup.config("mace", read("plain"), few, 1, 9)["batch_size"] == 7
    for host, steps in (("mace", 1), ("nequip", 1)):
        assert setup.steps_an_epoch(host, few) == steps
    odd = Subset(train="a", valid="b", n_train=45, n_forces=0, valid_forces=False, digest="")
    assert [setup.steps_an_epoch(host, odd) for host in ("mace", "nequip")] == [4, 5]


def test_overrides_of_a_hosts_own_need_a_place(setup: Setup) -> None:
    method = Method(name="mine", title="mine", nequip={"training_module.modle.l_max": 2})
    with pytest.raises(ValueError, match=r"no block training_module\.modle"):
        setup.config("nequip", method, ENERGIES, 1, 9)
    method = Method(name="mine", title="mine", mace={"lr": 0.5})
    assert setup.config("mace", method, ENERGIES, 1, 9)["lr"] == 0.5
    config: dict[str, Any] = {"a": {"b": 1}}
    put(config, "a.b", 2)
    assert config == {"a": {"b": 2}}


def test_terms_that_mace_cannot_have_together_are_refused(setup: Setup) -> None:
    method = Method(name="mine", title="mine", terms=("taylor", "curvature"))
    with pytest.raises(ValueError, match="mine: MACE has no loss with the terms taylor, curvature"):
        setup.config("mace", method, ENERGIES, 1, 9)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("title: a\nterm: [taylor]", "unknown key 'term'; did you mean 'terms'"),
        ("title: a\nterms: [tailor]", "terms: unknown value 'tailor'; did you mean 'taylor'"),
        ("title: a\nterms: [taylor]\npiwsl: {ordre: 1}", "piwsl: unknown key 'ordre'"),
        ("title: a\npiwsl: {order: 1}", "nothing reads these settings"),
        ("title: a\nlabels: some", "labels: unknown value 'some'"),
        ("title: a\naugmentation: {name: noisy}", "augmentation.name: unknown value 'noisy'"),
        ("title: a\naugmentation: {name: noisy_copies, sigm: 1}", "did you mean 'sigma'"),
        ("terms: [taylor]", "title"),
        ("title: a\ndifference: true", "difference: it is for labels: energies"),
        ("title: a\nlabels: cheap_forces", "for the training of a student"),
        ("title: a\nlabels: energies\nstudent: {member: 2}", "did you mean 'members'"),
        ("title: a\nlabels: energies\nstudent: {members: 0}", "members must be at least 1"),
        ("title: a\nlabels: energies\nstudent: {budget: 0}", "budget must be a part"),
        ("title: a\nstudent: {}", "student: it is for labels: energies"),
        ("title: a\nlabels: energies\nterms: [taylor]\nstudent: {}", "terms: not with student"),
    ],
)
def test_what_a_file_has_wrong_is_named(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"(?s)mine.yaml.*{reason}"):
        read(str(path))


def test_a_name_without_a_file_shows_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no method 'tailor'.*'taylor'"):
        read("tailor")


def test_terms_have_one_order(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("title: a\nterms: [conservative, taylor]")
    assert read(str(path)).terms == ("taylor", "conservative")


def test_methods_say_where_they_make_no_sense() -> None:
    assert "it is for nequip" in read("plain-energies").unsuitable("mace", "none")
    assert "energies alone" in read("plain-energies").unsuitable("nequip", "4")
    assert "needs reference forces" in read("taylor-augmentation").unsuitable("mace", "none")
    assert read("taylor-augmentation").unsuitable("mace", "4") == ""
