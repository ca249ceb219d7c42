r"""Write the frames of a file, in eV and angstrom, to extended XYZ or an ASE database.

OUT.xyz, OUT.db, or OUT.aselmdb for files too large for memory. All digits are kept; numbers whose
unit is not known are dropped and listed. OUT.xyz.manifest.json says what was done.

Examples:
  piwsl convert ani1x.h5 small.xyz --energy-key 'ccsd(t)_cbs.energy' --with energy \
      --random 20000 --split train=1000 test=0.1 --split-by farthest-point

Copies of a frame always go to the same part of a split, and isolated atoms, which all others are
measured against, to the first one. A molecule is the file's group, or else the graph of covalent
bonds; with farthest-point the first part are the frames farthest from each other by averaged SOAP.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula
from tqdm import tqdm

import piwsl_plugins
from piwsl_plugins.data import reading
from piwsl_plugins.data.frames import LABELS, DataError, Frame
from piwsl_plugins.data.readers import reader_of
from piwsl_plugins.data.settings import SPELLING, USUAL_KEYS, add_data_options, data_settings
from piwsl_plugins.data.splits import NOWHERE, part_size, partition
from piwsl_plugins.data.writers import NAMES, writer

CHECKED = 20_000  # frames are checked against each other; in larger files evenly spaced ones
LABEL_LIKE = re.compile(
    r"(?i)energ|force|grad|stress|viri|dipole|gap|homo|lumo|pressure|enthalp|hessian|polari|^e$|^u0?$"
)
"""Names of numbers that have a unit."""
WITHOUT_UNIT = ("numbers", "positions", "initial_charges", "initial_magmoms", "tags", "masses")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("file", type=Path, metavar="IN", help="what to read")
    parser.add_argument("out", type=Path, metavar="OUT", help=".xyz, .extxyz, .db or .aselmdb")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    add = parser.add_argument_group("selection, in this order").add_argument
    many: dict[str, Any] = {"nargs": "+", "default": []}
    count: dict[str, Any] = {"type": _count, "metavar": "N"}
    elements, text = chemical_symbols[1:], "frames of these elements alone"
    add("--elements", **many, choices=elements, metavar="X", help=text)
    add("--formula", **many, type=Formula, metavar="X", help="frames of one of these formulas")
    add("--max-atoms", **count, help="frames of at most N atoms")
    add("--with", dest="labels", **many, choices=LABELS, help="frames with all of these labels")
    add("--random", **count, help="N at random, in their order")
    add("--first", **count, help="at most N, from the start")
    add("--seed", type=int, default=0, metavar="N", help="of --random and --split (default: 0)")
    add = parser.add_argument_group("splits").add_argument
    text = "write OUT_NAME for each part, of so many frames, or, with a decimal point, a fraction"
    add("--split", **many, type=part_size, metavar="NAME=SIZE", help=text)
    ways = ("frame", "formula", "molecule", "farthest-point")
    text = "what stays together, or how the first part is chosen (default: %(default)s)"
    add("--split-by", choices=ways, default="frame", help=text)
    add_data_options(parser)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number from 1 on")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Convert; a ValueError says what cannot be done, or whatever reading finds wrong."""
    sizes, out = dict(options.split), options.out
    if len(sizes) < len(options.split):
        raise DataError("--split: two parts have one name")
    paths = [out.with_name(f"{out.stem}_{name}{out.suffix}") for name in sizes] or [out]
    record = out.with_name(out.name + ".manifest.json")
    with appearing([*paths, record], options) as new, contextlib.ExitStack() as files:
        frames = Selection(options)
        check_sources([options.file.parent / name for name in frames.files], new)
        parts: Iterable[int] = itertools.repeat(0)
        if sizes:
            parts = partition(frames, sizes, options.split_by, options.seed)
        counts: list[Counter[str]] = [Counter() for _ in paths]
        write = [files.enter_context(writer(new[path], NAMES)) for path in paths]
        shown = tqdm(frames, "writing", len(frames.numbers), unit=" frames", delay=2)
        for frame, part in zip(shown, parts, strict=False):
            if part != NOWHERE:
                counts[part].update(["frames", *frame.labels])
                write[part](frame)
        files.close()  # before they are renamed
        converter, dropped = frames.opened.converter, frames.dropped()
        manifest = {
            "version": piwsl_plugins.__version__,
            "sha256": hashlib.sha256(np.memmap(options.file, mode="r").data).hexdigest(),
            "keys": {label: parsed.text for label, parsed in converter.expressions.items()},
            "read_in": converter.taken,
            "not_written": dropped,
            "arguments": {k: v for k, v in vars(options).items() if v not in (None, False, [])},
            "files": {path.name: count for path, count in zip(paths, counts, strict=True)},
        }
        new[record].write_text(json.dumps(manifest, indent=2, default=str) + "\n", "utf-8")
    lines = [f"{path}: {count['frames']} frames" for path, count in zip(paths, counts, strict=True)]
    print(converter.summary(), *lines, record, sep="\n")
    if dropped:
        print(f"not written, for their unit is not known: {', '.join(dropped)}", file=sys.stderr)
    return 0


class Selection:
    """The selected frames of a file, read again each time that they are gone through."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, self._settings, path = options, data_settings(options), options.file
        self.files = files = set[str]()
        self.opened = opened = reading.open_labelled(
            path, self._settings, SPELLING, USUAL_KEYS, False, lambda raw: files.add(raw.file)
        )
        self._kept, self._written = list[Frame](), set[str]()
        step = -(-opened.contents.frames // CHECKED)
        sample = [frame for frame in self._all() if frame.number % step == 0]
        wrong, remarks = reading.examine(sample, opened.converter)
        if wrong:
            raise DataError("\n".join(f"{path}: {what}" for what in wrong))
        self._kept = sample if step == 1 else []
        for remark in [*opened.remarks, *remarks]:
            print(f"{path.name}: {remark}", file=sys.stderr)
        numbers = [frame.number for frame in self._all() if self._fits(frame)]
        if len(numbers) < (least := options.random or 1):
            raise DataError(f"{path}: {len(numbers)} of its frames are selected, expected {least}")
        if options.random:
            random = np.random.default_rng([options.seed, 0])
            numbers = sorted(random.choice(numbers, options.random, replace=False).tolist())
        self.numbers = numbers[: options.first]

    def __iter__(self) -> Iterator[Frame]:
        chosen = set(self.numbers)
        return (self._with_units(frame) for frame in self._all() if frame.number in chosen)

    def _all(self) -> Iterator[Frame]:
        if self._kept:
            yield from self._kept
            return
        path, converter = self._options.file, self.opened.converter
        converter.counted.clear()
        converter.frames = 0
        for frame in reading.convert(converter, reader_of(path).read(path, self._settings)):
            left_out = (k for k in converter.left_out if not np.any(frame.labels.get(k)))
            frame.labels = {k: frame.labels[k] for k in frame.labels.keys() - {*left_out}}
            yield frame

    def _fits(self, frame: Frame) -> bool:
        options, atoms = self._options, frame.atoms
        return (
            (not options.elements or {*atoms.symbols} <= {*options.elements})
            and (not options.formula or atoms.symbols.formula in options.formula)
            and len(atoms) <= (options.max_atoms or len(atoms))
            and {*options.labels} <= frame.labels.keys()
        )

    def _with_units(self, frame: Frame) -> Frame:
        """Drop numbers whose unit is not known."""
        for values in (frame.atoms.info, frame.atoms.arrays):
            for key, value in list(values.items()):
                kind = np.asarray(value).dtype.kind
                label = kind in "if" and LABEL_LIKE.search(key)
                if label or (kind == "f" and np.ndim(value) and key not in WITHOUT_UNIT):
                    del values[key]
            self._written |= values.keys()
        return frame

    def dropped(self) -> list[str]:
        """Numbers in the file that were not written, and the frames that have them."""
        labels = self.opened.converter.expressions.values()
        kept = self._written.union(*(label.columns.values() for label in labels))
        keys = sorted(self.opened.contents.keys.items())
        return [f"{key} ({number} frames)" for key, number in keys if key not in kept]


@contextlib.contextmanager
def appearing(paths: list[Path], options: argparse.Namespace) -> Iterator[dict[Path, Path]]:
    """Names under which files are written, and from which they are renamed at a normal end.

    A DataError says that there is no such folder, or a file that is read or there already.
    """
    folder = options.out.parent
    if not folder.is_dir():
        raise DataError(f"{options.out}: there is no folder {folder}; make it first")
    check_sources([options.file], paths)
    there = ", ".join(str(path) for path in paths if path.exists())
    if there and not options.overwrite:
        raise DataError(f"{there}: there already; choose another name, or --overwrite")
    with tempfile.TemporaryDirectory(prefix=".piwsl-", dir=folder) as temporary:
        new = {path: Path(temporary) / path.name for path in paths}
        yield new
        for path in paths:
            new[path].replace(path)


def check_sources(sources: Iterable[Path], paths: Iterable[Path]) -> None:
    """Refuse to write to files that are read."""
    if both := {path.resolve() for path in sources} & {path.resolve() for path in paths}:
        raise DataError(f"{min(both)}: this file is read; write to another one")
