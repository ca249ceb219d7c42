"""Conversion of files of frames, with selection, splits and a manifest."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.expressions import ExpressionError, parse
from piwsl_plugins.data.manifest import Tally, manifest
from piwsl_plugins.data.outputs import Outputs
from piwsl_plugins.data.partition import Partition, partition
from piwsl_plugins.data.readers.base import DataError, Source
from piwsl_plugins.data.selection import Selected, Selection
from piwsl_plugins.data.splits import Sizes
from piwsl_plugins.data.writers import NAMES, writer_of

MANIFEST = ".manifest.json"
"""What is added to a file's name for that of its manifest."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What to write, and how.

    Attributes:
        selection: frames that are taken.
        sizes: size of each part by name; empty, one file with all frames.
        split_by: what stays together.
        seed: of splits.
        names: name of each label in the files.
        force: overwrite files.
    """

    selection: Selection = dataclasses.field(default_factory=Selection)
    sizes: Sizes = dataclasses.field(default_factory=dict)
    split_by: str = "frame"
    seed: int = 0
    names: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(NAMES))
    force: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Converted:
    """What was written.

    Attributes:
        tallies: what is in each file, by its path.
        manifest: path of the manifest.
        partition: how frames were split, or None.
        left_behind: numbers in the source that were not written, and the frames that have them.
    """

    tallies: dict[Path, Tally]
    manifest: Path
    partition: Partition | None
    left_behind: dict[str, int]


def convert(
    source: Source, out: Path, conversion: Conversion, command: Sequence[str] = ()
) -> Converted:
    """Write the frames of a file to others, whole and all of them, or none.

    Args:
        source: what to read.
        out: what to write; with a split, the name of each part is added to its stem.
        conversion: how.
        command: the command line, for the manifest.

    Raises:
        DataError: a file that is there already or is the source, an unknown suffix, no frame that
            fits, an empty part, and whatever reading finds wrong.
    """
    writer = writer_of(out)
    paths = _paths(out, conversion.sizes)
    record = out.with_name(out.name + MANIFEST)
    selected = Selected(source, conversion.selection)
    tallies = {name: Tally() for name in paths}
    info_keys: set[str] = set()
    parted = None
    with Outputs(
        [*paths.values(), record], force=conversion.force, sources=source.files
    ) as outputs:
        if conversion.sizes:
            parted = partition(selected, conversion.sizes, conversion.split_by, conversion.seed)
        with contextlib.ExitStack() as stack:
            writers = {
                name: stack.enter_context(writer(outputs.temporary(path), conversion.names))
                for name, path in paths.items()
            }
            for name, block in _dealt(selected, parted, list(paths)):
                writers[name].write(block)
                tallies[name].add(block)
                info_keys.update(block.info)
        left_behind = _left_behind(source, info_keys, tallies)
        details = _details(conversion, selected, parted, left_behind)
        files = {
            name: (path, outputs.temporary(path), tallies[name]) for name, path in paths.items()
        }
        text = manifest(source, files, details, command)
        outputs.temporary(record).write_text(text, encoding="utf-8")
    return Converted(
        {path: tallies[name] for name, path in paths.items()}, record, parted, left_behind
    )


def _paths(out: Path, sizes: Sizes) -> dict[str, Path]:
    if not sizes:
        return {"": out}
    return {name: out.with_name(f"{out.stem}_{name}{out.suffix}") for name in sizes}


def _dealt(
    selected: Selected, parted: Partition | None, names: Sequence[str]
) -> Iterator[tuple[str, Block]]:
    """The frames of each part, block by block."""
    start = 0
    for block in selected.blocks("writing"):
        if parted is None:
            yield names[0], block
            continue
        here = slice(start, start + len(block))
        start += len(block)
        if not np.array_equal(parted.places[here], block.places):
            raise DataError(f"{block.source}: the file has changed while it was read; start again")
        for number, name in enumerate(names):
            chosen = parted.parts[here] == number
            if chosen.any():
                yield name, block.take(chosen)


def _left_behind(source: Source, written: set[str], tallies: Mapping[str, Tally]) -> dict[str, int]:
    """Numbers in the file that are neither labels nor kept beside them."""
    known = source.keys
    read = set(written)
    for key in source.settings.keys.values():
        with contextlib.suppress(ExpressionError):
            read.update(parse(key, known).columns)
    if source.settings.energy is None and any(tally.labels["energy"] for tally in tallies.values()):
        energies = sorted(key for key in known if "energy" in key.lower())
        read.update(["REF_energy"] if "REF_energy" in energies else energies[:1])
    return {key: frames for key, frames in known.items() if key not in read}


def _details(
    conversion: Conversion,
    selected: Selected,
    parted: Partition | None,
    left_behind: Mapping[str, int],
) -> dict[str, Any]:
    """The manifest's entries on what was asked for."""
    selection = dataclasses.asdict(conversion.selection)
    details: dict[str, Any] = {
        "selection": selection,
        "refused": {reason: frames for reason, frames in selected.refused.items() if frames},
        "not_written": dict(left_behind),
        "names": dict(conversion.names),
        "seed": conversion.seed,
    }
    if parted is not None:
        details["split"] = {
            "by": conversion.split_by,
            "sizes": dict(conversion.sizes),
            "units": parted.units,
            "copies": parted.copies,
            "frames_in_no_part": int((parted.parts < 0).sum()),
        }
    return details
