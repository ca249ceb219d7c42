"""The ``piwsl`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from piwsl_plugins import __version__


def _mace_train(arguments: list[str]) -> int:
    """Run MACE's own training command with the PIWSL losses registered by hand."""
    try:
        import torch  # noqa: F401  the hooks must be in place before MACE, and after torch

        from piwsl_plugins.hosts.mace.seams import install

        install()
        from mace.cli.run_train import main as run_train
    except ModuleNotFoundError as error:
        print(
            f"piwsl mace-train: error: {error.name} is not installed; "
            "pip install 'piwsl-plugins[mace]'",
            file=sys.stderr,
        )
        return 2
    sys.argv = ["mace_run_train", *arguments]
    run_train()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments without the program's name; default, those of the process.

    Returns:
        Exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["mace-train"]:  # everything after it is MACE's, --help included
        return _mace_train(arguments[1:])
    if arguments[:1] == ["data"]:
        from piwsl_plugins.data.command import main as data

        return data(arguments[1:])
    if arguments[:1] == ["evaluate"]:
        from piwsl_plugins.evaluation.command import main as evaluate

        return evaluate(arguments[1:])
    if arguments[:1] == ["lammps"]:
        from piwsl_plugins.deploy.command import main as lammps

        return lammps(arguments[1:])
    if arguments[:1] == ["weak"]:
        from piwsl_plugins.weak.command import main as weak

        return weak(arguments[1:])
    parser = argparse.ArgumentParser(prog="piwsl", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    commands.add_parser(
        "data",
        help="what is in a file of energies and geometries, and its conversion, with splits; "
        "'piwsl data --help' lists what there is",
        add_help=False,
    )
    commands.add_parser(
        "evaluate",
        help="measure trained models of MACE and NequIP side by side, and write a report; "
        "'piwsl evaluate --help' explains every option",
        add_help=False,
    )
    commands.add_parser(
        "lammps",
        help="run a LAMMPS input file with an exported model as potential, without compiling; "
        "'piwsl lammps --help' explains every option",
        add_help=False,
    )
    commands.add_parser(
        "mace-train",
        help="mace_run_train with the PIWSL losses, also where "
        "TORCH_DEVICE_BACKEND_AUTOLOAD=0 switches entry points of torch off; "
        "'piwsl mace-train --help' explains every flag",
        add_help=False,
    )
    commands.add_parser(
        "weak",
        help="labels of a cheap method, such as GFN2-xTB, beside the energies of a better one; "
        "'piwsl weak --help' lists what there is",
        add_help=False,
    )
    parser.parse_args(arguments)
    return 0
