"""Asks exported models as the programs ask that they are for; runs without the package.

    python exported_models.py FRAMES KIND=FILE ...

prints one JSON object for each file, with lists over the frames: energy (eV), forces (eV/angstrom),
virial (eV); and whether piwsl_plugins can be imported. KIND is

- ``mace``: NAME.model or NAME_compiled.model as ASE calculator,
- ``nequip``: package or model compiled for ASE as ASE calculator,
- ``pair_mace``: TorchScript, fed as ``pair_style mace`` does, ghost atoms being atoms of their own,
- ``pair_nequip``: AOTInductor, fed as ``pair_style nequip`` does, with shifts of the cell,
- ``mliap``: the object that ``pair_style mliap unified`` unpickles, on local and ghost atoms.
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
from ase.neighborlist import neighbor_list

Answer = dict[str, Any]


class Domain:
    """A structure as one LAMMPS process sees it: local atoms, then ghosts, which are images.

    Attributes:
        atoms: The local atoms, wrapped into the cell.
        owner: Local atom of each atom, local ones first, shape [n_total].
        positions: Of all, shape [n_total, 3], angstrom.
    """

    def __init__(self, atoms: ase.Atoms, reach: float) -> None:
        """Args: reach: how far ghosts are from the nearest local atom, at most, angstrom."""
        self.atoms = atoms.copy()
        self.atoms.wrap(eps=1e-12)
        n_atoms = len(atoms)
        owners, places = [np.arange(n_atoms)], [self.atoms.positions]
        if atoms.pbc.any():
            span = np.linalg.norm(np.ptp(self.atoms.positions, axis=0)) + reach
            heights = 1.0 / np.linalg.norm(np.linalg.inv(np.array(atoms.cell)), axis=0)
            repeats = np.where(atoms.pbc, np.ceil(span / heights), 0).astype(int)
            for shift in itertools.product(*(range(-n, n + 1) for n in repeats)):
                if any(shift):
                    images = self.atoms.positions + np.array(shift) @ np.array(atoms.cell)
                    apart = images[:, None] - self.atoms.positions[None]
                    near = np.linalg.norm(apart, axis=2).min(axis=1) < reach
                    owners.append(np.flatnonzero(near))
                    places.append(images[near])
        self.owner, self.positions = np.concatenate(owners), np.concatenate(places)

    @property
    def n_local(self) -> int:
        return len(self.atoms)

    @property
    def symbols(self) -> list[str]:
        return [self.atoms.symbols[owner] for owner in self.owner]

    def pairs(self, cutoff: float, *, of_ghosts: bool) -> np.ndarray:
        """Pairs i, j within the cutoff, i being local unless ghosts are wanted; shape [2, n]."""
        cluster = ase.Atoms(self.symbols, positions=self.positions)
        found = np.array(neighbor_list("ij", cluster, cutoff))
        return found if of_ghosts else found[:, found[0] < self.n_local]

    def collected(self, forces: np.ndarray) -> np.ndarray:
        """Forces on ghosts given back to the atoms that they are images of."""
        total = np.zeros((self.n_local, 3))
        np.add.at(total, self.owner, forces)
        return total


def ase_calculator(kind: str, path: str) -> Any:
    if kind == "nequip":
        from nequip.integrations.ase import NequIPCalculator

        compiled = path.endswith((".pt2", ".pth"))
        make = NequIPCalculator
        load = make.from_compiled_model if compiled else make._from_saved_model
        return load(path, device="cpu", chemical_species_to_atom_type_map=True)
    from mace.calculators import MACECalculator

    if path.endswith("_compiled.model"):
        return MACECalculator(models=[torch.jit.load(path)], device="cpu", default_dtype="")
    return MACECalculator(model_paths=path, device="cpu", default_dtype="")


def in_ase(kind: str, path: str, atoms: ase.Atoms) -> Answer:
    atoms = atoms.copy()
    atoms.calc = ase_calculator(kind, path)
    forces = atoms.get_forces()
    if atoms.pbc.all():
        virial = -atoms.get_volume() * atoms.get_stress(voigt=False)
    else:
        virial = atoms.positions.T @ forces
    return {"energy": atoms.get_potential_energy(), "forces": forces, "virial": virial}


def in_pair_mace(_: str, path: str, atoms: ase.Atoms) -> Answer:
    from ase.data import atomic_numbers

    model = torch.jit.load(path)
    kind = next(value.dtype for value in model.parameters() if value.is_floating_point())
    cutoff, layers = float(model.r_max), int(model.num_interactions)
    domain = Domain(atoms, layers * cutoff)
    edges = torch.tensor(domain.pairs(cutoff, of_ghosts=True))
    known = model.atomic_numbers.tolist()
    types = torch.tensor([known.index(atomic_numbers[symbol]) for symbol in domain.symbols])
    n_total, n_edges = len(types), edges.shape[1]
    given = {
        "batch": torch.zeros(n_total, dtype=torch.int64),
        "cell": torch.tensor(np.array(atoms.cell), dtype=kind),
        "edge_index": edges,
        "energy": torch.empty(1, dtype=kind),
        "forces": torch.empty(n_total, 3, dtype=kind),
        "node_attrs": torch.nn.functional.one_hot(types, len(known)).to(kind),
        "positions": torch.tensor(domain.positions, dtype=kind),
        "ptr": torch.tensor([0, n_total]),
        "shifts": torch.zeros(n_edges, 3, dtype=kind),
        "unit_shifts": torch.zeros(n_edges, 3, dtype=kind),
        "weight": torch.ones(1, dtype=kind),
    }
    out = model(given, torch.arange(n_total) < domain.n_local, True)
    return {
        "energy": float(out["total_energy_local"]),
        "forces": domain.collected(out["forces"].numpy()),
        "virial": out["virials"][0].numpy(),
    }


def in_pair_nequip(_: str, path: str, atoms: ase.Atoms) -> Answer:
    model = torch._inductor.aoti_load_package(path)
    metadata = model.get_metadata()
    domain = Domain(atoms, float(metadata["r_max"]))
    i, j = domain.pairs(float(metadata["r_max"]), of_ghosts=False)
    cell = np.array(atoms.cell) if atoms.cell.any() else 30.0 * np.eye(3)  # LAMMPS has a box
    places, local = domain.positions, domain.owner[j]
    shifts = np.round((places[j] - places[local]) @ np.linalg.inv(cell))
    names = metadata["type_names"].split()
    given = {
        "pos": torch.tensor(places[: domain.n_local]),
        "edge_index": torch.tensor(np.array([i, local])),
        "atom_types": torch.tensor([names.index(symbol) for symbol in domain.atoms.symbols]),
        "cell": torch.tensor(cell)[None],
        "edge_cell_shift": torch.tensor(shifts),
    }
    found = model([given[name] for name in metadata["nequip_aoti_inputs"].split()])
    out = dict(zip(metadata["nequip_aoti_outputs"].split(), found, strict=True))
    return {
        "energy": float(out["atomic_energy"].sum()),
        "forces": out["forces"].numpy(),
        "virial": out["virial"][0].numpy(),
    }


class MliapData:
    """What LAMMPS's ML-IAP coupling hands to a model, and what it takes back."""

    def __init__(self, domain: Domain, elements: list[str], cutoff: float) -> None:
        self.domain = domain
        self.nlocal, self.ntotal = domain.n_local, len(domain.owner)
        pairs = domain.pairs(cutoff, of_ghosts=False).astype(np.int32)
        self.pair_i, self.pair_j, self.npairs = pairs[0], pairs[1], pairs.shape[1]
        self.rij = domain.positions[self.pair_j] - domain.positions[self.pair_i]
        self.elems = np.array([elements.index(name) for name in domain.symbols], dtype=np.int32)
        self.eatoms = np.zeros(self.nlocal)
        self.energy: Any = None
        self.forces, self.virial = np.zeros((self.ntotal, 3)), np.zeros((3, 3))

    def forward_exchange(self, given: torch.Tensor, out: torch.Tensor, _: int) -> None:
        """Ghosts get the features of the atoms that they are images of."""
        out.copy_(given[torch.as_tensor(self.domain.owner)])

    def reverse_exchange(self, given: torch.Tensor, out: torch.Tensor, _: int) -> None:
        """And give their gradients back."""
        out.zero_().index_add_(0, torch.as_tensor(self.domain.owner), given)

    def update_pair_forces_gpu(self, pair_forces: torch.Tensor) -> None:
        values = pair_forces.detach().numpy()
        np.add.at(self.forces, self.pair_i, values)
        np.add.at(self.forces, self.pair_j, -values)
        self.virial = -self.rij.T @ values


def in_mliap(_: str, path: str, atoms: ase.Atoms) -> Answer:
    model = torch.load(path, weights_only=False)
    cutoff = 2.0 * model.rcutfac
    data = MliapData(Domain(atoms, cutoff), list(model.element_types), cutoff)
    model.compute_forces(data)
    energy = float(data.energy)
    assert abs(energy - data.eatoms.sum()) < 1e-6 * abs(energy)
    return {
        "energy": energy,
        "forces": data.domain.collected(data.forces),
        "virial": 0.5 * (data.virial + data.virial.T),
    }


KINDS = {
    "mace": in_ase,
    "nequip": in_ase,
    "pair_mace": in_pair_mace,
    "pair_nequip": in_pair_nequip,
    "mliap": in_mliap,
}


def main(frames: str, *models: str) -> None:
    installed = importlib.util.find_spec("piwsl_plugins") is not None
    structures = list(ase.io.iread(frames, index=":"))
    for model in models:
        kind, path = model.split("=", 1)
        answers = [KINDS[kind](kind, path, atoms) for atoms in structures]
        found: dict[str, Any] = {"model": path, "installed": installed}
        for name in ("energy", "forces", "virial"):
            found[name] = [np.asarray(answer[name]).tolist() for answer in answers]
        print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
