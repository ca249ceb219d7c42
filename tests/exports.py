"""Runs `exported_models.py` and compares what exported models answer."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.build
import ase.io
import numpy as np
from forks import forks
from processes import BareEnvironment, execute

CUEQUIVARIANCE = {"PYTHONPATH": str(Path(sys.prefix) / "mliap")}
"""Folder of cuequivariance in the environment with MACE, beside what MACE can import by itself."""
HOST = "mace.cli.run_train" if importlib.util.find_spec("mace") else "nequip.scripts.train"
PROGRAM = Path(__file__).with_name("exported_models.py")
Answers = dict[str, dict[str, Any]]


def molecule_and_cell(path: Path) -> Path:
    """Write formaldehyde on its own, and in a triclinic cell so small that it sees its images."""
    molecule = ase.build.molecule("H2CO")
    molecule.rattle(0.1, seed=1)
    cell = molecule.copy()
    cell.set_cell([[4.2, 0.0, 0.0], [0.4, 4.5, 0.0], [-0.3, 0.5, 4.8]])
    cell.pbc = True
    ase.io.write(path, [molecule, cell], format="extxyz")
    return path


def ask(
    frames: Path,
    models: Sequence[Path],
    bare: BareEnvironment | None = None,
    variables: Mapping[str, str] | None = None,
) -> Answers:
    """What each model answers, by its file's name; here, or without this package."""
    words = [str(PROGRAM), str(frames), *map(str, models)]
    if bare is None:
        done = forks(HOST).execute(words, frames.parent)
    else:
        done = execute([bare.python, *words], frames.parent, variables)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert all(row["installed"] == (bare is None) for row in rows)
    return {Path(row["model"]).name: row for row in rows}


def check_equal(found: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float) -> None:
    """Check that energies (eV), forces (eV/angstrom) and virials (eV) of all frames are equal."""
    for name in ("energy", "forces", "virial"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0.0, atol=tolerance)
        assert np.abs(expected[name]).max() > 1e-3
    assert np.abs(np.subtract(*expected["forces"])).max() > 100.0 * tolerance
