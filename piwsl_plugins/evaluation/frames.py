"""Labelled frames from any file that ASE reads, checked before a model sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from piwsl_plugins.evaluation.comparison import Floats
from piwsl_plugins.evaluation.predict import (
    reference_energy,
    reference_forces,
    reference_stress,
)

#: Where a label is looked for, in this order, unless its key is named.
USUAL_KEYS = {
    "energy": ("REF_energy", "energy"),
    "forces": ("REF_forces", "forces"),
    "stress": ("REF_stress", "stress"),
}
READERS = {"energy": reference_energy, "forces": reference_forces, "stress": reference_stress}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSet:
    """The frames of one file.

    Attributes:
        name: What it is called in tables and figures.
        path: The file.
        sha256: Digest of the file.
        frames: Structures with their labels, in eV, angstrom and their combinations.
        keys: Name of the label of each quantity (energy, forces, stress) in this file.
        config_type_key: Name of the configuration type among a frame's own data.
    """

    name: str
    path: Path
    sha256: str
    frames: list[Atoms]
    keys: Mapping[str, str]
    config_type_key: str

    @property
    def symbols(self) -> list[str]:
        """Chemical symbol of each atom, shape ``[sum(n_atoms)]``."""
        return [symbol for frame in self.frames for symbol in frame.symbols]

    @property
    def config_types(self) -> list[str | None]:
        """Configuration type of each frame, None where it has none, shape ``[n_frames]``."""
        found = (frame.info.get(self.config_type_key) for frame in self.frames)
        return [None if kind is None else str(kind) for kind in found]


def read_frame_sets(
    files: Mapping[str, Path],
    keys: Mapping[str, str | None],
    config_type_key: str | None,
) -> list[FrameSet]:
    """Read files and check their labels.

    Args:
        files: Files by the names that they shall bear.
        keys: Name of the label of each quantity (energy, forces, stress), or None for the usual
            one that the file has.
        config_type_key: Name of the configuration type; None for ``config_type``, if there.

    Raises:
        ValueError: A file is missing, empty or unreadable; a key that was named is in no frame; a
            file has no label at all; a label has a wrong shape or is infinite. The message names
            file and frame, what was found and what to do.
    """
    frames = {name: _read(path) for name, path in files.items()}
    everything = [frame for of_file in frames.values() for frame in of_file]
    where = ", ".join(str(path) for path in files.values())
    for quantity, key in keys.items():
        if key is not None and not any(key in _keys_of(frame) for frame in everything):
            raise ValueError(
                f"{where}: no frame has '{key}' (--{quantity}-key); {_what_is_there(everything)}"
            )
    if config_type_key is not None and not any(config_type_key in f.info for f in everything):
        raise ValueError(
            f"{where}: no frame has '{config_type_key}' (--config-type-key); "
            + _what_is_there(everything)
        )
    sets = []
    for name, path in files.items():
        chosen = {quantity: key or _usual(quantity, frames[name]) for quantity, key in keys.items()}
        found = FrameSet(
            name=name,
            path=path,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            frames=frames[name],
            keys=chosen,
            config_type_key=config_type_key or "config_type",
        )
        _check(found)
        sets.append(found)
    return sets


def _read(path: Path) -> list[Atoms]:
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "there is no such file"
        raise ValueError(f"{path}: {what}; --data takes any file of structures that ASE reads")
    try:
        frames = list(ase.io.iread(path, index=":", do_not_split_by_at_sign=True))
    except Exception as error:  # whatever a reader raises about a file that it cannot read
        if path.stat().st_size == 0:
            raise ValueError(f"{path}: the file is empty") from error
        reason = str(error).strip() or type(error).__name__
        raise ValueError(f"{path}: ASE cannot read it: {reason}") from error
    if not frames:
        raise ValueError(f"{path}: there is no structure in this file")
    for number, frame in enumerate(frames):
        if len(frame) == 0:
            raise ValueError(f"{path}: frame {number} (counted from 0) has no atoms")
        if not np.isfinite(frame.positions).all():
            raise ValueError(
                f"{path}: frame {number} (counted from 0) has a position that is not a number"
            )
    return frames


def _keys_of(frame: Atoms) -> set[str]:
    """Names of everything that could be a label."""
    results = frame.calc.results if frame.calc is not None else {}
    return (set(frame.info) | set(frame.arrays) | set(results)) - {"numbers", "positions"}


def _what_is_there(frames: Iterable[Atoms]) -> str:
    found = sorted(set().union(*(_keys_of(frame) for frame in frames)))
    return f"the frames have {', '.join(found) if found else 'no data but species and positions'}"


def _usual(quantity: str, frames: Sequence[Atoms]) -> str:
    usual = USUAL_KEYS[quantity]
    return next((key for key in usual if any(key in _keys_of(f) for f in frames)), usual[0])


def _check(frame_set: FrameSet) -> None:
    """Refuse labels that cannot be used, and a file without any."""
    any_label = False
    for number, frame in enumerate(frame_set.frames):
        where = f"{frame_set.path}: frame {number} (counted from 0)"
        for quantity, key in frame_set.keys.items():
            label = _label(frame, quantity, key, where)
            any_label = any_label or not np.isnan(label).all()
    if not any_label:
        asked = ", ".join(f"'{key}'" for key in frame_set.keys.values())
        raise ValueError(
            f"{frame_set.path}: no frame has a label: looked for {asked}; "
            f"{_what_is_there(frame_set.frames)}; name yours by --energy-key, --forces-key or "
            "--stress-key"
        )


def _label(frame: Atoms, quantity: str, key: str, where: str) -> Floats:
    """A label as numbers, NaN where absent."""
    try:
        label = np.asarray(READERS[quantity](frame, key))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: '{key}' is not a label of the {quantity}: {error}") from error
    if quantity == "forces" and label.shape != (len(frame), 3):
        raise ValueError(
            f"{where}: '{key}' has shape {label.shape}, expected ({len(frame)}, 3) for forces"
        )
    if np.isinf(label).any():
        raise ValueError(
            f"{where}: '{key}' is infinite; leave the label out, or write nan, where there is none"
        )
    return label


def check_elements(frame_set: FrameSet, known: frozenset[str], model: str) -> None:
    """Refuse frames with an element that a model does not know.

    Args:
        frame_set: The frames.
        known: Chemical symbols that the model knows.
        model: What the model is called, for the message.

    Raises:
        ValueError: There is such a frame.
    """
    for number, frame in enumerate(frame_set.frames):
        unknown = sorted(set(frame.symbols) - known)
        if unknown:
            raise ValueError(
                f"{frame_set.path}: frame {number} (counted from 0) holds {', '.join(unknown)}; "
                f"the model '{model}' knows {', '.join(sorted(known))} alone"
            )
