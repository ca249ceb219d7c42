"""Data for the runs of the real commands: a few energies, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from commands import DATA, atomic_energies
from processes import BareEnvironment

from piwsl_plugins import datasets

TRAINING, VALIDATION = 12, 4


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """The first frames of the shipped data, each as it stands in the file: energies only."""
    lines = datasets.path(f"{DATA}/train.xyz").read_text(encoding="utf-8").splitlines(True)
    size = int(lines[0]) + 2
    frames = ["".join(lines[start : start + size]) for start in range(0, len(lines), size)]
    return frames[: TRAINING + VALIDATION]


@pytest.fixture(scope="session")
def data(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options that name a file of training frames and free atoms, and one of validation frames."""
    folder = tmp_path_factory.mktemp("data")
    atoms = datasets.path(f"{DATA}/isolated_atoms.xyz").read_text(encoding="utf-8")
    (folder / "train.xyz").write_text(atoms + "".join(texts[:TRAINING]), encoding="utf-8")
    (folder / "valid.xyz").write_text("".join(texts[TRAINING:]), encoding="utf-8")
    assert all("forces" not in frame for frame in texts)
    return {"train_file": folder / "train.xyz", "valid_file": folder / "valid.xyz"}


@pytest.fixture(scope="session")
def atoms_energies() -> str:
    """Energies of the free atoms, for --E0s."""
    return atomic_energies(datasets.path(f"{DATA}/isolated_atoms.xyz"))


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> BareEnvironment:
    """An environment with MACE and without this package."""
    return BareEnvironment(tmp_path_factory.mktemp("environment") / "bare")
