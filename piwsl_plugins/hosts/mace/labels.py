"""Labels that MACE reads: missing ones get no weight, bad ones are named before training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import ase
import ase.io
import numpy as np
from tqdm import tqdm

from piwsl_plugins.data.checks import Frame, check_labels, label_keys
from piwsl_plugins.hosts.mace import run

LABELS = ("energy", "forces", "stress", "virials", "dipole")


def wrap_load_from_xyz(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Check what MACE has read from a file that ASE reads, and mask what is not there."""
    active = run.active()
    if active is None or kwargs.get("no_data_ok", False):
        return wrapped(*args, **kwargs)
    path = str(kwargs["file_path"] if "file_path" in kwargs else args[0])
    keys = kwargs["key_specification"] if "key_specification" in kwargs else args[1]
    try:
        energies, configs = wrapped(*args, **kwargs)
    except ValueError as error:
        if not str(error).startswith("None of"):  # MACE's words where it finds no label at all
            raise
        with run.plain_errors():
            raise _no_energies(FrameNames(path, 0), keys) from error
    with run.plain_errors():
        _accept(active, path, keys, configs, bool(kwargs.get("extract_atomic_energies")))
    return energies, configs


def _no_energies(names: FrameNames, keys: Any) -> ValueError:
    found = sorted({key for atoms in names.read() for key in label_keys(atoms)})
    return ValueError(
        f"{names.path}: no frame has an energy under --energy_key {keys.info_keys['energy']!r}; "
        f"the keys in the file are {', '.join(found) or 'none'}"
    )


def _accept(active: run.Run, path: str, keys: Any, configs: list[Any], training: bool) -> None:
    for config in configs:
        for label in LABELS:
            # MACE stores None with weight 1 where ASE found no result, and trains on zeros
            if config.properties.get(label) is None and label in config.property_weights:
                config.property_weights[label] = 0.0
    names = FrameNames(path, len(configs))
    counts = check_labels(_frames(configs, names))
    if not training:
        return
    if counts.energies == 0:
        raise _no_energies(names, keys)
    active.check_average_energies(path, counts)
    active.counts.add(counts)
    logging.info(
        f"PIWSL: {path}: {counts.frames} training frames, {counts.energies} with energies, "
        f"{counts.forces} with forces; a missing label has no weight"
    )
    if not active.settings.allow_large_displacement:
        active.check_displacement(_frames(configs, names))


def check_dataset(active: run.Run, dataset: Any) -> None:
    """Check training items that MACE did not read through ASE (HDF5, LMDB).

    Args:
        active: the run.
        dataset: MACE's dataset; items are ``AtomicData``.

    Raises:
        ValueError: bad labels or too long a displacement, naming the item.
    """

    def frames() -> Iterator[Frame]:
        for number in tqdm(range(len(dataset)), "checking training items", delay=2):
            item = dataset[number]
            atoms = ase.Atoms(
                numbers=np.ones(item.num_nodes, dtype=int),
                positions=item.positions.numpy(),
                cell=item.cell.numpy(),
                pbc=item.pbc.numpy().ravel(),
            )
            yield Frame(
                f"item {number} of the training set",
                atoms,
                item.energy.item() if item.energy_weight > 0 else None,
                item.forces.numpy() if item.forces_weight > 0 else None,
                item.stress.numpy() if item.stress_weight > 0 else None,
            )

    active.counts.add(check_labels(frames()))
    if not active.settings.allow_large_displacement:
        active.check_displacement(frames())


class FrameNames:
    """Names frames by their place in the file, the isolated atoms that MACE drops counted in."""

    def __init__(self, path: str, kept: int) -> None:
        self.path = path
        self.kept = kept
        self._places: list[int] | None = None

    def read(self) -> list[ase.Atoms]:
        """The file's frames; read again, for an error message only."""
        found = ase.io.read(self.path, index=":")
        return found if isinstance(found, list) else [found]

    def __getitem__(self, number: int) -> str:
        if self._places is None:
            frames = self.read()
            self._places = list(range(len(frames)))
            if len(frames) != self.kept:
                self._places = [
                    place
                    for place, atoms in enumerate(frames)
                    if len(atoms) != 1 or atoms.info.get("config_type") != "IsolatedAtom"
                ]
        return f"{self.path}, frame {self._places[number]}"


class _LazyName:
    """A frame's name, made only when an error prints it."""

    def __init__(self, names: FrameNames, number: int) -> None:
        self._names, self._number = names, number

    def __str__(self) -> str:
        return self._names[self._number]


def _frames(configs: list[Any], names: FrameNames) -> Iterator[Frame]:
    for number, config in enumerate(configs):
        weights = config.property_weights
        yield Frame(
            _LazyName(names, number),  # type: ignore[arg-type]
            ase.Atoms(
                numbers=config.atomic_numbers,
                positions=config.positions,
                cell=config.cell,
                pbc=config.pbc,
            ),
            config.properties.get("energy") if weights.get("energy", 0.0) > 0 else None,
            config.properties.get("forces") if weights.get("forces", 0.0) > 0 else None,
            config.properties.get("stress") if weights.get("stress", 0.0) > 0 else None,
        )
