"""Labels that MACE reads through ASE: missing ones get no weight, bad ones are named."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np

from piwsl_plugins.data.checks import MAX_NAMED, Frame, check_labels, label_keys
from piwsl_plugins.data.progress import each
from piwsl_plugins.data.readers import DataError, Source
from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.frames import Translation, block_of
from piwsl_plugins.hosts.mace.reading import Head, has_label, open_checked, read_at_once, remember
from piwsl_plugins.hosts.mace.sources import kind_of, needs_reader

LABELS = ("energy", "forces", "stress", "virials", "dipole")


def wrap_load_from_xyz(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Check what MACE has read from a file that ASE reads, and mask what is not there.

    Where units, weak forces, differences or sums of columns were asked for, or keys that ASE
    moves to a calculator, our reader reads instead.
    """
    active = run.active()
    bound = inspect.signature(wrapped).bind(*args, **kwargs)
    bound.apply_defaults()
    call = bound.arguments
    if active is None or call["no_data_ok"]:
        return wrapped(*args, **kwargs)
    head = active.head(call["head_name"])
    path, keys = str(call["file_path"]), call["key_specification"]
    with run.plain_errors():
        source = _open(head, path, call)
        alone = head.E0s is not None and head.E0s.strip().lower() == "isolated"
        if head.name != "pt_head" and (alone or needs_reader(head.settings(keys), source)):
            return _read(head, source, call)
    try:
        energies, configs = wrapped(*args, **kwargs)
    except ValueError as error:
        if not str(error).startswith("None of"):  # MACE's words where it finds no label at all
            raise
        with run.plain_errors():
            raise _no_energies(FrameNames(path, 0), keys) from error
    with run.plain_errors():
        _accept(head, path, keys, configs, training=bool(call["extract_atomic_energies"]))
        _check_isolated_atoms(path, keys, energies)
    return energies, configs


def _open(head: Head, path: str, call: dict[str, Any]) -> Source:
    if not Path(path).exists():
        raise DataError(f"{path}: there is no such file")
    if kind_of(path) is None:
        raise DataError(f"{path}: not a format that can be read")
    training = bool(call["extract_atomic_energies"])
    return open_checked(head, path, call["key_specification"], training=training)


def _read(head: Head, source: Source, call: dict[str, Any]) -> Any:
    training = bool(call["extract_atomic_energies"])
    translation = Translation(call["key_specification"], call["config_type_weights"], head.name)
    configs = read_at_once(
        head,
        source,
        translation,
        training=training,
        keep_isolated=bool(call["keep_isolated_atoms"]) or not training,
    )
    return (head.isolated.energies() if training else {}), configs


def _no_energies(names: FrameNames, keys: Any) -> ValueError:
    found = sorted({key for atoms in names.read() for key in label_keys(atoms)})
    return ValueError(
        f"{names.path}: no frame has an energy under --energy_key {keys.info_keys['energy']!r}; "
        f"the keys in the file are {', '.join(found) or 'none'}"
    )


def _mask(configs: list[Any], names: FrameNames) -> None:
    """Give labels that are not there no weight."""
    nan: list[int] = []
    for number, config in enumerate(configs):
        for label in LABELS:
            value = config.properties.get(label)
            if value is not None and np.isnan(np.asarray(value, dtype=float)).all():
                nan.append(number)
                config.properties[label] = value = None
            # MACE stores None with weight 1 where ASE found no result, and trains on zeros
            if value is None and label in config.property_weights:
                config.property_weights[label] = 0.0
    if nan:
        named = ", ".join(names[number] for number in nan[:MAX_NAMED])
        more = f" and {len(nan) - MAX_NAMED} more" if len(nan) > MAX_NAMED else ""
        logging.warning(f"PIWSL: labels that are NaN count as missing: {named}{more}")


def _accept(head: Head, path: str, keys: Any, configs: list[Any], *, training: bool) -> None:
    active, names = head.run, FrameNames(path, len(configs))
    _mask(configs, names)
    counts = check_labels(_frames(configs, names))
    for place, config in enumerate(configs):
        block = block_of(config, place)
        remember(config, path, int(head.scan.add(block, names.__getitem__)[0]))
    if not training:
        return
    if counts.energies == 0:
        raise _no_energies(names, keys)
    active.counts.add(counts)
    logging.info(
        f"PIWSL: {path}: {counts.frames} training frames, {counts.energies} with energies, "
        f"{counts.forces} with forces; a missing label has no weight"
    )
    if active.checks_displacement:
        active.check_displacement(_frames(configs, names))


def _check_isolated_atoms(path: str, keys: Any, energies: dict[int, float]) -> None:
    """Refuse isolated atoms without an energy, for which MACE takes zero."""
    if 0.0 not in energies.values():
        return
    key = keys.info_keys["energy"]
    for place, atoms in enumerate(FrameNames(path, 0).read()):
        lone = len(atoms) == 1 and atoms.info.get("config_type") == "IsolatedAtom"
        if lone and key not in atoms.info:
            raise ValueError(
                f"{path}, frame {place}: this isolated atom of {atoms.symbols[0]} has no energy "
                f"under --energy_key {key!r}, and MACE would take zero; give it one, or remove it "
                "and give --E0s"
            )


def check_dataset(active: run.Run, dataset: Any) -> None:
    """Check training items that MACE read in its own way (its HDF5, LMDB).

    Args:
        active: the run.
        dataset: MACE's dataset; items are ``AtomicData``.

    Raises:
        ValueError: bad labels or too long a displacement, naming the item.
    """

    def frames() -> Iterator[Frame]:
        for number in each(range(len(dataset)), "checking training items"):
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
    if active.checks_displacement:
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
        energy, forces, stress = (
            config.properties[label] if has_label(config, label) else None
            for label in ("energy", "forces", "stress")
        )
        yield Frame(
            _LazyName(names, number),  # type: ignore[arg-type]
            ase.Atoms(
                numbers=config.atomic_numbers,
                positions=config.positions,
                cell=config.cell,
                pbc=config.pbc,
            ),
            energy,
            forces,
            stress,
        )
