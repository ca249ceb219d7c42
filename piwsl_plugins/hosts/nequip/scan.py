"""One look at every frame of a file before training: labels, distances, isolated atoms."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nequip.data import AtomicDataDict
from nequip.utils import RankedLogger
from numpy.typing import NDArray

from piwsl_plugins.data.blocks import Block, Floats
from piwsl_plugins.data.distances import shortest_distances
from piwsl_plugins.data.isolated import is_isolated
from piwsl_plugins.data.plausibility import check_units
from piwsl_plugins.data.progress import watched
from piwsl_plugins.data.readers import Source
from piwsl_plugins.data.readers.ase_files import AseSource
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.data.targets import TARGETS, open_labelled, targets
from piwsl_plugins.hosts.nequip.labels import Masks

_log = RankedLogger(__name__, rank_zero_only=True)

LABELS_BLOCK = "data.labels"
NAMES = {
    "energy": AtomicDataDict.TOTAL_ENERGY_KEY,
    "forces": AtomicDataDict.FORCE_KEY,
    "stress": AtomicDataDict.STRESS_KEY,
    "weak_forces": "weak_forces",
}
"""NequIP's names of the labels."""
MOST_IN_MEMORY = 2**28
"""Bytes of a text file up to which its frames are held in memory, as NequIP holds them."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What is known of a file's frames, all of them, in the file's order.

    Attributes:
        source: the file.
        masks: which frames have which label, by NequIP's name; what no frame has is left out.
        isolated: which frames are isolated atoms, shape [n_frames].
        shortest: distance of the closest pair of atoms, shape [n_frames], angstrom; infinite
            beyond the cutoff of the scan.
        has_cell: whether any frame has a cell.
        blocks: the frames themselves, where they are held in memory, one a block.
    """

    source: Source
    masks: Masks
    isolated: NDArray[np.bool_]
    shortest: Floats
    has_cell: bool
    blocks: Sequence[Block] | None

    @property
    def is_lazy(self) -> bool:
        """Whether the file is of a kind that is read frame by frame (HDF5, databases, tables)."""
        return not isinstance(self.source, AseSource)

    def usable(self, isolated_atoms: bool) -> NDArray[np.int64]:
        """Numbers of the frames to train on or to judge by.

        Those without any label are left out of the files that are read lazily, and isolated atoms
        unless asked for: an atom without neighbours has the energy of its type, whatever the
        weights, and teaches nothing.
        """
        chosen = np.ones(len(self.isolated), dtype=bool)
        if not isolated_atoms:
            chosen &= ~self.isolated
        if self.is_lazy:
            chosen &= np.any([*self.masks.values(), np.zeros(len(chosen), dtype=bool)], axis=0)
        return np.flatnonzero(chosen)


def scan(path: str, settings: DataSettings, cutoff: float) -> Scan:
    """Look at every frame of a file once; the same file is looked at again only if it changed.

    Args:
        path: the file.
        settings: keys and units.
        cutoff: angstrom; pairs of atoms that are nearer are sought, 0 for none.

    Raises:
        DataError: a broken file, keys that are not there, labels that are no numbers.
    """
    status = Path(path).stat() if Path(path).exists() else None
    stamp = None if status is None else (status.st_size, status.st_mtime_ns)
    return _scan(os.path.abspath(path), path, stamp, settings, cutoff)


@functools.lru_cache(maxsize=16)
def _scan(
    _: str, path: str, stamp: tuple[int, int] | None, settings: DataSettings, cutoff: float
) -> Scan:
    source = open_labelled(path, settings, lambda label: f"{LABELS_BLOCK}.{label}")
    for finding in check_units(source):
        if finding.unusual:  # allowed by the settings
            _log.warning(f"{path}: {finding.reason}")
    lazy = not isinstance(source, AseSource)
    keep = not lazy and stamp is not None and stamp[0] <= MOST_IN_MEMORY
    has: dict[str, list[NDArray[np.bool_]]] = {label: [] for label in TARGETS}
    isolated, shortest, kept = [np.zeros(0, dtype=bool)], [np.zeros(0)], []
    lost = has_cell = 0
    for block in watched(source.blocks(), f"reading {Path(path).name}", None):
        found = targets(block)
        for label, masks in has.items():
            masks.append(found.has(label))
        lost += int((block.has("energy") & ~found.has("energy")).sum())
        isolated.append(is_isolated(block))
        has_cell += block.cell is not None
        far = np.full(len(block), np.inf)
        shortest.append(shortest_distances(block, cutoff) if cutoff else far)
        if keep:
            kept += [found.take([number]) for number in range(len(found))]
    whole = {NAMES[label]: np.concatenate(parts) for label, parts in has.items() if parts}
    result = Scan(
        source=source,
        masks={name: mask for name, mask in whole.items() if mask.any()},
        isolated=np.concatenate(isolated),
        shortest=np.concatenate(shortest),
        has_cell=has_cell > 0,
        blocks=kept if keep else None,
    )
    _tell(path, result, lost)
    return result


def _tell(path: str, found: Scan, lost: int) -> None:
    """Log what is in a file and what of it is used."""
    labels = ", ".join(f"{name} {int(mask.sum())}" for name, mask in found.masks.items())
    n_frames, settings = len(found.isolated), found.source.settings
    lines = [f"{n_frames} frames ({found.source.format}); labels: {labels or 'none'}"]
    unlabelled = n_frames - len(found.usable(True))
    if unlabelled:
        lines.append(f"{unlabelled} frames without any of these labels are left out")
    if found.isolated.any():
        lines.append(f"{int(found.isolated.sum())} frames are isolated atoms")
    if settings.low_energy:
        lines.append(
            f"the model learns a difference: the reference less {settings.low_energy!r}"
            + (f" and, in forces, less {settings.low_forces!r}" if settings.low_forces else "")
            + "; what it predicts must be added to that method"
        )
        if lost:
            lines.append(f"{lost} frames have no {settings.low_energy!r} and lose their energy")
    for line in lines:
        _log.info(f"{path}: {line}")
