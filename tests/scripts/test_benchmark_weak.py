"""Weak forces of the benchmark's frames are computed once, or read and checked."""

from __future__ import annotations

import shlex
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from benchmark_weak import weak_forces

from piwsl_plugins.weak.command import main

METHOD = "ase.calculators.emt.EMT"


@pytest.fixture
def train(tmp_path: Path) -> Path:
    frames = [ase.Atoms("Cu2", [[0.0, 0.0, 0.0], [0.0, 0.0, 2.2 + 0.1 * i]]) for i in range(3)]
    ase.io.write(tmp_path / "train.xyz", frames)
    return tmp_path / "train.xyz"


def test_they_are_computed_once_by_a_command_that_is_told(train: Path, tmp_path: Path) -> None:
    frames, told = ase.io.read(train, index=":"), list[str]()
    for _ in range(2):
        found = weak_forces(train, frames, None, METHOD, tmp_path / "out", told.append)
    (command,) = told
    out = tmp_path / "out" / "data" / f"weak-{METHOD}.xyz"
    words = ["piwsl", "weak", "label", str(train), "--method", METHOD, "--strict", "-o", str(out)]
    assert command == shlex.join(words)
    for atoms, forces in zip(frames, found, strict=True):
        atoms.calc = EMT()
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-12)


def test_a_file_of_other_frames_is_refused(train: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.xyz"
    assert main(["label", str(train), "--method", METHOD, "-o", str(labels)]) == 0
    frames = ase.io.read(train, index=":")

    def read() -> None:
        weak_forces(train, frames, labels, "never read", tmp_path, print)

    read()
    frames[1].positions[0, 0] += 0.01
    with pytest.raises(
        ValueError, match=r"labels\.xyz, frame 1: is another one; expected the frames"
    ):
        read()
    frames.pop()
    with pytest.raises(ValueError, match="3 frames instead of 2"):
        read()
    labels = train
    frames = ase.io.read(train, index=":")
    with pytest.raises(ValueError, match=r"train\.xyz, frame 0: has no weak_forces"):
        read()
    labels = tmp_path / "nothing.xyz"
    with pytest.raises(ValueError, match="there is no file"):
        read()
