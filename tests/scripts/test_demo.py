"""The demo never loses an earlier result, and the runs of a host differ by the loss alone."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import demo
import demo_report
import pytest
import yaml
from demo_report import FIGURE, METRICS, table
from rich.console import Console

from piwsl_plugins.training.mace_runs import MaceRun
from piwsl_plugins.training.runs import RunFailedError

NEQUIP = {
    "data": {
        "_target_": "piwsl_plugins.hosts.nequip.PiwslASEDataModule",
        "piwsl": "${training_module.piwsl}",
        "seed": 4,
        "key_mapping": {"REF_energy": "total_energy", "REF_forces": "forces"},
    },
    "trainer": {"max_epochs": 9},
    "training_module": {
        "_target_": "piwsl_plugins.hosts.nequip.PiwslEMALightningModule",
        "piwsl": {"order": 2},
        "loss": {"_target_": "piwsl_plugins.hosts.nequip.PiwslLoss", "terms": ["taylor"]},
        "model": {"seed": 4},
    },
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """MACE's; NequIP's lies beside it."""
    path = tmp_path / "config.yaml"
    (tmp_path / "test.xyz").touch()
    path.write_text(
        f"loss: piwsl_taylor\nmax_num_epochs: 9\nseed: 4\ntest_file: {tmp_path}/test.xyz\n"
    )
    NEQUIP["data"]["test_file_path"] = f"{tmp_path}/test.xyz"  # type: ignore[index]
    (tmp_path / "nequip.yaml").write_text(yaml.safe_dump(NEQUIP))
    return path


def words_of(config: Path, *arguments: str) -> list[str]:
    nequip = config.with_name("nequip.yaml")
    return ["--mace-config", str(config), "--nequip-config", str(nequip), *arguments]


def settings_of(config: Path, *arguments: str) -> dict[str, Any]:
    return demo.read_settings(demo.parse(words_of(config, *arguments)))


def runs_of(settings: dict[str, Any], folder: Path) -> list[demo.Run]:
    environments = {host: folder.parent / ".venv" / host for host in demo.HOSTS}
    return demo.make_runs(settings, folder, environments)


def finished(folder: Path, settings: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / demo.SETTINGS).write_text(json.dumps(settings))
    (folder / METRICS).write_text("{}")
    (folder / FIGURE).touch()
    return folder


def test_the_runs_of_a_host_differ_by_loss_and_name_alone(config: Path, tmp_path: Path) -> None:
    plain, piwsl, nequip_plain, nequip_piwsl = runs_of(settings_of(config), tmp_path / "out")
    assert piwsl.arguments == ["--config", str(config)]
    assert plain.arguments == ["--config", str(config), "--loss", "weighted"]
    assert nequip_plain.arguments == [str(tmp_path / "out/nequip-plain.yaml")]
    assert nequip_piwsl.arguments == [str(tmp_path / "nequip.yaml")]
    for run, name in ((plain, "mace-plain"), (nequip_piwsl, "nequip-piwsl")):
        assert run.folder == tmp_path / "out" / name
        assert run.programs == tmp_path / ".venv" / run.host / "bin"
        assert run.epochs == 9
    text = (tmp_path / "out/nequip-plain.yaml").read_text()
    assert "piwsl" not in text.partition("\n")[2].lower()


def test_the_plain_run_takes_the_base_loss_of_the_other(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text() + "piwsl_base_loss: huber\n")
    plain, _ = runs_of(settings_of(config, "--hosts", "mace"), tmp_path)
    assert plain.arguments[-2:] == ["--loss", "huber"]


def test_epochs_and_seed_go_to_all_runs_where_they_change_something(
    config: Path, tmp_path: Path
) -> None:
    settings = settings_of(config, "--epochs", "2", "--seed", "4")
    mace, nequip = runs_of(settings, tmp_path)[:2], runs_of(settings, tmp_path)[2:]
    for run in mace:
        assert run.arguments[2:4] == ["--max_num_epochs", "2"]
        assert "--seed" not in run.arguments
    for run in nequip:
        assert run.arguments[1:] == ["trainer.max_epochs=2"]
    assert {run.epochs for run in (*mace, *nequip)} == {2}
    for run in runs_of(settings_of(config, "--seed", "5"), tmp_path)[2:]:
        assert run.arguments[1:] == ["data.seed=5", "training_module.model.seed=5"]


def test_the_labels_of_the_test_file_are_named_by_the_config(config: Path) -> None:
    for found in settings_of(config).values():
        assert (found["energy_key"], found["forces_key"]) == ("REF_energy", "REF_forces")


def test_one_host_alone_needs_no_config_of_the_other(config: Path) -> None:
    config.with_name("nequip.yaml").unlink()
    assert list(settings_of(config, "--hosts", "mace")) == ["MACE"]
    with pytest.raises(ValueError, match=r"no config .*nequip\.yaml"):
        settings_of(config)


def test_different_test_files_are_no_comparison(config: Path, tmp_path: Path) -> None:
    (tmp_path / "other.xyz").touch()
    config.write_text(config.read_text().replace("test.xyz", "other.xyz"))
    with pytest.raises(ValueError, match="different test files"):
        settings_of(config)


def test_a_missing_environment_is_said_before_any_training(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words_of(config, "--hosts", "nequip", "--nequip-environment", str(tmp_path / "no"))
    assert demo.main([*words, "--output", str(tmp_path / "out")]) == 1
    out = capsys.readouterr().out
    assert "no/bin/nequip-train does not exist, so that NequIP cannot be trained" in out
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_be_evaluated_is_told_with_its_log(
    tmp_path: Path, config: Path
) -> None:
    run = MaceRun(label="mine", arguments=[], folder=Path("a"), root=tmp_path, epochs=1)
    run.output.parent.mkdir()
    settings = settings_of(config, "--hosts", "mace")["MACE"] | {"test_file": "no.xyz"}
    with pytest.raises(RunFailedError, match=r"(?s)evaluation of mine failed.*evaluation\.txt.*no"):
        demo_report.judge(run, settings, [])


def test_an_equal_result_is_found_again(config: Path, tmp_path: Path) -> None:
    settings = settings_of(config)
    folder = tmp_path / "out"
    assert demo.choose_folder(folder, settings, force=False) == folder
    finished(folder, settings)
    assert demo.choose_folder(folder, settings, force=False) == folder


def test_other_and_unfinished_results_stay(config: Path, tmp_path: Path) -> None:
    other, mine = settings_of(config, "--epochs", "2"), settings_of(config)
    finished(tmp_path / "out", other)
    (tmp_path / "out-2").mkdir()
    assert demo.choose_folder(tmp_path / "out", mine, force=False) == tmp_path / "out-3"
    assert (tmp_path / "out" / METRICS).exists()


def test_force_removes_a_result_but_nothing_else(config: Path, tmp_path: Path) -> None:
    settings = settings_of(config)
    folder = finished(tmp_path / "out", settings)
    assert demo.choose_folder(folder, settings, force=True) == folder
    assert not folder.exists()
    (folder / "letters").mkdir(parents=True)
    with pytest.raises(ValueError, match="not made by this script"):
        demo.choose_folder(folder, settings, force=True)
    assert (folder / "letters").exists()


@pytest.mark.parametrize("key", ["trainer", "training_module", "data"])
def test_a_nequip_config_that_lacks_a_key_is_an_error_too(config: Path, key: str) -> None:
    rest = {name: block for name, block in NEQUIP.items() if name != key}
    config.with_name("nequip.yaml").write_text(yaml.safe_dump(rest))
    with pytest.raises(ValueError, match=rf"nequip\.yaml has no '{key}'"):
        settings_of(config)


@pytest.mark.parametrize("key", ["loss", "max_num_epochs", "test_file"])
def test_a_config_that_lacks_a_key_is_an_error_that_names_it(config: Path, key: str) -> None:
    lines = config.read_text().splitlines()
    config.write_text("\n".join(line for line in lines if not line.startswith(key)))
    with pytest.raises(ValueError, match=key):
        settings_of(config)


def test_mistakes_end_in_one_kind_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--mace-config", str(config.with_name("nope.yaml"))]) == 1
    config.with_name("test.xyz").unlink()
    assert demo.main(words_of(config)) == 1
    out = capsys.readouterr().out
    assert "there is no config" in out
    assert "there is no test file" in out
    assert "Traceback" not in out


def test_the_table_says_where_labels_are_missing_and_fits_a_terminal() -> None:
    with_forces = {
        "energy_rmse_mev": 2.04,
        "force_rmse_mev_per_angstrom": 58.8,
        "softening": {"slope": 0.98, "interval": [0.97, 0.99]},
        "wall_clock_s": 119.7,
        "step_ms": 31.0,
        "epochs": 150,
    }
    without = {**with_forces, "force_rmse_mev_per_angstrom": None, "softening": None}
    console = Console(record=True, width=80, file=io.StringIO())
    models = dict.fromkeys(["MACE", "MACE + PIWSL", "NequIP"], with_forces)
    models["NequIP + PIWSL"] = without
    console.print(table({"test_frames": 24, "models": models}))
    text = console.export_text()
    for expected in ("2.0", "58.8", "0.970–0.990", "2 min 00 s", "no labels"):
        assert expected in text
    assert "…" not in text
