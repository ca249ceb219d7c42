"""A cheap method's labels of the benchmark's frames are computed once, or read and checked."""

from __future__ import annotations

import shlex
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from benchmark_weak import cheap_labels, energies_and_forces

from piwsl_plugins.weak.command import main

METHOD = "ase.calculators.emt.EMT"
NAMES = ("weak_energy", "weak_forces")


@pytest.fixture
def train(tmp_path: Path) -> Path:
    frames = [ase.Atoms("Cu2", [[0.0, 0.0, 0.0], [0.0, 0.0, 2.2 + 0.1 * i]]) for i in range(3)]
    ase.io.write(tmp_path / "train.xyz", frames)
    return tmp_path / "train.xyz"


def test_they_are_computed_once_by_a_command_that_is_told(train: Path, tmp_path: Path) -> None:
    frames, told = ase.io.read(train, index=":"), list[str]()
    out = tmp_path / "out" / "data" / "labels.xyz"
    for _ in range(2):
        found = cheap_labels(train, frames, None, METHOD, out, NAMES, told.append)
    (command,) = told
    words = ["piwsl", "weak", "label", str(train), "--method", METHOD, "--strict", "-o", str(out)]
    assert command == shlex.join(words)
    energies, forces = energies_and_forces(found)
    for number, atoms in enumerate(frames):
        atoms.calc = EMT()
        assert energies[number] == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
        ours = forces[2 * number : 2 * number + 2]
        np.testing.assert_allclose(ours, atoms.get_forces(), atol=1e-12)


def test_a_file_of_other_frames_is_refused(train: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.xyz"
    assert main(["label", str(train), "--method", METHOD, "-o", str(labels)]) == 0
    frames = ase.io.read(train, index=":")

    def read(names: tuple[str, ...] = NAMES) -> None:
        cheap_labels(train, frames, labels, "never read", tmp_path, names, print)

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
    with pytest.raises(ValueError, match=r"train\.xyz, frame 0: has no weak_energy"):
        read()
    with pytest.raises(ValueError, match=r"train\.xyz, frame 0: has no weak_forces"):
        read(NAMES[1:])
    labels = tmp_path / "nothing.xyz"
    with pytest.raises(ValueError, match=r"nothing\.xyz: there is no such file"):
        read()
