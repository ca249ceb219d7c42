"""``piwsl weak correct``: labels of a cheap method plus the mean of models of the difference."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from piwsl_plugins.commands import LAYOUT

PROGRAM = "piwsl weak correct"
DESCRIPTION = """\
Add the mean of models of the difference to the labels of a cheap method, as 'piwsl weak label'
writes them: target_energy, target_forces and, in a cell, target_stress, in eV and angstrom. A frame
about which the models disagree gets less weight (config_weight, which MACE reads: the square of the
median disagreement over its own, at most 1), or is left out. The disagreement is written too:
energy_std (eV per atom), forces_std (eV/angstrom, over all components) and max_forces_std (of the
worst atom)."""


def add_to(commands: Any) -> None:  # noqa: ANN401  argparse's own type is private
    """Add the command to those of ``piwsl weak``."""
    made = commands.add_parser(
        "correct",
        help="labels of a cheap method plus the mean of models of the difference",
        description=DESCRIPTION,
        **LAYOUT,
    )
    made.set_defaults(run=run, program=PROGRAM)
    add = made.add_argument
    add("file", type=Path, metavar="FILE", help="frames that 'piwsl weak label' has labelled")
    add(
        "--delta",
        type=Path,
        required=True,
        metavar="FILE",
        help="names the models (.json), as 'piwsl weak train' writes it",
    )
    add("-o", "--output", type=Path, required=True, metavar="OUT", help="extended xyz, .xyz")
    add("--force", action="store_true", help="overwrite OUT")
    add(
        "--max-forces-std",
        type=float,
        metavar="X",
        help="leave out frames with a larger max_forces_std, eV/angstrom (default: five times the "
        "median)",
    )
    add("--keep-all", action="store_true", help="leave no frame out")
    add("--no-weights", action="store_true", help="write no config_weight")
    add("--device", default="cpu", help="cpu or cuda (default: %(default)s)")


def run(chosen: argparse.Namespace) -> int:
    """Run the command.

    Args:
        chosen: Its options.

    Returns:
        Exit status 0.

    Raises:
        ValueError: Whatever is wrong with options, files or models.
    """
    # late, for --help must not wait for ASE
    from piwsl_plugins.data.outputs import Outputs
    from piwsl_plugins.weak.correct import CorrectSettings, correct

    settings = CorrectSettings(
        max_forces_std=chosen.max_forces_std,
        weigh=not chosen.no_weights,
        keep_all=chosen.keep_all,
    )
    outputs = Outputs([chosen.output], force=chosen.force, sources=[chosen.file, chosen.delta])
    with outputs:
        out = outputs.temporary(chosen.output)
        found = correct(chosen.file, chosen.delta, out, settings, chosen.device)
    for line in found.lines():
        print(f"{chosen.output}: {line}")
    return 0
