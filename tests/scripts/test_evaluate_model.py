"""Predictions of one process, put beside the labels in another, are those of one process."""

from __future__ import annotations

from pathlib import Path

import ase.build
import ase.io
import evaluate_model
import numpy as np
import pytest
from ase.calculators.emt import EMT

from piwsl_plugins.evaluation import beside_labels, compare
from piwsl_plugins.hosts.calculators import ModelFile


def test_both_halves_make_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [ase.build.molecule(name) for name in ("H2O", "CO")]
    for number, frame in enumerate(frames):
        frame.info["REF_energy"] = -1.0 - number
        frame.arrays["REF_forces"] = 0.1 * frame.positions
    ase.io.write(tmp_path / "frames.xyz", frames)
    frames = list(ase.io.iread(tmp_path / "frames.xyz", index=":"))
    asked: list[object] = []

    def load(*arguments: object) -> EMT:
        asked.extend(arguments)
        return EMT()

    monkeypatch.setattr(evaluate_model, "load", load)
    output = tmp_path / "out.npz"
    words = ["NequIP", "a.ckpt", str(tmp_path / "frames.xyz"), str(output), "--dtype", "float32"]
    assert evaluate_model.main(words) == 0
    assert asked == ["NequIP", Path("a.ckpt"), "float32", "cpu"]
    with np.load(output) as found:
        two = beside_labels(frames, found["energies"], found["forces"])
    one = compare(frames, EMT())
    for name in ("n_atoms", "energies", "reference_energies", "forces", "reference_forces"):
        np.testing.assert_array_equal(getattr(two, name), getattr(one, name))


def test_a_model_of_another_host_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = ModelFile(tmp_path / "a.ckpt", "NequIP", "checkpoint")
    monkeypatch.setattr(evaluate_model.calculators, "identify", lambda path: found)
    with pytest.raises(ValueError, match="a checkpoint file of NequIP, not of MACE"):
        evaluate_model.load("MACE", found.path)
