"""Labels of NequIP's data: missing ones are NaN, bad ones are named before training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ase
import ase.io
import numpy as np
import torch
from nequip.data import AtomicDataDict
from nequip.data.dataset import ASEDataset
from torch import Tensor
from tqdm import tqdm

from piwsl_plugins.data.checks import Counts, Frame, check_displacement, check_labels, label_keys
from piwsl_plugins.settings import RunSettings

Data = dict[str, Tensor]

COMPLETED = "piwsl_completed"
"""Mark of a dataset whose labels were checked when it was read, and completed with NaN."""

ENERGY, FORCES, STRESS = (
    AtomicDataDict.TOTAL_ENERGY_KEY,
    AtomicDataDict.FORCE_KEY,
    AtomicDataDict.STRESS_KEY,
)


def check_frames(frames: Sequence[Data], source: str) -> Counts:
    """Check the labels of frames as they were read.

    Args:
        frames: NequIP's data of one frame each.
        source: the file, for the message.

    Returns:
        How many frames have which label.

    Raises:
        ValueError: NaN or infinite energies; forces or stress that are so, unless all of the
            frame's are NaN, which is NequIP's way to say that they are missing.
    """
    return check_labels(_frames(frames, lambda number: f"{source}, frame {number}"))


def complete(frames: Sequence[Data]) -> None:
    """Put NaN where a frame lacks a label that another frame has.

    Args:
        frames: NequIP's data of one frame each; changed in place.
    """
    shapes: dict[str, Callable[[Data], tuple[int, ...]]] = {
        ENERGY: lambda data: (1, 1),
        FORCES: lambda data: tuple(data[AtomicDataDict.POSITIONS_KEY].shape),
        STRESS: lambda data: (1, 3, 3),
    }
    for label, shape in shapes.items():
        if any(label in data for data in frames):
            for data in frames:
                if label not in data:
                    dtype = data[AtomicDataDict.POSITIONS_KEY].dtype
                    data[label] = torch.full(shape(data), torch.nan, dtype=dtype)


def drop_empty_cells(frames: Sequence[Data]) -> None:
    """Leave out the cell where no frame has one.

    Args:
        frames: NequIP's data of one frame each; changed in place.
    """
    if any(data[key].any() for data in frames for key in _CELL if key in data):
        return
    for data in frames:
        data.pop(AtomicDataDict.CELL_KEY, None)


_CELL = (AtomicDataDict.CELL_KEY, AtomicDataDict.PBC_KEY)


def check_dataset(dataset: Any, settings: RunSettings) -> Counts:
    """Check a training dataset of NequIP's.

    Args:
        dataset: any of NequIP's, or a subset of one.
        settings: settings of the losses.

    Returns:
        How many of its frames have which label.

    Raises:
        ValueError: no energies, bad labels, or displacements beyond half the shortest distance.
    """
    read, name = _reader(dataset)

    def frames() -> Iterator[Frame]:
        numbers = tqdm(range(len(dataset)), "checking training frames", delay=2, leave=False)
        return _frames((read(number) for number in numbers), name)

    counts = check_labels(frames())
    if counts.energies == 0:
        raise _no_energies(dataset, read(0))
    if not settings.allow_large_displacement:
        check_displacement(
            frames(),
            settings.longest_displacement,
            "training_module.piwsl.max_displacement",
            "training_module.piwsl.allow_large_displacement: true",
        )
    return counts


def _no_energies(dataset: Any, first: Data) -> ValueError:
    while hasattr(dataset, "dataset"):  # torch's Subset
        dataset = dataset.dataset
    path = getattr(dataset, "file_path", None)
    keys = set(first) - {AtomicDataDict.POSITIONS_KEY, AtomicDataDict.ATOMIC_NUMBERS_KEY, *_CELL}
    if isinstance(dataset, ASEDataset):
        keys = label_keys(next(ase.io.iread(str(path))))
    return ValueError(
        f"{path or type(dataset).__name__}: no frame has an energy that NequIP reads; the keys of "
        f"the first frame are {', '.join(sorted(keys)) or 'none'}. Name the energy's in the data "
        f"module: key_mapping: {{REF_energy: {ENERGY}}}"
    )


def _reader(dataset: Any) -> tuple[Callable[[int], Data], Callable[[int], str]]:
    """How to read a frame without its transforms, and what to call it."""
    if hasattr(dataset, "indices") and hasattr(dataset, "dataset"):  # torch's Subset
        read, name = _reader(dataset.dataset)
        indices = [int(index) for index in dataset.indices]
        return lambda number: read(indices[number]), lambda number: name(indices[number])
    source = getattr(dataset, "file_path", None) or type(dataset).__name__
    if hasattr(dataset, "_get_data_list"):
        completed = getattr(dataset, COMPLETED, False)

        def read_raw(number: int) -> Data:
            data = dict(dataset._get_data_list([number])[0])
            if completed and ENERGY in data and bool(data[ENERGY].isnan().all()):
                del data[ENERGY]
            return data

        return read_raw, lambda number: f"{source}, frame {number}"
    return lambda number: dict(dataset[number]), lambda number: f"{source}, frame {number}"


def _frames(frames: Any, name: Callable[[int], str]) -> Iterator[Frame]:
    for number, data in enumerate(frames):
        positions = data[AtomicDataDict.POSITIONS_KEY].numpy()
        cell, pbc = data.get(AtomicDataDict.CELL_KEY), data.get(AtomicDataDict.PBC_KEY)
        numbers = data.get(AtomicDataDict.ATOMIC_NUMBERS_KEY)
        forces, stress = _present(data.get(FORCES)), _present(data.get(STRESS))
        energy = data.get(ENERGY)
        yield Frame(
            name(number),
            ase.Atoms(
                numbers=np.zeros(len(positions), int) if numbers is None else numbers.numpy(),
                positions=positions,
                cell=None if cell is None else cell.numpy().reshape(3, 3),
                pbc=None if pbc is None else pbc.numpy().ravel(),
            ),
            None if energy is None else float(energy),
            forces,
            stress,
        )


def _present(label: Tensor | None) -> Any:
    """A label as numbers, or None where it is absent or NaN throughout."""
    return None if label is None or bool(label.isnan().all()) else label.numpy()
