"""An interrupted comparison goes on beside what it left, and never passes off other settings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ase
import ase.build
import ase.io
import compare_losses
import pytest


def test_an_interrupted_run_stays_and_the_next_goes_beside_it(tmp_path: Path) -> None:
    assert compare_losses.unused_folder(tmp_path, "plain-seed1") == Path("plain-seed1")
    (tmp_path / "plain-seed1").mkdir()
    (tmp_path / "plain-seed1-2").mkdir()
    assert compare_losses.unused_folder(tmp_path, "plain-seed1") == Path("plain-seed1-3")


def test_a_record_of_other_settings_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    molecule = ase.build.molecule("H2O")
    molecule.info["REF_energy"] = -1.0
    ase.io.write(tmp_path / "train.xyz", [molecule])
    ase.io.write(tmp_path / "atoms.xyz", [ase.Atoms("H", info={"REF_energy": -13.6})])
    record = tmp_path / "plain-seed1.json"
    record.write_text(json.dumps({"arguments": ["--max_num_epochs", "7"]}))
    train, atoms = tmp_path / "train.xyz", tmp_path / "atoms.xyz"
    words = ["--train", train, "--test", train, "--isolated-atoms", atoms, "--output", tmp_path]
    command = ["compare_losses.py", *map(str, words), "--variants", "plain"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        compare_losses.main()
    assert "plain-seed1.json was made with other settings" in capsys.readouterr().err
