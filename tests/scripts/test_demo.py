"""The demo never loses an earlier result, and its two runs differ by the loss alone."""

from __future__ import annotations

import io
import json
from pathlib import Path

import demo
import pytest
from demo_report import FIGURE, METRICS, table
from rich.console import Console


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    (tmp_path / "test.xyz").touch()
    path.write_text(
        f"loss: piwsl_taylor\nmax_num_epochs: 9\nseed: 4\ntest_file: {tmp_path}/test.xyz\n"
    )
    return path


def settings_of(config: Path, *arguments: str) -> dict[str, object]:
    return demo.read_settings(demo.parse(["--config", str(config), *arguments]))


def finished(folder: Path, settings: dict[str, object]) -> Path:
    folder.mkdir()
    (folder / demo.SETTINGS).write_text(json.dumps(settings))
    (folder / METRICS).write_text("{}")
    (folder / FIGURE).touch()
    return folder


def test_the_two_runs_differ_by_loss_and_name_alone(config: Path, tmp_path: Path) -> None:
    plain, piwsl = demo.make_runs(settings_of(config), tmp_path / "out")
    assert piwsl.arguments == ["--config", str(config)]
    assert plain.arguments == ["--config", str(config), "--loss", "weighted"]
    assert (plain.folder, piwsl.folder) == (tmp_path / "out/plain", tmp_path / "out/piwsl")


def test_the_plain_run_takes_the_base_loss_of_the_other(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text() + "piwsl_base_loss: huber\n")
    plain, _ = demo.make_runs(settings_of(config), tmp_path)
    assert plain.arguments[-2:] == ["--loss", "huber"]


def test_epochs_and_seed_go_to_both_runs_where_they_change_something(
    config: Path, tmp_path: Path
) -> None:
    settings = settings_of(config, "--epochs", "2", "--seed", "4")
    for run in demo.make_runs(settings, tmp_path):
        assert run.arguments[2:4] == ["--max_num_epochs", "2"]
        assert "--seed" not in run.arguments


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


@pytest.mark.parametrize("key", ["loss", "max_num_epochs", "test_file"])
def test_a_config_that_lacks_a_key_is_an_error_that_names_it(config: Path, key: str) -> None:
    lines = config.read_text().splitlines()
    config.write_text("\n".join(line for line in lines if not line.startswith(key)))
    with pytest.raises(ValueError, match=key):
        settings_of(config)


def test_mistakes_end_in_one_kind_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--config", str(config.with_name("nope.yaml"))]) == 1
    config.with_name("test.xyz").unlink()
    assert demo.main(["--config", str(config)]) == 1
    out = capsys.readouterr().out
    assert "there is no config" in out
    assert "there is no test_file" in out
    assert "Traceback" not in out


def test_the_table_says_where_labels_are_missing() -> None:
    with_forces = {
        "energy_rmse_mev": 2.04,
        "force_rmse_mev_per_angstrom": 58.8,
        "softening": {"slope": 0.98, "interval": [0.97, 0.99]},
        "wall_clock_s": 119.7,
        "step_ms": 31.0,
        "epochs": 150,
    }
    without = {**with_forces, "force_rmse_mev_per_angstrom": None, "softening": None}
    console = Console(record=True, width=90, file=io.StringIO())
    console.print(table({"test_frames": 24, "models": {"A": with_forces, "B": without}}))
    text = console.export_text()
    for expected in ("2.0", "58.8", "0.970 – 0.990", "2 min 00 s", "no labels"):
        assert expected in text
