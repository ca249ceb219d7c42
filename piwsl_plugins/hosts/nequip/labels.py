"""Labels of NequIP's data: missing ones are NaN, bad ones are named before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ase
import ase.io
import numpy as np
import torch
from nequip.data import AtomicDataDict, register_fields
from nequip.data.dataset import ASEDataset
from numpy.typing import NDArray
from torch import Tensor

from piwsl_plugins.data.checks import Frame, check_displacement, check_labels, label_keys
from piwsl_plugins.data.progress import each
from piwsl_plugins.settings import WEAK_FORCES, RunSettings

Data = dict[str, Tensor]
Masks = dict[str, NDArray[np.bool_]]
"""Which frames have a label, by NequIP's name of it, each of shape [n_frames]."""

ENERGY, FORCES, STRESS = (
    AtomicDataDict.TOTAL_ENERGY_KEY,
    AtomicDataDict.FORCE_KEY,
    AtomicDataDict.STRESS_KEY,
)
LABELS = (ENERGY, FORCES, STRESS, WEAK_FORCES)
FRAMES = "frames"
"""How :class:`Counter` calls the number of frames."""
_CELL = (AtomicDataDict.CELL_KEY, AtomicDataDict.PBC_KEY)

# the forces of a cheaper method: a field of its own, one row an atom
register_fields(node_fields=[WEAK_FORCES])


def check_frames(frames: Sequence[Data], source: str) -> None:
    """Check the labels of frames as they were read.

    Args:
        frames: NequIP's data of one frame each.
        source: the file, for the message.

    Raises:
        ValueError: NaN or infinite energies; forces, weak forces or stress that are so, unless all
            of the frame's are NaN, which is NequIP's way to say that they are missing.
    """
    check_labels(_frames(frames, lambda number: f"{source}, frame {number}"))


def masks_of(frames: Sequence[Data]) -> Masks:
    """Which frames have which label; a label that no frame has is left out."""
    found = {
        label: np.array(
            [label in data and not bool(data[label].isnan().all()) for data in frames], dtype=bool
        )
        for label in LABELS
    }
    return {label: mask for label, mask in found.items() if mask.any()}


def dataset_masks(dataset: Any) -> Masks | None:
    """Which frames of a dataset of ours, or of a part of one, have which label; None of others'."""
    base, indices = unwrapped(dataset)
    masks: Masks | None = getattr(base, "piwsl_masks", None)
    if masks is None:
        return None
    return masks if indices is None else {label: mask[indices] for label, mask in masks.items()}


def unwrapped(dataset: Any) -> tuple[Any, NDArray[np.int64] | None]:
    """A dataset without torch's ``Subset`` around it, and the frames of it that are meant."""
    indices: NDArray[np.int64] | None = None
    while hasattr(dataset, "indices") and hasattr(dataset, "dataset"):
        own = np.asarray([int(index) for index in dataset.indices], dtype=np.int64)
        indices = own if indices is None else own[indices]
        dataset = dataset.dataset
    return dataset, indices


def count(dataset: Any) -> Counter[str]:
    """How many frames of a training dataset have which label.

    Args:
        dataset: any of NequIP's, or a subset of one; the labels of a foreign one are checked.

    Returns:
        Number by label, and of all under :data:`FRAMES`.

    Raises:
        ValueError: no energies, or bad labels.
    """
    masks = dataset_masks(dataset)
    read, name = reader(dataset)
    found: Counter[str] = Counter()
    if masks is None:

        def counted() -> Iterator[Data]:
            for number in each(range(len(dataset)), "checking labels of training frames"):
                data = read(number)
                found.update(label for label in LABELS if _present(data.get(label)) is not None)
                yield data

        check_labels(_frames(counted(), name))
    else:
        found.update({label: int(mask.sum()) for label, mask in masks.items()})
    found[FRAMES] = len(dataset)
    if not found[ENERGY]:
        raise _no_energies(dataset, read)
    return found


def check_distances(dataset: Any, settings: RunSettings) -> None:
    """Check the displacements against the shortest distance in a training dataset.

    Args:
        dataset: any of NequIP's, or a subset of one.
        settings: settings of the losses.

    Raises:
        ValueError: a displacement beyond half the shortest distance; frame and pair are named.
    """
    if settings.allow_large_displacement:
        return
    base, indices = unwrapped(dataset)
    read, name = reader(dataset)
    numbers: Any = range(len(dataset))
    if hasattr(base, "piwsl_shortest"):  # known from the one pass through the file
        shortest = base.piwsl_shortest if indices is None else base.piwsl_shortest[indices]
        closest = int(np.argmin(shortest))
        numbers = [closest] if shortest[closest] < 2.0 * settings.longest_displacement else []
    if len(numbers) == 1:
        only = int(numbers[0])
        frames = _frames([read(only)], lambda _: name(only))
    else:
        checked = each(numbers, "checking distances of training frames")
        frames = _frames((read(i) for i in checked), name)
    check_displacement(
        frames,
        settings.longest_displacement,
        "training_module.piwsl.max_displacement",
        "training_module.piwsl.allow_large_displacement: true",
    )


def complete(frames: Sequence[Data]) -> None:
    """Put NaN where a frame lacks a label that another frame has.

    Args:
        frames: NequIP's data of one frame each; changed in place.
    """
    shapes: dict[str, Callable[[Data], tuple[int, ...]]] = {
        ENERGY: lambda data: (1, 1),
        FORCES: lambda data: tuple(data[AtomicDataDict.POSITIONS_KEY].shape),
        STRESS: lambda data: (1, 3, 3),
        WEAK_FORCES: lambda data: tuple(data[AtomicDataDict.POSITIONS_KEY].shape),
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


def _no_energies(dataset: Any, read: Callable[[int], Data]) -> ValueError:
    base, _ = unwrapped(dataset)
    path = getattr(base, "file_path", None)
    if not len(dataset):
        return ValueError(f"{path or type(base).__name__}: there are no training frames")
    keys = set(read(0)) - {AtomicDataDict.POSITIONS_KEY, AtomicDataDict.ATOMIC_NUMBERS_KEY, *_CELL}
    remedy = f"key_mapping: {{REF_energy: {ENERGY}}}"
    if isinstance(base, ASEDataset):
        keys = label_keys(next(ase.io.iread(str(path))))
    elif hasattr(base, "piwsl_scan"):
        keys, remedy = set(base.piwsl_scan.source.keys), "labels: {energy: REF_energy}"
    return ValueError(
        f"{path or type(base).__name__}: no training frame has an energy that NequIP reads; the "
        f"keys in it are {', '.join(sorted(keys)) or 'none'}. Name the energy's in the data "
        f"module: {remedy}"
    )


def reader(dataset: Any) -> tuple[Callable[[int], Data], Callable[[int], str]]:
    """How to read a frame of a dataset without its transforms, and what to call it."""
    base, indices = unwrapped(dataset)
    source = getattr(base, "file_path", None) or type(base).__name__
    place = getattr(base, "piwsl_place", int)

    def number(index: int) -> int:
        return index if indices is None else int(indices[index])

    def read(index: int) -> Data:
        if hasattr(base, "_get_data_list"):
            return dict(base._get_data_list([number(index)])[0])
        return dict(base[number(index)])

    return read, lambda index: f"{source}, frame {place(number(index))}"


def _frames(frames: Any, name: Callable[[int], str]) -> Iterator[Frame]:
    for number, data in enumerate(frames):
        positions = data[AtomicDataDict.POSITIONS_KEY].numpy()
        cell, pbc = data.get(AtomicDataDict.CELL_KEY), data.get(AtomicDataDict.PBC_KEY)
        numbers = data.get(AtomicDataDict.ATOMIC_NUMBERS_KEY)
        energy = data.get(ENERGY)
        atoms = ase.Atoms(
            numbers=np.zeros(len(positions), int) if numbers is None else numbers.numpy(),
            positions=positions,
            cell=None if cell is None else cell.numpy().reshape(3, 3),
            pbc=None if pbc is None else pbc.numpy().ravel(),
        )
        yield Frame(
            name(number),
            atoms,
            None if energy is None else float(energy),
            _present(data.get(FORCES)),
            _present(data.get(STRESS)),
        )
        weak = _present(data.get(WEAK_FORCES))
        if weak is not None:
            yield Frame(f"{name(number)}, {WEAK_FORCES}", atoms, None, weak)


def _present(label: Tensor | None) -> Any:
    """A label as numbers, or None where it is absent or NaN throughout."""
    return None if label is None or bool(label.isnan().all()) else label.numpy()
