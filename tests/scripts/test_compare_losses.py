"""An interrupted comparison goes on beside what it left, and never passes off other settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import ase
import ase.build
import ase.io
import compare_losses
import pytest
import yaml
from ase.calculators.emt import EMT
from host_runs import ONE_THREAD
from mace_runs import MaceRun
from nequip_runs import NequipRun, plain_config


def test_an_interrupted_run_stays_and_the_next_goes_beside_it(tmp_path: Path) -> None:
    assert compare_losses.unused_folder(tmp_path, "plain-seed1") == Path("plain-seed1")
    (tmp_path / "plain-seed1").mkdir()
    (tmp_path / "plain-seed1-2").mkdir()
    assert compare_losses.unused_folder(tmp_path, "plain-seed1") == Path("plain-seed1-3")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command line of a comparison on one molecule."""
    molecule = ase.build.molecule("H2O")
    molecule.info["REF_energy"] = -1.0
    molecule.arrays["REF_forces"] = molecule.positions
    ase.io.write(tmp_path / "train.xyz", [molecule])
    atoms = [ase.Atoms(name, info={"REF_energy": e}) for name, e in (("H", -13.6), ("O", -2041.0))]
    ase.io.write(tmp_path / "atoms.xyz", atoms)
    train, atoms_file = tmp_path / "train.xyz", tmp_path / "atoms.xyz"
    listed = ["--train", train, "--test", train, "--isolated-atoms", atoms_file]
    return ["compare_losses.py", *map(str, [*listed, "--output", tmp_path])]


@pytest.mark.parametrize("host", ["mace", "nequip"])
def test_a_record_of_other_settings_is_an_error(
    host: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = tmp_path / "plain-seed1.json"
    record.write_text(json.dumps({"arguments": ["--max_num_epochs", "7"]}))
    monkeypatch.setattr(sys, "argv", [*words, "--host", host, "--variants", "plain"])
    with pytest.raises(SystemExit):
        compare_losses.main()
    assert "plain-seed1.json was made with other settings" in capsys.readouterr().err


class FakeRun(NequipRun):
    """Trains nothing, and tells what it was asked."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def start(self, environment: Mapping[str, str] = ONE_THREAD) -> None:
        config = self.root / self.arguments[0]
        self.asked.append(yaml.safe_load(config.read_text(encoding="utf-8")))
        self.wall_clock, self.peak_memory_mb, self.validation = 12.0, 345.0, [0.3, 0.2, 0.1, 0.05]

    def poll(self) -> bool:
        return True


@pytest.mark.parametrize("forces", [False, True])
def test_nequip_runs_differ_by_the_loss_and_stand_in_one_table(
    forces: bool,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(compare_losses, "NequipRun", FakeRun)
    monkeypatch.setattr(compare_losses, "load", lambda *_, **__: EMT())
    monkeypatch.setattr(FakeRun, "asked", [])
    words += ["--host", "nequip", "--epochs", "4", "--seed", "3", *["--forces"] * forces]
    monkeypatch.setattr(sys, "argv", words)
    for again in (False, True):  # the second time from what was kept
        assert compare_losses.main() == 0
        out = capsys.readouterr().out
        for part in ("plain", "taylor", "conservative", "both", "345", "12", "NequIP"):
            assert part in out
        assert ("energies and forces" in out) == forces
        assert len(FakeRun.asked) == 4, again
    losses = [config["training_module"].pop("loss") for config in FakeRun.asked]
    assert losses[0]["_target_"] == f"nequip.train.Energy{'Force' if forces else 'Only'}Loss"
    assert [loss["terms"] for loss in losses[1:]] == [
        ["taylor"],
        ["conservative"],
        ["taylor", "conservative"],
    ]
    labels = {"total_energy": 1.0} | ({"forces": 1.0} if forces else {})
    assert all(loss["coeffs"] == labels for loss in losses[1:])
    plain, taylor, *_ = FakeRun.asked
    taylor["training_module"]["loss"] = losses[1]
    plain["training_module"]["loss"] = losses[0]
    assert plain == plain_config(taylor)
    for config in FakeRun.asked:
        assert config["type_names"] == ["H", "O"]
        assert config["trainer"]["max_epochs"] == 4
        assert config["data"]["seed"] == config["training_module"]["model"]["seed"] == 3


def test_mace_trains_on_forces_with_a_weight_per_energy_weight(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[MaceRun] = []

    def train(run: MaceRun) -> dict[str, Any]:
        made.append(run)
        return {"wall_clock_s": 1.0, "ms_per_step": 2.0, "peak_memory_mb": None}

    monkeypatch.setattr(compare_losses, "train", train)
    monkeypatch.setattr(compare_losses, "load", lambda *_, **__: EMT())
    monkeypatch.setattr(sys, "argv", [*words, "--forces", "0.5", "--variants", "plain"])
    assert compare_losses.main() == 0
    (run,) = made
    arguments = list(run.arguments)
    assert arguments[arguments.index("--forces_weight") + 1] == "500"
    assert arguments[arguments.index("--train_file") + 1] == str(tmp_path / "train.xyz")


def test_without_forces_the_training_file_has_none(words: list[str], tmp_path: Path) -> None:
    copy = compare_losses.energies_only(tmp_path / "train.xyz", tmp_path)
    assert "REF_forces" not in ase.io.read(copy).arrays
