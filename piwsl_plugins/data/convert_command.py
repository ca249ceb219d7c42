"""``piwsl data convert``: files of frames to extxyz or an ASE database."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from piwsl_plugins.commands import LAYOUT
from piwsl_plugins.data.blocks import LABELS
from piwsl_plugins.data.options import add_data_options, data_settings, use_usual_names
from piwsl_plugins.data.partition import UNITS
from piwsl_plugins.data.readers.base import DataError
from piwsl_plugins.fields import unknown_name

DESCRIPTION = """\
Write the frames of a file, in eV and angstrom and without loss, to extended XYZ (OUT.xyz,
OUT.extxyz) or an ASE database (OUT.db), with a manifest beside it (OUT.xyz.manifest.json).
Files appear whole and all together, or not at all."""
EPILOG = """\
examples:
  piwsl data convert ani1x.h5 ccx.xyz --energy-key 'ccsd(t)_cbs.energy' --with energy
  piwsl data convert spice.hdf5 spice.db --energy-key dft_total_energy --elements H C N O
  piwsl data convert all.xyz acac.xyz --split train=0.8 val=0.1 test=0.1 --seed 1
  piwsl data convert ani1x.h5 small.xyz --energy-key 'ccsd(t)_cbs.energy' --with energy \\
      --random 20000 --split train=1000 test=0.1 --split-by farthest-point

Copies of a frame always go to the same part of a split, and isolated atoms, which all others are
measured against, to the first one."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's options to those of ``piwsl data``."""
    made = commands.add_parser(
        "convert",
        help="write a file's frames to extxyz or an ASE database, with selection and splits",
        description=DESCRIPTION,
        epilog=EPILOG,
        **LAYOUT,
    )
    made.add_argument("file", type=Path, metavar="FILE", help="what to read")
    made.add_argument(
        "out", type=Path, metavar="OUT", help="what to write; its suffix .xyz, .extxyz or .db"
    )
    made.add_argument("--force", action="store_true", help="overwrite files that are there")
    made.add_argument(
        "--write-as",
        "--write_as",
        nargs="+",
        default=[],
        metavar="LABEL=NAME",
        help="names of labels in OUT, e.g. energy=energy (default: REF_energy, REF_forces, "
        "REF_stress, and weak_forces, low_energy, low_forces)",
    )
    _add_selection(made.add_argument_group("selection, in this order"))
    _add_split(made.add_argument_group("splits"))
    add_data_options(made)
    made.set_defaults(run=run)


def _add_selection(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--elements", nargs="+", default=[], metavar="X", help="frames of these elements alone"
    )
    group.add_argument(
        "--formula", nargs="+", default=[], metavar="F", help="frames of one of these formulas"
    )
    group.add_argument(
        "--max-atoms", "--max_atoms", type=int, metavar="N", help="frames of at most N atoms"
    )
    group.add_argument(
        "--with",
        dest="labels",
        nargs="+",
        default=[],
        metavar="LABEL",
        help=f"frames that have all of these labels: {', '.join(LABELS)}",
    )
    group.add_argument(
        "--every", type=int, default=1, metavar="K", help="the first and every K-th after it"
    )
    group.add_argument("--first", type=int, metavar="N", help="at most N, from the start")
    group.add_argument("--random", type=int, metavar="N", help="N at random, in their order")
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of --random and --split (default: 0)"
    )


def _add_split(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--split",
        nargs="+",
        default=[],
        metavar="NAME=SIZE",
        help="write OUT_NAME for each of these parts; a size with a decimal point is a fraction "
        "of the frames, one without is their number; what is left over is not written",
    )
    group.add_argument(
        "--split-by",
        "--split_by",
        choices=list(UNITS),
        default="frame",
        help="what stays together: a frame; a formula; a molecule (the file's group, or else the "
        "graph of covalent bonds); or farthest-point: the first part are the frames farthest from "
        "each other by averaged SOAP, the others are random (default: %(default)s)",
    )


def run(chosen: argparse.Namespace) -> int:
    """Convert.

    Returns:
        Exit status.

    Raises:
        ValueError: what was asked for cannot be done.
    """
    from piwsl_plugins.data.convert import Conversion, convert
    from piwsl_plugins.data.plausibility import check_units
    from piwsl_plugins.data.readers import open_source
    from piwsl_plugins.data.selection import Selection
    from piwsl_plugins.data.splits import parse_sizes

    if chosen.seed < 0:
        raise DataError(f"--seed: got {chosen.seed}, expected a whole number from 0 on")
    conversion = Conversion(
        selection=Selection(
            elements=tuple(chosen.elements),
            formulas=tuple(chosen.formula),
            max_atoms=chosen.max_atoms,
            labels=tuple(chosen.labels),
            every=chosen.every,
            first=chosen.first,
            random=chosen.random,
            seed=chosen.seed,
        ),
        sizes=parse_sizes(chosen.split),
        split_by=chosen.split_by,
        seed=chosen.seed,
        names=label_names(chosen.write_as),
        force=chosen.force,
    )
    if chosen.split_by != "frame" and not chosen.split:
        raise DataError(f"--split-by {chosen.split_by} needs --split, e.g. train=0.9 test=0.1")
    source = open_source(chosen.file, data_settings(chosen))
    use_usual_names(source)
    check_units(source)
    done = convert(source, chosen.out, conversion, ["piwsl", "data", *chosen.words])
    for path, tally in done.tallies.items():
        labels = ", ".join(f"{n} {label}" for label, n in tally.labels.items() if n) or "no labels"
        print(f"{path}: {tally.frames} frames, {len(tally.formulas)} formulas; {labels}")
    print(done.manifest)
    if done.left_behind:
        listed = ", ".join(f"{key} ({n} frames)" for key, n in done.left_behind.items())
        print(
            f"not written, for no option names them as a label: {listed}",
            file=sys.stderr,
        )
    return 0


def label_names(words: Sequence[str]) -> dict[str, str]:
    """Names of labels.

    Args:
        words: ``energy=my_energy`` and so on.

    Returns:
        The name of every label, the usual one where no word gives another.

    Raises:
        DataError: an unknown label, or a name that is empty, not a word or another label's.
    """
    from piwsl_plugins.data.writers import NAMES

    names = dict(NAMES)
    for word in words:
        label, _, name = word.partition("=")
        if label not in NAMES:
            raise DataError(f"--write-as {word}: {unknown_name(label, NAMES, 'label')}")
        if not name.isidentifier():
            raise DataError(
                f"--write-as {word}: expected a name of letters, digits and underscores after '='"
            )
        names[label] = name
    repeated = [name for name in names.values() if list(names.values()).count(name) > 1]
    if repeated:
        raise DataError(f"--write-as: two labels would have the name {repeated[0]!r}")
    return names
