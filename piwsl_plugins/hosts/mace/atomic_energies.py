"""Reference energies of atoms (E0s) for MACE, by the functions that both hosts share."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from piwsl_plugins.data.atomic_energies import FIT, AtomicEnergies, atomic_energies
from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.readers import BLOCK_SIZE, Source
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.frames import Frames, block_of
from piwsl_plugins.hosts.mace.reading import Head


def wrap_compute_average_E0s(  # noqa: N802  (MACE's name)
    wrapped: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Fit the energies of the frames that have one, and say where the fit is underdetermined."""
    if run.active() is None:
        return wrapped(*args, **kwargs)
    call = inspect.signature(wrapped).bind(*args, **kwargs).arguments
    with run.plain_errors():
        return _resolve(FIT, call["collections_train"], call["z_table"].zs)


def wrap_get_atomic_energies(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Know the names of tables, symbols of elements, and every element that lacks an energy."""
    if run.active() is None:
        return wrapped(*args, **kwargs)
    call = inspect.signature(wrapped).bind(*args, **kwargs).arguments
    given, zs = call["E0s"], call["z_table"].zs
    if given is None or given.strip().lower() == "average":
        return wrapped(*args, **kwargs)
    with run.plain_errors():
        if given.endswith(".json"):
            found = wrapped(*args, **kwargs)
            return _checked(atomic_energies(found, elements=zs))
        return _resolve(given, call["train_collection"], zs)


def _resolve(spec: str, collection: Any, elements: Iterable[int]) -> dict[int, float]:
    sources = [] if collection is None else [_Training(collection)]
    return _checked(atomic_energies(spec, sources, elements))


def _checked(found: AtomicEnergies) -> dict[int, float]:
    logging.info(f"PIWSL: atomic energies (E0s) are those of {found.origin}")
    for warning in found.warnings:
        logging.warning(f"PIWSL: {warning}")
    return found.values


def check_isolated(
    head: Head, energies: dict[int, float] | None, elements: Iterable[int]
) -> dict[int, float] | None:
    """Check that isolated atoms in the training files cover all elements.

    Args:
        head: the head.
        energies: E0s from the files by atomic number, eV, if there are any.
        elements: atomic numbers of the training and validation frames.

    Returns:
        The energies of those elements.

    Raises:
        ValueError: an element without one, or no energies at all.
    """
    if not energies:
        statistics = head.config is not None and head.config.atomic_energies_dict
        if head.E0s is None and not statistics:
            raise ValueError(
                "no reference energies of atoms (E0s): the training files have no isolated atoms, "
                "and --E0s is not given; give '{H: -13.6, O: -2041.8}' (eV), the name of a table, "
                "or 'average', a least-squares fit"
            )
        return energies
    missing = [chemical_symbols[z] for z in sorted(elements) if z not in energies]
    if missing:
        have = ", ".join(chemical_symbols[z] for z in sorted(energies))
        raise ValueError(
            f"no reference energy (E0) of {', '.join(missing)}: the isolated atoms in the training "
            f"files are {have}, and MACE takes their energies before those of --E0s; add the "
            "missing atoms, or remove all of them and give --E0s"
        )
    return {z: energies[z] for z in sorted(elements)}


class _Training(Source):
    """MACE's training configurations of a head as a source."""

    format = "training data"

    def __init__(self, collection: Frames | Sequence[Any]) -> None:
        active = run.active()
        low = None if active is None else active.args.piwsl_low_energy_key
        # the low energy has been subtracted; that it is set tells the tables not to be used
        super().__init__(Path("training data"), DataSettings(low_energy=low))
        self._collection = collection

    @staticmethod
    def recognises(path: Path) -> bool:
        """No file is."""
        return False

    def __len__(self) -> int:
        return len(self._collection)

    @property
    def keys(self) -> dict[str, int]:
        """The energy, the only label that matters here."""
        return {"energy": len(self)}

    def elements(self) -> NDArray[np.int64]:
        """Atomic numbers, sorted."""
        return np.unique(np.concatenate([block.numbers for block in self.blocks()]))

    def blocks(self, size: int = BLOCK_SIZE) -> Iterator[Block]:
        """The frames."""
        if isinstance(self._collection, Frames):
            yield from self._collection.blocks()
        else:
            yield from (block_of(config, n) for n, config in enumerate(self._collection))

    def frame(self, number: int) -> Block:
        """One frame."""
        return block_of(self._collection[number], number)
