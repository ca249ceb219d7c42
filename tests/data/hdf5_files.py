"""Tiny files of ANI's and SPICE's layouts, random numbers and all, and ways to spoil them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Columns = dict[str, np.ndarray]
SIZES = {"C1H4": (5, 5), "H2O1": (3, 7), "H3N1": (4, 1)}
"""Atoms and conformers by group, in h5py's order."""
LAYOUTS = ("ani", "spice")
KEYS = {
    "ani": {"energy": "ccsd(t)_cbs.energy", "forces": "wb97x_dz.forces"},
    "spice": {"energy": "dft_total_energy", "forces": "forces"},
}


def numbers_of(formula: str) -> np.ndarray:
    """Atomic numbers of a formula such as H2O1."""
    atoms = {"H": 1, "C": 6, "N": 7, "O": 8}
    pairs = zip(formula[::2], formula[1::2], strict=True)
    return np.array([atoms[symbol] for symbol, count in pairs for _ in range(int(count))], "u1")


def ani_columns(random: np.random.Generator, n_atoms: int, n_frames: int) -> Columns:
    """Labels as in ANI-1x: the expensive energy and the second forces are not everywhere."""
    energies = ("wb97x_dz.energy", "hf_qz.energy", "mp2_tz.corr_energy", "mp2_qz.corr_energy")
    columns = {name: random.normal(-40.0, 1.0, n_frames) for name in energies}
    rare = random.normal(-40.0, 1.0, n_frames)
    rare[1::2] = np.nan
    forces = random.normal(0.0, 0.1, (n_frames, n_atoms, 3)).astype("f4")
    some = forces * 1.1
    some[0] = np.nan
    columns |= {"ccsd(t)_cbs.energy": rare, "wb97x_dz.forces": forces, "wb97x_tz.forces": some}
    return columns


def spice_columns(random: np.random.Generator, n_atoms: int, n_frames: int) -> Columns:
    """Labels as in SPICE."""
    return {
        "dft_total_energy": random.normal(-40.0, 1.0, n_frames),
        "formation_energy": random.normal(-0.4, 0.1, n_frames),
        "dft_total_gradient": random.normal(0.0, 0.1, (n_frames, n_atoms, 3)).astype("f4"),
    }


def write(
    path: Path, layout: str, libver: str = "earliest", sizes: Mapping[str, Any] = SIZES, **how: Any
) -> dict[str, Columns]:
    """Write a file.

    Args:
        path: where.
        layout: one of LAYOUTS.
        libver: version of the HDF5 format.
        sizes: atoms and conformers by group.
        how: how the datasets are stored, e.g. ``fletcher32=True``.

    Returns:
        What was written, by group and dataset, strings left out.
    """
    random = np.random.default_rng(7)
    written = {}
    with h5py.File(path, "w", libver=libver) as file:
        for name, (n_atoms, n_frames) in sizes.items():
            shape = (n_frames, n_atoms, 3)
            positions = random.normal(0.0, 2.0, shape).astype("f4")
            if layout == "ani":
                columns = {"coordinates": positions, **ani_columns(random, n_atoms, n_frames)}
            else:
                columns = {"conformations": positions, **spice_columns(random, n_atoms, n_frames)}
            numbers = numbers_of(name) if name in SIZES else np.ones(n_atoms, "u1")
            written[name] = {"atomic_numbers": numbers, **columns}
            group = file.create_group(name)
            for column, values in written[name].items():
                group.create_dataset(column, data=values, **how)
            if layout == "spice":
                text = h5py.string_dtype()
                group.create_dataset("subset", data=[f"subset of {name}"], dtype=text)
                group.create_dataset("smiles", data=[f"smiles of {name}"], dtype=text)
    return written


def change(path: Path, group: str, name: str, values: Any) -> None:
    """Put other values in the place of a dataset, or None to remove it."""
    with h5py.File(path, "a") as file:
        if name in file[group]:
            del file[group][name]
        if values is not None:
            file[group][name] = values
