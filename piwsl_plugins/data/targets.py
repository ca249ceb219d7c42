"""What a model is to learn from a file: its labels, or their differences to a cheaper method's."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from piwsl_plugins.data.blocks import ENERGIES, Block
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


def check_differences(settings: DataSettings, name: Callable[[str], str] = str) -> None:
    """Check that the keys of differences go together.

    Args:
        settings: keys and units.
        name: what the user calls the key of a label.

    Raises:
        ValueError: forces of the cheaper method without its energies, or weak forces beside
            differences.
    """
    if settings.low_forces and not settings.low_energy:
        raise ValueError(
            f"{name('low_forces')} {settings.low_forces!r} without {name('low_energy')}: the "
            "forces would be differences and the energies not; name both"
        )
    if settings.low_energy and settings.weak_forces:
        raise ValueError(
            f"{name('weak_forces')} {settings.weak_forces!r} contradicts {name('low_energy')} "
            f"{settings.low_energy!r}: the model learns a difference of energies, and the weak "
            "forces are those of a whole energy; leave one of them out"
        )


def open_labelled(
    path: str | Path,
    settings: DataSettings,
    name: Callable[[str], str] = str,
    *,
    tell: Callable[[str], object] = _log.warning,
    defaults: Mapping[str, str] = MappingProxyType({}),
    must_have_energies: bool = True,
) -> Source:
    """Open a file with those of the keys that it has.

    One block of settings serves training, validation and test files, and forces, weak forces or
    stress may be in one and not in another; so their keys are left out where a file lacks them,
    with a warning. Energies under a key that is not there are an error: a reader without a key
    would take others.

    Args:
        path: the file.
        settings: keys and units.
        name: what the user calls the key of a label, for messages.
        tell: takes the warnings.
        defaults: keys by label that the user has not asked for; where a file lacks one of them,
            the label is whatever there is.
        must_have_energies: whether a file without any energies is refused.

    Returns:
        The open file, with the keys that it has among its settings.

    Raises:
        DataError: no such file, an unknown format, or energies under a key that is not there.
    """
    none: dict[str, Any] = dict.fromkeys(_KEYS)
    source = open_source(path, dataclasses.replace(settings, **none))
    names = names_in(source)
    in_file = f"the keys in the file are {', '.join(sorted(names)) or 'none'}"
    lacking: dict[str, Any] = {}
    for label, key in settings.keys.items():
        error = _objection(key, names)
        if error is None:
            continue
        lacking[label] = None
        if defaults.get(label) == key:
            continue
        if label not in ENERGIES:
            tell(f"{path}: there are no {label.replace('_', ' ')} {key!r}; {in_file}")
        elif must_have_energies or settings.low_energy or _may_be_energies(names):
            why = f" ({error})" if any(sign in key for sign in "+*/()") else ""
            raise DataError(
                f"{path}: no frame has an energy under {name(label)} {key!r}{why}; {in_file}"
            )
    # readers look at the keys when they first read a label
    source.settings = dataclasses.replace(settings, **lacking)
    return source


def names_in(source: Source) -> list[str]:
    """Names of the numbers in a file; those of HDF5 without counting their frames."""
    if isinstance(source, Hdf5Source):
        return [*source.energies, *source.vectors]
    return list(source.keys)


def is_there(key: str, names: Iterable[str]) -> bool:
    """Whether a key, or all parts of a sum, are among some names."""
    return _objection(key, names) is None


def _objection(key: str, names: Iterable[str]) -> ExpressionError | None:
    try:
        parse(key, list(names))
    except ExpressionError as error:
        return error
    return None


def _may_be_energies(names: Iterable[str]) -> bool:
    return any("energy" in name.lower() for name in names)
