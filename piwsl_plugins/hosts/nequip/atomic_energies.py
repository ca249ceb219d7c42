"""Reference energies of the atoms for NequIP's types, from the training data where asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from nequip.data import AtomicDataDict
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper
from nequip.utils import RankedLogger
from numpy.typing import NDArray

from piwsl_plugins.data.atomic_energies import FIT, ISOLATED, TABLES, atomic_energies
from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.readers import BLOCK_SIZE, Source
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.hosts.nequip import labels
from piwsl_plugins.hosts.nequip.scan import Chosen
from piwsl_plugins.settings import unknown_name

KEY = "data.stats_manager.atomic_energies"
_log = RankedLogger(__name__, rank_zero_only=True)


def check_name(name: str) -> None:
    """Check the name of a way to find the energies.

    Raises:
        ValueError: an unknown one, with the nearest known.
    """
    known = (FIT, ISOLATED, *TABLES)
    if name not in known:
        raise ValueError(
            f"{KEY}: {unknown_name(name, known, 'value')}; or give a mapping, one energy (eV) for "
            "each type"
        )


def of_dataset(spec: str, dataset: Any, type_names: Sequence[str]) -> dict[str, float]:
    """Energies of the free atoms, as both hosts take them.

    Args:
        spec: ``fit``, ``isolated`` or the name of a table.
        dataset: the training frames, one of ours or of NequIP's, or a part of one; isolated atoms
            are sought in the whole file.
        type_names: NequIP's types.

    Returns:
        Energy by type, eV.

    Raises:
        ValueError: a type whose element has no energy.
    """
    elements = elements_of(dataset, type_names)
    base, indices = labels.unwrapped(dataset)
    source: Source
    if hasattr(base, "piwsl_scan"):
        places = base.places if indices is None else base.places[indices]
        isolated = np.flatnonzero(base.piwsl_scan.isolated)
        source = Chosen(base.piwsl_scan, np.union1d(places, isolated))
    else:
        source = _Frames(base, range(len(base)) if spec == ISOLATED or indices is None else indices)
    found = atomic_energies(spec, source, elements.values())
    for warning in found.warnings:
        _log.warning(warning)
    values = {name: found.values[number] for name, number in elements.items()}
    listed = ", ".join(f"{name} {value:.6f}" for name, value in values.items())
    _log.info(f"reference energies of the atoms (E0s, eV), of {found.origin}: {listed}")
    return values


def elements_of(dataset: Any, type_names: Sequence[str]) -> dict[str, int]:
    """Atomic number of each type, by the transform that maps elements to types.

    Raises:
        ValueError: a type that stands for no element or for several.
    """
    base, _ = labels.unwrapped(dataset)
    for transform in getattr(base, "transforms", ()):
        if isinstance(transform, ChemicalSpeciesToAtomTypeMapper):
            names, table = list(transform.model_type_names), transform.lookup_table
            known = {name: (table == names.index(name)).nonzero().view(-1) for name in names}
            found = {name: known[name].tolist() for name in type_names if name in known}
            break
    else:
        found = {name: [atomic_numbers[name]] for name in type_names if name in atomic_numbers}
    for name in type_names:
        if len(found.get(name, ())) != 1:
            raise ValueError(
                f"{KEY}: the type {name!r} stands for {len(found.get(name, ()))} elements, "
                "expected one; give the energies of the types as a mapping"
            )
    return {name: int(found[name][0]) for name in type_names}


class _Frames(Source):
    """Energies of any dataset's frames, one a block."""

    format = "data of NequIP's"

    def __init__(self, dataset: Any, indices: Sequence[int] | NDArray[np.int64] | range) -> None:
        path = getattr(dataset, "file_path", None) or type(dataset).__name__
        super().__init__(Path(str(path)), DataSettings())
        self._read = labels.reader(dataset)[0]
        self._indices = indices

    @staticmethod
    def recognises(path: Path) -> bool:
        """These are no files."""
        return False

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def keys(self) -> dict[str, int]:
        """Nothing: the energy is what NequIP calls so."""
        return {}

    def elements(self) -> NDArray[np.int64]:
        """Atomic numbers, sorted."""
        return np.unique(np.concatenate([block.numbers for block in self.blocks()]))

    def blocks(self, size: int = BLOCK_SIZE) -> Iterator[Block]:
        """The frames one by one."""
        return (self.frame(number) for number in range(len(self)))

    def frame(self, number: int) -> Block:
        """One frame with its energy."""
        place = int(self._indices[number])
        data = self._read(place)
        energy = data.get(AtomicDataDict.TOTAL_ENERGY_KEY)
        cell, pbc = data.get(AtomicDataDict.CELL_KEY), data.get(AtomicDataDict.PBC_KEY)
        periodic = pbc is not None and cell is not None and bool(pbc.any())
        return Block(
            source=str(self.path),
            places=np.array([place]),
            group="",
            numbers=data[AtomicDataDict.ATOMIC_NUMBERS_KEY].numpy().astype(np.int64).ravel(),
            positions=data[AtomicDataDict.POSITIONS_KEY].numpy().astype(float)[None],
            labels={} if energy is None else {"energy": energy.numpy().astype(float).reshape(1)},
            cell=cell.numpy().reshape(1, 3, 3) if periodic and cell is not None else None,
            pbc=pbc.numpy().reshape(1, 3) if periodic and pbc is not None else None,
        )
