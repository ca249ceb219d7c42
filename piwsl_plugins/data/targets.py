"""What a model is to learn from a file: its labels, or their differences to a cheaper method's."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.composition import target_energies
from piwsl_plugins.data.expressions import ExpressionError, parse
from piwsl_plugins.data.readers import DataError, Source, open_source
from piwsl_plugins.data.readers.hdf5 import Hdf5Source
from piwsl_plugins.data.settings import DataSettings

TARGETS = ("energy", "forces", "stress", "weak_forces")
"""Labels that a model may be trained on."""
_KEYS = (*TARGETS, "low_energy", "low_forces")
_log = logging.getLogger(__name__)


def targets(block: Block) -> Block:
    """The same frames with what the model is to learn.

    Where a cheaper method's energies were read, these are the differences to them, and those of
    the forces where both were read; a label without its counterpart is then missing.
    """
    if "low_energy" not in block.labels:
        return block
    labels = {"energy": target_energies(block)}
    if "forces" in block.labels and "low_forces" in block.labels:
        labels["forces"] = block.labels["forces"] - block.labels["low_forces"]
    return dataclasses.replace(block, labels=labels)


def check_differences(settings: DataSettings) -> None:
    """Check that the keys of differences go together.

    Raises:
        ValueError: forces of the cheaper method without its energies, or weak forces beside
            differences.
    """
    if settings.low_forces and not settings.low_energy:
        raise ValueError(
            f"low_forces {settings.low_forces!r} without low_energy: the forces would be "
            "differences and the energies not; name both"
        )
    if settings.low_energy and settings.weak_forces:
        raise ValueError(
            f"weak_forces {settings.weak_forces!r} contradicts low_energy {settings.low_energy!r}: "
            "the model learns a difference of energies, and the weak forces are those of a whole "
            "energy; leave one of them out"
        )


def open_labelled(path: str | Path, settings: DataSettings) -> Source:
    """Open a file with those of the keys that it has.

    One block of settings serves training, validation and test files, and forces, weak forces or
    stress may be in one and not in another; so their keys are left out where a file lacks them,
    with a warning. The energies may not be lacking.

    Args:
        path: the file.
        settings: keys and units.

    Returns:
        The open file, with the keys that it has among its settings.

    Raises:
        DataError: no such file, an unknown format, or energies under a key that is not there.
    """
    none: dict[str, Any] = dict.fromkeys(_KEYS)
    source = open_source(path, dataclasses.replace(settings, **none))
    names = names_in(source)
    lacking = [
        label
        for label, key in settings.keys.items()
        if label not in ("energy", "low_energy") and not is_there(key, names)
    ]
    for label in lacking:
        _log.warning(
            f"{path}: there are no {label.replace('_', ' ')} {settings.keys[label]!r}; the keys in "
            f"the file are {', '.join(sorted(names)) or 'none'}"
        )
    for label in ("energy", "low_energy"):
        key = settings.keys.get(label)
        if key is not None:
            _check_there(path, label, key, names)
    # readers look at the keys when they first read a label
    without: dict[str, Any] = dict.fromkeys(lacking)
    source.settings = dataclasses.replace(settings, **without)
    return source


def names_in(source: Source) -> list[str]:
    """Names of the numbers in a file; those of HDF5 without counting their frames."""
    if isinstance(source, Hdf5Source):
        return [*source.energies, *source.vectors]
    return list(source.keys)


def is_there(key: str, names: Iterable[str]) -> bool:
    """Whether a key, or all parts of a sum, are among some names."""
    try:
        parse(key, list(names))
    except ExpressionError:
        return False
    return True


def _check_there(path: str | Path, label: str, key: str, names: list[str]) -> None:
    try:
        parse(key, names)
    except ExpressionError as error:
        raise DataError(
            f"{path}: no frame has an energy under {label}: {key!r}: {error}"
        ) from error
