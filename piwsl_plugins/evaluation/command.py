"""``piwsl evaluate``: trained models side by side on labelled frames."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piwsl_plugins.commands import LAYOUT, exit_status_of

if TYPE_CHECKING:
    from piwsl_plugins.evaluation.measure import Stage

PROGRAM = "piwsl evaluate"
DESCRIPTION = """\
Measure trained models of MACE and NequIP (and Allegro) on labelled frames, side by side: errors of
energies, forces and stress, per element and configuration type; softening; whether the forces are
the gradient of the energy and do no work around closed loops; drift in dynamics. Labels that are
absent are left out. Writes evaluation.json and report.html, and prints a table."""
EPILOG = """\
examples:
  piwsl evaluate my_model.model --data test.xyz
  piwsl evaluate plain=a/best.ckpt taylor=b/best.ckpt --data 300K=cold.xyz --data 1000K=hot.xyz
  piwsl evaluate mace.model best.ckpt --data test.xyz --environment nequip=path/to/venv
  piwsl evaluate my.model --data test.xyz --reference 'tblite.ase.TBLite:{"method":"GFN2-xTB"}'

MACE and NequIP cannot be installed together: run the command where one of them is, and name the
other's environment, which needs this package too, by --environment."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EPILOG,
        **LAYOUT,
    )
    made.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="NAME.model or NAME_compiled.model of MACE; checkpoint (.ckpt), package (.nequip.zip) "
        "or compiled model (.nequip.pt2) of NequIP; also as NAME=FILE",
    )
    made.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="FILE",
        help="labelled frames, any file that ASE reads; may be repeated, also as NAME=FILE",
    )
    made.add_argument(
        "--output",
        type=Path,
        default=Path("piwsl-evaluation"),
        metavar="FOLDER",
        help="folder of evaluation.json and report.html (default: %(default)s)",
    )
    made.add_argument("--force", action="store_true", help="overwrite an earlier report there")
    _add_labels(made.add_argument_group("labels"))
    _add_models(made.add_argument_group("models"))
    _add_measurements(made.add_argument_group("measurements"))
    _add_report(made.add_argument_group("report"))
    return made


def _add_labels(group: argparse._ArgumentGroup) -> None:
    usual = "default: REF_{0}, or {0}, whichever the file has"
    units = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³; 3x3, 9 or Voigt 6 numbers"}
    for quantity, unit in units.items():
        group.add_argument(
            f"--{quantity}-key",
            metavar="KEY",
            help=f"label of the {quantity}, {unit} ({usual.format(quantity)})",
        )
    group.add_argument(
        "--config-type-key", metavar="KEY", help="kind of configuration (default: config_type)"
    )


def _add_models(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--environment",
        action="append",
        default=[],
        metavar="HOST=PATH",
        help="virtual environment, or its Python, in which models of mace or nequip are measured",
    )
    group.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    group.add_argument(
        "--dtype",
        choices=["float32", "float64"],
        help="number format of MACE's models (default: a model's own); NequIP's keep theirs",
    )


def _add_measurements(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--quick", action="store_true", help="errors and slopes alone: --probes 0 --nve-steps 0"
    )
    group.add_argument(
        "--reference",
        metavar="CALCULATOR",
        help="for the curvature along random directions: a model file, or the import path of an "
        'ASE calculator, with arguments as MODULE.CLASS:{"name": value}; without it, the '
        "curvature is that between pairs of frames",
    )
    group.add_argument(
        "--probes",
        type=int,
        default=20,
        metavar="N",
        help="frames, evenly spaced over the data, for curvature, loops and finite differences "
        "(default: %(default)s; 0 leaves them out)",
    )
    group.add_argument(
        "--nve-steps",
        type=int,
        default=1000,
        metavar="N",
        help="steps of dynamics at constant energy, from the first frame (default: %(default)s; "
        "0 leaves it out)",
    )
    group.add_argument(
        "--nve-temperature",
        type=float,
        default=300.0,
        metavar="K",
        help="of the initial velocities (default: %(default)s)",
    )
    group.add_argument(
        "--nve-timestep", type=float, default=0.5, metavar="FS", help="(default: %(default)s)"
    )
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of directions, loops, velocities and bootstraps (default: %(default)s)",
    )


def _add_report(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="training log of a model, where it is not found beside the model file: MACE's "
        "results/*_train.txt, NequIP's metrics.csv",
    )
    group.add_argument(
        "--learning-curves",
        type=Path,
        metavar="CSV",
        help="table of errors by host, method, train_size and seed, drawn in the report",
    )


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: Words after ``piwsl evaluate``.

    Returns:
        Exit status: 0; 2 after a message about what was wrong; 130 or 143 where it was interrupted.
    """
    # Late, for --help must not wait for torch.
    if list(arguments[:1]) == ["--job"]:  # this process works for another one of this command
        from piwsl_plugins.evaluation.jobs import run_handed_over

        return _told(lambda stage: run_handed_over(Path(arguments[1]), stage))
    chosen = parser().parse_args(arguments)

    found: dict[str, Any] = {}

    def run(stage: Stage) -> None:
        from piwsl_plugins.evaluation.evaluate import evaluate

        found.update(evaluate(chosen, stage))

    status = _told(run)
    if status == 0:  # once the bar is gone, which would take it to stderr
        _show(found["models"], chosen.output)
    return status


def _show(models: Mapping[str, Any], folder: Path) -> None:
    """Print the table, and where the report is."""
    from rich.console import Console

    from piwsl_plugins.evaluation.evaluate import HTML, JSON
    from piwsl_plugins.evaluation.tables import terminal_table

    console = Console()
    console.print(terminal_table(models, console.width))
    print(f"{folder / HTML}\n{folder / JSON}")


def _told(run: Callable[[Stage], None]) -> int:
    """Run with a progress bar; an error about the input is one message."""
    from piwsl_plugins.evaluation.jobs import EndedElsewhereError

    def measure() -> int:
        try:
            with progress() as stage:
                run(stage)
        except EndedElsewhereError:
            return 2
        return 0

    return exit_status_of(PROGRAM, measure)


@contextmanager
def progress() -> Iterator[Stage]:
    """A progress bar on stderr that shows the latest stage; plain lines where it is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        shown: list[Any] = []

        def stage(what: str, total: int) -> Callable[[], object]:
            if not console.is_terminal:
                print(what, file=sys.stderr, flush=True)
            while shown:
                bar.remove_task(shown.pop())
            shown.append(bar.add_task(what, total=total or None))
            return lambda: bar.advance(shown[-1]) if shown else None

        yield stage
