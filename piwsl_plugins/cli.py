"""The ``piwsl`` command: one table of subcommands, and how each of them ends."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from piwsl_plugins import __version__

COMMANDS = {
    "inspect": ("data.inspect", "what is in a file of energies and geometries, and what is wrong"),
    "convert": ("data.convert", "write such a file as extxyz or an ASE database, with splits"),
    "label": ("teacher.label", "labels of a cheap method, such as GFN2-xTB, beside the energies"),
    "sample": ("teacher.sampling", "new geometries by dynamics, normal modes or random moves"),
    "select": ("teacher.select", "the geometries whose energies say most, before any is computed"),
    "train": ("teacher.train", "from energies to an ordinary model by way of a teacher"),
    "evaluate": ("evaluation.command", "measure trained models side by side, and write a report"),
    "lammps": ("lammps.command", "run a LAMMPS input file with an exported model as potential"),
    "config": ("templates.command", "copy a commented configuration of a host"),
    "mace-train": ("hosts.mace.command", "mace_run_train where Python reads no .pth files"),
}
"""Name, module below ``piwsl_plugins`` and one line of help of each command.

Such a module has a docstring (the command's description), ``add_options(parser)`` and
``run(options) -> int``; it is imported only when its command was named.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; what is wrong with its input is one message on stderr, as is an interruption.

    Returns:
        Exit status: that of the command; 2 after a ``ValueError`` or ``OSError``; 130 or 143 where
        it was interrupted by Ctrl-C or SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    if name not in COMMANDS:
        parser = _overview()
        if name and not name.startswith("-"):
            from piwsl_plugins.fields import unknown_name  # pydantic takes its time to import

            parser.error(unknown_name(name, COMMANDS, "command"))
        parser.parse_args(arguments)
        return 0
    module = importlib.import_module(f"piwsl_plugins.{COMMANDS[name][0]}")
    parser = argparse.ArgumentParser(
        prog=f"piwsl {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if name == "mace-train":  # what follows is MACE's: options, --help, errors and interruptions
        return int(module.run(argparse.Namespace(arguments=arguments[1:])))
    module.add_options(parser)
    options = parser.parse_args(arguments[1:])
    try:
        with _terminated_like_interrupted():
            return int(module.run(options))
    except (ValueError, OSError) as error:
        print(f"piwsl {name}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print(f"piwsl {name}: interrupted; rerun to resume", file=sys.stderr)
        return 128 + int(interruption.args[0] if interruption.args else signal.SIGINT)


def _overview() -> argparse.ArgumentParser:
    """The parser of ``piwsl`` alone: its help, its version, and names that do not exist."""
    parser = argparse.ArgumentParser(
        prog="piwsl", description="Train MACE, NequIP and Allegro from energies alone."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (_, meaning) in COMMANDS.items():
        commands.add_parser(name, help=meaning, add_help=False)
    return parser


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM, as batch systems send it, end what goes inside as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
