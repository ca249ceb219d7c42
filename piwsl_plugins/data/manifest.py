"""What a conversion read and wrote, so that it can be told and repeated."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import piwsl_plugins
from piwsl_plugins.data.blocks import LABELS, Block
from piwsl_plugins.data.composition import formula
from piwsl_plugins.data.isolated import is_isolated
from piwsl_plugins.data.progress import PATIENCE
from piwsl_plugins.data.readers.base import Source

_CHUNK = 2**22


@dataclasses.dataclass(slots=True)
class Tally:
    """What was written to one file.

    Attributes:
        frames: number of frames.
        atoms: number of atoms in all.
        isolated_atoms: frames that are isolated atoms.
        labels: frames that have each label.
        elements: atomic numbers.
        formulas: chemical formulas.
    """

    frames: int = 0
    atoms: int = 0
    isolated_atoms: int = 0
    labels: Counter[str] = dataclasses.field(default_factory=Counter)
    elements: set[int] = dataclasses.field(default_factory=set)
    formulas: set[str] = dataclasses.field(default_factory=set)

    def add(self, block: Block) -> None:
        """Count the frames of a block."""
        self.frames += len(block)
        self.atoms += block.positions.shape[0] * block.positions.shape[1]
        self.isolated_atoms += int(is_isolated(block).sum())
        self.labels.update({label: int(block.has(label).sum()) for label in LABELS})
        self.elements.update(block.numbers.tolist())
        self.formulas.add(formula(block.numbers))

    def entry(self) -> dict[str, Any]:
        """The same for a manifest."""
        return {
            "frames": self.frames,
            "atoms": self.atoms,
            "isolated_atoms": self.isolated_atoms,
            "labels": {label: n for label, n in self.labels.items() if n},
            "elements": sorted(self.elements),
            "formulas": len(self.formulas),
        }


def manifest(
    source: Source,
    outputs: Mapping[str, tuple[Path, Path, Tally]],
    details: Mapping[str, Any],
    command: Sequence[str],
) -> str:
    """The manifest of a conversion, JSON; it holds no time, so that the same gives the same.

    Args:
        source: what was read.
        outputs: final path, path that it has now, and tally of each file by its part's name.
        details: selection, split and the like.
        command: the command line.
    """
    written = {
        name or "all": {"file": path.name, "sha256": sha256(now), **tally.entry()}
        for name, (path, now, tally) in outputs.items()
    }
    entries = {
        "package": {"name": "piwsl-plugins", "version": piwsl_plugins.__version__},
        "command": list(command),
        "source": {
            "file": str(source.path),
            "format": source.format,
            "bytes": source.path.stat().st_size,
            "sha256": sha256(source.path),
            "frames": len(source),
            **_structures(source),
            "settings": dataclasses.asdict(source.settings),
        },
        "units": {
            "energy": "eV",
            "length": "angstrom",
            "forces": "eV/angstrom",
            "stress": "eV/angstrom^3",
        },
        **details,
        "outputs": written,
    }
    return json.dumps(entries, indent=2, default=_plain) + "\n"


def _structures(source: Source) -> dict[str, Any]:
    """What there is to say of the structure files beside a table."""
    others = source.files[1:]
    if not others:
        return {}
    digest = hashlib.sha256()
    for path in others:
        digest.update(sha256(path).encode())
    # the hash of all files' hashes, one after the other in hexadecimal
    return {"structure_files": {"number": len(others), "sha256": digest.hexdigest()}}


def sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    digest = hashlib.sha256()
    with (
        path.open("rb") as file,
        tqdm(
            desc=f"hash of {path.name}",
            total=path.stat().st_size,
            unit="B",
            unit_scale=True,
            delay=PATIENCE,
            leave=False,
        ) as bar,
    ):
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} in a manifest")
