"""What the cheap method's energies say of the reference's decides whether anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from piwsl_plugins.weak.files import write_frames
from piwsl_plugins.weak.labels_summary import summarise


def frames_with(path: Path, spread: float, noise: float, frames: int = 200) -> Path:
    """Water and methane: reference = offsets + x, cheap method = other offsets + x + noise."""
    rng, found = np.random.default_rng(0), []
    for number in range(frames):
        atoms = molecule("H2O" if number % 2 else "CH4")
        x = spread * rng.normal()
        offset = {"H2O": -2000.0, "CH4": -1000.0}["H2O" if number % 2 else "CH4"]
        atoms.info["REF_energy"] = offset + x
        atoms.info["weak_energy"] = 0.1 * offset + x + noise * rng.normal()
        found.append(atoms)
    write_frames(path, found)
    return path


def test_offsets_of_compositions_are_taken_out_before_energies_are_compared(
    tmp_path: Path,
) -> None:
    file = frames_with(tmp_path / "a.xyz", spread=0.2, noise=0.05)
    summarise(file, 0.4, tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["correlation"] == pytest.approx(0.2 / np.hypot(0.2, 0.05), abs=0.02)
    assert found["scale"] == pytest.approx(0.05 / 0.2, rel=0.15)
    sums = 2 * found["energies"]["H"] + found["energies"]["O"]
    assert sums == pytest.approx(-1800.0, abs=0.1)


def test_a_method_that_tells_nothing_is_refused_with_the_figure(tmp_path: Path) -> None:
    file = frames_with(tmp_path / "a.xyz", spread=0.05, noise=0.5)
    with pytest.raises(ValueError, match=r"Pearson's r 0\.\d+.*below 0\.4.*--min-correlation"):
        summarise(file, 0.4, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
    summarise(file, -1.0, tmp_path / "out.json")


def test_energies_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    file = frames_with(tmp_path / "a.xyz", spread=0.0, noise=0.1)
    with pytest.raises(ValueError, match="are they all the same"):
        summarise(file, 0.4, tmp_path / "out.json")
