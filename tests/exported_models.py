"""Asks exported models as the programs ask that they are for; runs without the package.

    python exported_models.py FRAMES FILE ...

prints one JSON object for each file, with lists over the frames: energy (eV), forces (eV/angstrom),
virial (eV); and whether piwsl_plugins can be imported. The end of a file's name says for which
program it is (``ENDS``): ASE, or one of LAMMPS's pair styles. These hand a model the local atoms
and ghosts, their periodic images.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from typing import Any

import ase
import ase.io
import numpy as np
import torch
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list

Answer = dict[str, Any]


def calculator(path: str) -> Any:
    if ".nequip." in path or path.endswith(".ckpt"):
        from nequip.integrations.ase import NequIPCalculator as Make

        load = Make.from_compiled_model if path.endswith(".pt2") else Make._from_saved_model
        return load(path, device="cpu", chemical_species_to_atom_type_map=True)
    from mace.calculators import MACECalculator

    if path.endswith("_compiled.model"):
        return MACECalculator(models=[torch.jit.load(path)], device="cpu", default_dtype="")
    return MACECalculator(model_paths=path, device="cpu", default_dtype="")


def in_ase(path: str, atoms: ase.Atoms) -> Answer:
    atoms.calc = calculator(path)
    forces = atoms.get_forces()
    if atoms.pbc.all():
        virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
    else:
        virial = atoms.positions.T @ forces
    return {"energy": atoms.get_potential_energy(), "forces": forces, "virial": virial}


class Domain:
    """A structure as one process of LAMMPS sees it: local atoms, then ghosts.

    Attributes:
        n_local: Number of local atoms.
        owner: Local atom of each atom, local ones first, shape [n_total].
        positions: Of all, shape [n_total, 3], angstrom.
    """

    def __init__(self, atoms: ase.Atoms, reach: float) -> None:
        """Args: reach: how far ghosts are from the nearest local atom, at most, angstrom."""
        self.n_local = len(atoms)
        owners, places = [np.arange(self.n_local)], [atoms.positions]
        span = np.linalg.norm(np.ptp(atoms.positions, axis=0)) + reach
        heights = 1.0 / np.linalg.norm(np.linalg.pinv(np.array(atoms.cell)), axis=0).clip(1e-9)
        repeats = np.where(atoms.pbc, np.ceil(span / heights), 0).astype(int)
        for shift in itertools.product(*(range(-n, n + 1) for n in repeats)):
            images = atoms.positions + np.array(shift) @ np.array(atoms.cell)
            apart = np.linalg.norm(images[:, None] - atoms.positions, axis=2).min(axis=1)
            near = np.flatnonzero(apart < reach) if any(shift) else []
            owners.append(np.array(near, dtype=int))
            places.append(images[owners[-1]])
        self.owner, self.positions = np.concatenate(owners), np.concatenate(places)
        self.symbols = [atoms.symbols[owner] for owner in self.owner]

    def pairs(self, cutoff: float) -> np.ndarray:
        """Pairs i, j of all atoms within the cutoff, angstrom; shape [2, n_pairs]."""
        cluster = ase.Atoms(self.symbols, positions=self.positions)
        return np.array(neighbor_list("ij", cluster, cutoff))

    def collected(self, forces: np.ndarray) -> np.ndarray:
        """Forces on ghosts given back to the atoms that they are images of."""
        total = np.zeros((self.n_local, 3))
        np.add.at(total, self.owner, forces)
        return total


def in_pair_mace(path: str, atoms: ase.Atoms) -> Answer:
    model = torch.jit.load(path)
    cutoff = float(model.r_max)
    domain = Domain(atoms, int(model.num_interactions) * cutoff)
    edges = torch.tensor(domain.pairs(cutoff))
    known = [chemical_symbols[number] for number in model.atomic_numbers]
    types = torch.tensor([known.index(symbol) for symbol in domain.symbols])
    n_total, n_edges = len(types), edges.shape[1]
    given = {
        "batch": torch.zeros(n_total, dtype=torch.int64),
        "cell": torch.tensor(np.array(atoms.cell)),
        "edge_index": edges,
        "energy": torch.empty(1),
        "forces": torch.empty(n_total, 3),
        "node_attrs": torch.nn.functional.one_hot(types, len(known)).double(),
        "positions": torch.tensor(domain.positions),
        "ptr": torch.tensor([0, n_total]),
        "shifts": torch.zeros(n_edges, 3).double(),
        "unit_shifts": torch.zeros(n_edges, 3).double(),
        "weight": torch.ones(1).double(),
    }
    out = model(given, torch.arange(n_total) < domain.n_local, True)
    return {
        "energy": float(out["total_energy_local"]),
        "forces": domain.collected(out["forces"].numpy()),
        "virial": out["virials"][0].numpy(),
    }


def in_pair_nequip(path: str, atoms: ase.Atoms) -> Answer:
    model = torch._inductor.aoti_load_package(path)
    metadata = model.get_metadata()
    cutoff = float(metadata["r_max"])
    domain = Domain(atoms, cutoff)
    i, j = domain.pairs(cutoff)
    i, j = i[i < domain.n_local], j[i < domain.n_local]
    cell = np.array(atoms.cell) if atoms.pbc.any() else 30.0 * np.eye(3)  # LAMMPS has a box
    moved = domain.positions[j] - domain.positions[domain.owner[j]]
    names = metadata["type_names"].split()
    given = {
        "pos": torch.tensor(atoms.positions),
        "edge_index": torch.tensor(np.array([i, domain.owner[j]])),
        "atom_types": torch.tensor([names.index(symbol) for symbol in atoms.symbols]),
        "cell": torch.tensor(cell)[None],
        "edge_cell_shift": torch.tensor(np.round(moved @ np.linalg.inv(cell))),
    }
    found = model([given[name] for name in metadata["nequip_aoti_inputs"].split()])
    out = dict(zip(metadata["nequip_aoti_outputs"].split(), found, strict=True))
    energy = float(out["atomic_energy"].sum())
    return {"energy": energy, "forces": out["forces"].numpy(), "virial": out["virial"][0].numpy()}


class MliapData:
    """What LAMMPS's ML-IAP coupling hands to a model, and what it takes back."""

    def __init__(self, domain: Domain, elements: list[str], cutoff: float) -> None:
        self.owner = torch.tensor(domain.owner)
        self.nlocal, self.ntotal = domain.n_local, len(domain.owner)
        i, j = domain.pairs(cutoff).astype(np.int32)
        self.pair_i, self.pair_j = i[i < self.nlocal], j[i < self.nlocal]
        self.npairs = len(self.pair_i)
        self.rij = domain.positions[self.pair_j] - domain.positions[self.pair_i]
        self.elems = np.array([elements.index(name) for name in domain.symbols], dtype=np.int32)
        self.eatoms, self.energy = np.zeros(self.nlocal), 0.0
        self.forces, self.virial = np.zeros((self.ntotal, 3)), np.zeros((3, 3))

    def forward_exchange(self, given: torch.Tensor, out: torch.Tensor, _: int) -> None:
        """Ghosts get the features of the atoms that they are images of."""
        out.copy_(given[self.owner])

    def reverse_exchange(self, given: torch.Tensor, out: torch.Tensor, _: int) -> None:
        """And give their gradients back."""
        out.zero_().index_add_(0, self.owner, given)

    def update_pair_forces_gpu(self, pair_forces: torch.Tensor) -> None:
        values = pair_forces.detach().numpy()
        np.add.at(self.forces, self.pair_i, values)
        np.add.at(self.forces, self.pair_j, -values)
        self.virial = -self.rij.T @ values


def in_mliap(path: str, atoms: ase.Atoms) -> Answer:
    model = torch.load(path, weights_only=False)
    cutoff = 2.0 * model.rcutfac
    domain = Domain(atoms, cutoff)
    data = MliapData(domain, list(model.element_types), cutoff)
    model.compute_forces(data)
    assert abs(float(data.energy) - data.eatoms.sum()) < 1e-6
    virial = 0.5 * (data.virial + data.virial.T)
    forces = domain.collected(data.forces)
    return {"energy": float(data.energy), "forces": forces, "virial": virial}


ENDS = {
    "_lammps.pt": in_mliap,
    ".lmp.pt": in_mliap,
    "-lammps.pt": in_pair_mace,
    "pair_nequip.nequip.pt2": in_pair_nequip,
    "": in_ase,
}


def main(frames: str, *models: str) -> None:
    installed = importlib.util.find_spec("piwsl_plugins") is not None
    for path in models:
        ask = next(ask for end, ask in ENDS.items() if path.endswith(end))
        answers = [ask(path, atoms) for atoms in ase.io.iread(frames, index=":")]
        by_name = {name: [np.asarray(one[name]).tolist() for one in answers] for name in answers[0]}
        print(json.dumps({"model": path, "installed": installed, **by_name}))


if __name__ == "__main__":
    main(*sys.argv[1:])
