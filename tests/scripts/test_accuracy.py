"""The accuracy benchmark compares like with like: same frames, same time, same configs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import accuracy
import ase
import numpy as np
import pandas as pd
import pytest
import yaml
from campaign import ROOT
from costs import measure_costs, seconds_an_epoch
from host_configs import Setup, plain_nequip, read_config
from host_runs import Run
from methods import FOLDER, Method, read_method
from students import frames_of_student, student_config
from subsets import FORCES, WEAK_FORCES, Source, count_of, read_frames
from summary import summary, verdict

PRESET = ROOT / "scripts" / "benchmarks" / "formaldehyde.yaml"
MACE = ROOT / "scripts" / "benchmarks" / "mace.yaml"


def frames(number: int, **arrays: float) -> list[ase.Atoms]:
    """Different frames with energies, and with arrays of these values."""
    made = []
    for place in range(number):
        atoms = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.7 + 0.01 * place]])
        atoms.info |= {"REF_energy": float(place), "weak_energy": -1.0}
        for name, value in {FORCES: 1.0, WEAK_FORCES: 2.0, **arrays}.items():
            atoms.arrays[name] = np.full((2, 3), value)
        made.append(atoms)
    return made


def source(folder: Path, forces: str = "none", number: int = 40) -> Source:
    return Source(frames=frames(number), forces=forces, validation=0.25, folder=folder)


def setup() -> Setup:
    return Setup(
        mace=read_config(MACE),
        nequip=read_config(ROOT / "configs" / "piwsl_nequip.yaml"),
        free_atoms={"H": -13.6},
        force_weight=0.1,
        batch_size=10,
        device="cpu",
        dtype="float32",
    )


def config(host: str, name: str, folder: Path, forces: str = "none") -> dict[str, Any]:
    method = read_method(name)
    return setup().config(host, method, source(folder, forces).subset(method, 20, 1), 3, 50)


def test_a_smaller_subset_is_part_of_a_larger_and_never_validates_what_it_trains_on(
    tmp_path: Path,
) -> None:
    kinds = {}
    for size in (12, 24):
        drawn = source(tmp_path).draw(size, seed=1)
        kinds[size] = [{atoms.info["REF_energy"] for atoms in part} for part in drawn]
        train, valid, rest = kinds[size]
        assert (len(train), len(valid)) == (size - max(5, size // 4), max(5, size // 4))
        assert len(train | valid | rest) == 40
    assert kinds[12][0] | kinds[12][1] < kinds[24][0] | kinds[24][1]
    with pytest.raises(ValueError, match="--sizes: 41 frames"):
        source(tmp_path).draw(41, seed=1)


@pytest.mark.parametrize(
    ("words", "count"), [("none", 0), ("all", 30), ("7", 7), ("0.1", 3), ("99", 30)]
)
def test_forces_are_given_to_as_many_frames_as_asked_for(words: str, count: int) -> None:
    assert count_of(words, 30) == count
    with pytest.raises(ValueError, match="expected none, all, a number or a fraction"):
        count_of("some", 30)


@pytest.mark.parametrize(
    ("name", "forces", "n_forces", "labels"),
    [
        ("plain", "none", 0, set()),
        ("plain", "4", 4, {FORCES}),
        ("full-forces", "none", 15, {FORCES}),
        ("weak-forces", "none", 0, {WEAK_FORCES}),
        ("teacher-low", "none", 0, {WEAK_FORCES, "weak_energy"}),
    ],
)
def test_a_run_has_the_labels_that_its_method_is_for_and_no_others(
    name: str, forces: str, n_forces: int, labels: set[str], tmp_path: Path
) -> None:
    subset = source(tmp_path, forces).subset(read_method(name), 20, 1)
    train, valid = (read_frames(tmp_path / file) for file in (subset.train, subset.valid))
    assert (len(train), len(valid), subset.n_forces) == (15, 5, n_forces)
    assert subset.valid_forces == (n_forces == 15) == all(FORCES in a.arrays for a in valid)
    found = {key for atoms in train for key in {**atoms.info, **atoms.arrays}}
    assert found - {"REF_energy", "numbers", "positions"} == labels


def test_every_method_is_read_and_told_to_both_hosts(tmp_path: Path) -> None:
    for path in FOLDER.glob("*.yaml"):
        method = read_method(path.stem)
        assert method.title
        if method.student is None:
            for host in method.hosts:
                assert config(host, path.stem, tmp_path / path.stem)


def test_mace_is_told_weights_and_keys_on_its_own_scale(tmp_path: Path) -> None:
    plain = config("mace", "plain", tmp_path)
    assert (plain["loss"], plain["energy_weight"], plain["forces_weight"]) == (
        "weighted",
        1000,
        100,
    )
    assert plain["E0s"] == "{1: -13.6}"
    assert plain["lr_scheduler_gamma"] ** 50 == pytest.approx(0.02, rel=1e-5)
    steady = config("mace", "curvature-steady", tmp_path)
    assert (steady["loss"], steady["piwsl_fade"]) == ("piwsl_curvature", 0)
    low = config("mace", "teacher-low", tmp_path)
    keys = ("piwsl_low_energy_key", "piwsl_low_forces_key")
    assert [low[key] for key in ("loss", *keys)] == ["piwsl_teacher", "weak_energy", "weak_forces"]
    assert config("mace", "weak-forces", tmp_path)["loss"] == "piwsl_supervised"


def test_plain_nequip_is_nequip_alone(tmp_path: Path) -> None:
    plain = config("nequip", "plain-energies", tmp_path)
    assert plain["data"]["_target_"] == "nequip.data.datamodule.ASEDataModule"
    assert not {"piwsl", "labels", "teacher"} & {*plain["data"], *plain["training_module"]}
    assert plain["data"]["key_mapping"] == {"REF_energy": "total_energy", "REF_forces": "forces"}
    assert plain["training_module"]["_target_"] == "nequip.train.EMALightningModule"
    assert plain["training_module"]["loss"] == {"_target_": "nequip.train.EnergyOnlyLoss"}
    assert plain["training_module"]["model"]["do_derivatives"] is False
    full = config("nequip", "full-forces", tmp_path)["training_module"]
    assert full["loss"]["coeffs"] == {"total_energy": 1.0, "forces": 0.1}
    assert full["val_metrics"]["_target_"] == "nequip.train.EnergyForceMetrics"
    # NequIP's own losses know no frames without forces beside those that have them
    mixed = config("nequip", "plain", tmp_path, forces="4")["training_module"]
    assert mixed["loss"]["terms"] == []
    with pytest.raises(ValueError, match=r"expected piwsl_plugins\.hosts\.nequip\.Piwsl"):
        plain_nequip(plain)


@pytest.mark.parametrize("host", ["mace", "nequip"])
def test_a_student_is_told_what_its_host_is_but_for_what_piwsl_train_says(
    host: str, tmp_path: Path
) -> None:
    from piwsl_plugins.teacher.train_settings import TrainSettings

    drawn, method = source(tmp_path), read_method("student")
    subset, rest = drawn.subset(method, 20, 1), drawn.rest(20, 1)
    found = student_config(setup(), host, method, subset, rest, "gfn1-xtb", 3, 50)
    settings = TrainSettings(**found)
    assert (settings.seed, settings.cheap_method.method) == (3, "gfn1-xtb")
    assert settings.data.geometries == ("data/n20-seed1/rest.xyz",)
    training = settings.training
    epochs = training["max_num_epochs"] if host == "mace" else training["trainer"]["max_epochs"]
    assert epochs == 50
    assert not {"train_file", "seed", "type_names"} & set(training)
    # 2 temperatures, 10 trajectories of 15 geometries each
    assert frames_of_student(method.student or {}, 15, 20) == 15 + 20 + 300


def test_a_method_with_a_wrong_key_or_setting_names_its_file(tmp_path: Path) -> None:
    for text, message in {
        "titel: x": "unknown key 'titel'; did you mean 'title'",
        "terms: [taylr]": "terms",
        "terms: [taylor]\npiwsl: {ordr: 2}": "unknown key 'ordr'; did you mean 'order'",
        "piwsl: {order: 2}": "there are no terms",
    }.items():
        path = tmp_path / "bad.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message) as raised:
            read_method(str(path))
        assert "bad.yaml" in str(raised.value)
    with pytest.raises(ValueError, match=r"no method 'tayler': expected .* taylor"):
        read_method("tayler")


class TimedRun(Run):
    """A run that has ended, whose epochs took so many seconds."""

    def times(self, device: str) -> list[float]:
        return list(np.cumsum([0.0, 9.0, *[self.seconds] * 8]))


def timed(seconds: float, failed: str = "") -> Run:
    nowhere = Path("nowhere")
    return TimedRun(
        label="run", command=[], folder=nowhere, model=nowhere, root=nowhere, programs=nowhere,
        epochs=9, seconds=seconds, failed=failed,
    )  # fmt: skip


def test_costs_are_ratios_to_plain_runs_close_in_time(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    made = {"plain": iter([timed(1.0), timed(2.0)]), "slow": iter([timed(3.0), timed(6.0)])}
    made["bad"] = iter([timed(1.0, "it broke"), timed(1.0, "it broke")])
    runs = {name: (lambda name=name: next(made[name])) for name in made}
    measure_costs(path, "plain", runs, 2, "cpu", lambda started: None)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found == {"plain": 1.5, "slow": 4.5, "bad": "it broke"}
    measure_costs(path, "plain", runs, 2, "cpu", lambda started: None)  # nothing is measured again
    assert seconds_an_epoch(timed(0.5), "cpu") == pytest.approx(0.5)


def row(method: str, seed: int, forces: float, **others: object) -> dict[str, Any]:
    made = {
        "dataset": "d", "host": "mace", "method": method, "title": method, "train_size": 50,
        "seed": seed, "budget_s": 60.0, "epochs": 9, "test": "t", "status": "done", "reason": "",
        "baseline": method.startswith("plain"), "forces": "none", "device": "cpu",
        "training_s": 70.0, "training_cpu_s": 60.0, "cpu_s": 80.0, "slope": 0.9,
        "validation_energy_rmse_mev": 10.0, "energy_rmse_mev": forces / 10.0,
        "force_rmse_mev_per_angstrom": forces,
    }  # fmt: skip
    return made | others


def test_the_summary_compares_seed_by_seed_with_the_better_plain_training() -> None:
    table = pd.DataFrame(
        [row("plain", seed, 100.0 * seed) for seed in (1, 2)]
        + [row("plain-energies", seed, 90.0 * seed) for seed in (1, 2)]
        + [row("taylor", seed, 45.0 * seed + seed) for seed in (1, 2)]
        + [row("taylor", 1, 80.0, budget_s=30.0), row("plain", 1, 200.0, budget_s=30.0,
           validation_energy_rmse_mev=20.0)]
        + [row("both", 1, 0.0, status="failed", reason="it broke")]
        + [row("taylor", 3, 46.0, training_cpu_s=90.0)]
    )  # fmt: skip
    text = summary(table)
    assert "baseline: plain-energies" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| taylor ")]
    assert "| 0.51 ± 0.00 |" in line
    assert "forces: helps; energies: helps" in line
    assert "**plain has not converged**" in text
    assert "taylor, 50 frames, seed 3: 90 s of 60" in text
    assert "both, 50 frames, seed 1: it broke" in text


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ([0.5, 0.6], "helps"),
        ([1.5, 1.6], "does harm"),
        ([0.9, 1.2], "within spread"),
        ([0.5], "one seed, no verdict"),
        ([], "no baseline"),
    ],
)
def test_a_verdict_asks_for_more_than_the_spread(ratios: list[float], words: str) -> None:
    assert verdict(pd.Series(ratios, dtype=float)) == words


def test_a_preset_is_overruled_by_the_command_line(tmp_path: Path) -> None:
    words = [str(PRESET), "--output", str(tmp_path), "--epochs", "1"]
    found = accuracy.options([*words, "--sizes", "7"])
    assert (found.sizes, found.dataset) == ([7], "formaldehyde")
    assert found.train.is_file()
    bad = tmp_path / "bad.yaml"
    bad.write_text("sises: [1]", encoding="utf-8")
    with pytest.raises(SystemExit):
        accuracy.options([str(bad), *words[1:]])


def test_other_settings_in_the_same_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(PRESET), "--output", str(tmp_path), "--epochs", "1", "--hosts", "mace"]
    words += ["--methods", "plain", "--sizes", "10"]
    made = accuracy.Campaign(accuracy.options(words))
    (case,) = made.cases
    made.write(case, "it broke", {}, {})
    assert accuracy.main(words) == 0  # nothing to do
    assert "it broke" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert accuracy.main([*words, "--force-weight", "2"]) == 1
    assert "was made with other settings; choose another --output" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.nequip  # MACE is trained by the demo's test
def test_a_tiny_benchmark_trains_once_and_is_found_again(tmp_path: Path) -> None:
    out, host = tmp_path / "out", "nequip"
    words = [str(PRESET), "--output", str(out), "--hosts", host, "--epochs", "2"]
    words += ["--environment", f"{host}={Path(sys.executable).parents[1]}", "--sizes", "10"]
    words += ["--methods", "weak-forces"]
    assert accuracy.main(words) == 0
    table = pd.read_csv(out / "results.csv")
    assert table["reason"].isna().all()
    assert set(table["method"]) == {"weak-forces"}
    assert (table["epochs"] == 2).all()
    assert (table["training_cpu_s"] > 0.0).all()
    assert (table["cpu_s"] > table["training_cpu_s"]).all()
    errors = table[["force_rmse_mev_per_angstrom", "validation_energy_rmse_mev"]]
    assert (errors > 0.0).all(axis=None)
    assert (out / "learning_curves.png").exists()
    config = yaml.safe_load(
        (out / "runs" / f"{host}-weak-forces-n10-2epochs-seed1.yaml").read_text()
    )
    assert isinstance(config, dict)
    records = sorted((out / "records").iterdir())
    times = [path.stat().st_mtime_ns for path in records]
    assert accuracy.main(words) == 0
    assert [path.stat().st_mtime_ns for path in records] == times


def test_unsuitable_methods_are_named() -> None:
    alone = Method(name="x", labels="energies", hosts=["nequip"])
    assert alone.unsuitable("mace", "none") == "it is for nequip"
    assert "energies alone" in alone.unsuitable("nequip", "10")
    assert alone.unsuitable("nequip", "none") == ""
