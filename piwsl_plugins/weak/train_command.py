"""``piwsl weak train``: from a file of energies to an ordinary model, by way of a difference."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from piwsl_plugins.commands import LAYOUT

PROGRAM = "piwsl weak train"
STAGES = ("data", "label", "delta", "committee", "sample", "weak", "distil", "student", "report")
DESCRIPTION = """\
Go the whole way from energies of an expensive method to an ordinary MACE or NequIP model:
  data       read, check and split the files
  label      label the frames by a cheap method
  delta      train the host on the energies alone, for comparison, and a committee of models on the
             difference of both methods
  committee  name cheap method and models in one file, which ASE can use as it is
  sample     sample new geometries by the two together
  weak       label them by the two together; leave out those on which the models disagree
  distil     put these and the original energies together
  student    train the host on them: an ordinary model
  report     compare plain training, cheap method with difference, and student
Each stage prints its command, which can be run by hand, and is done once: the same command goes on
after an interruption. Where an input has changed, the stages that depend on it are done anew, and
what they had left is moved aside."""
EPILOG = """\
examples:
  piwsl weak train configs/piwsl_weak_mace.yaml
  piwsl weak train configs/piwsl_weak_nequip.yaml --set committee.members=2 sample.select=100
  piwsl weak train my.yaml --until label"""


def add_to(commands: Any) -> None:  # noqa: ANN401  argparse's own type is private
    """Add the command to those of ``piwsl weak``."""
    made = commands.add_parser(
        "train",
        help="from energies to an ordinary model, by a cheap method, a difference and a student",
        description=DESCRIPTION,
        epilog=EPILOG,
        **LAYOUT,
    )
    made.set_defaults(run=run, program=PROGRAM)
    add = made.add_argument
    add(
        "config", type=Path, metavar="CONFIG", help="YAML; configs/piwsl_weak_mace.yaml explains it"
    )
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="keys of the config set otherwise, dotted, with values as in YAML",
    )
    add("--until", choices=STAGES, default=STAGES[-1], metavar="STAGE", help=", ".join(STAGES))
    add("--output", metavar="FOLDER", help="instead of the config's output")
    add("--environment", metavar="PATH", help="virtual environment that has the host")
    add("--min-correlation", type=float, metavar="R", help="instead of low_level.min_correlation")


def run(chosen: argparse.Namespace) -> int:
    """Run the command.

    Args:
        chosen: Its options.

    Returns:
        Exit status: 0, or 2 after a message of what has failed.

    Raises:
        ValueError: Whatever is wrong with config or data.
    """
    # late, for --help must not wait for ASE
    from rich.console import Console

    from piwsl_plugins.training.runs import RunFailedError
    from piwsl_plugins.weak.pipeline import Pipeline
    from piwsl_plugins.weak.settings import read_settings
    from piwsl_plugins.weak.workspace import StageFailedError, open_workspace

    overrides = _overrides(chosen)
    settings = read_settings(chosen.config, overrides)
    words = [str(chosen.config)] + ["--set", *chosen.set] * bool(chosen.set)
    for option in ("output", "environment", "min_correlation"):
        value = getattr(chosen, option)
        words += [] if value is None else [f"--{option.replace('_', '-')}", str(value)]
    workspace = open_workspace(settings, chosen.config, words)
    try:
        Pipeline(workspace, Console()).run(chosen.until)
    except (StageFailedError, RunFailedError) as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 2
    return 0


def _overrides(chosen: argparse.Namespace) -> dict[str, Any]:
    """Values by dotted key."""
    import yaml

    found: dict[str, Any] = {}
    for word in chosen.set:
        key, separator, text = word.partition("=")
        if not separator or not key:
            raise ValueError(f"--set {word}: expected KEY=VALUE, as committee.members=2")
        try:
            found[key] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {word}: the value is no YAML: {error}") from error
    given = {
        "output": chosen.output,
        "environment": chosen.environment,
        "low_level.min_correlation": chosen.min_correlation,
    }
    return found | {key: value for key, value in given.items() if value is not None}
