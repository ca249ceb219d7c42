"""Train plain MACE and MACE with the PIWSL loss on the shipped energies, and compare their forces.

Run by ``make demo``. Both trainings are the real ``mace_run_train`` with configs/piwsl_mace.yaml,
side by side, one thread each; the plain one differs by ``--loss`` alone. Ends with one table, one
figure (force_parity.png) and the numbers (metrics.json). An earlier result is shown again, and
never written over without ``--force``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from demo_report import FIGURE, METRICS, evaluate, table
from mace_runs import MaceRun, RunFailedError
from rich.console import Console
from run_display import train

ROOT = Path(__file__).resolve().parents[1]
#: Beside the runs, what they are made of; --force removes no folder without it.
SETTINGS = "settings.json"

console = Console(highlight=False)


def say(text: str) -> None:
    """Print a line as it is, however long."""
    console.print(text, soft_wrap=True, markup=False)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: Its words without the program; None for the real ones.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--config",
        type=Path,
        default=ROOT / "configs" / "piwsl_mace.yaml",
        help="MACE config with a PIWSL loss (default: configs/piwsl_mace.yaml)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "results" / "demo",
        help="folder for models, table and figure (default: results/demo)",
    )
    parser.add_argument("--epochs", type=int, help="epochs of both runs (default: the config's)")
    parser.add_argument("--seed", type=int, help="seed of both runs (default: the config's)")
    parser.add_argument("--force", action="store_true", help="remove an earlier result first")
    chosen = parser.parse_args(arguments)
    if chosen.epochs is not None and chosen.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {chosen.epochs}")
    return chosen


def read_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the runs are made of: the config, and what the command line changes in it.

    Args:
        arguments: The command line.

    Raises:
        ValueError: There is no such config, it lacks a key that the comparison needs, or its test
            file is missing.
    """
    if not arguments.config.is_file():
        raise ValueError(f"there is no config {arguments.config}")
    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    for key in ("loss", "max_num_epochs", "test_file"):
        if key not in config:
            raise ValueError(f"{arguments.config} has no '{key}'")
    if not (ROOT / config["test_file"]).is_file():
        raise ValueError(f"{arguments.config}: there is no test_file {config['test_file']}")
    wanted = {"max_num_epochs": arguments.epochs, "seed": arguments.seed}
    changes = {key: value for key, value in wanted.items() if value not in (None, config.get(key))}
    return {"config_file": short(arguments.config), "config": config, "changes": changes}


def choose_folder(output: Path, settings: dict[str, Any], *, force: bool) -> Path:
    """Where the runs go: the folder of an equal result, or one that does not exist yet.

    Args:
        output: The folder asked for; ``output-2``, ``output-3``, ... are tried after it.
        settings: What the runs are made of.
        force: Remove ``output`` first, if this script made it.

    Raises:
        ValueError: ``output`` should be removed, but something else lies there.
    """
    if force and output.exists():
        if not (output / SETTINGS).is_file():
            raise ValueError(f"{output} was not made by this script; remove it by hand")
        shutil.rmtree(output)
    candidate, number = output, 1
    while candidate.exists():
        finished = (candidate / METRICS).is_file() and (candidate / FIGURE).is_file()
        if finished and _read(candidate / SETTINGS) == settings:
            return candidate
        what = "a result from other settings" if finished else "a run that did not finish"
        say(f"{short(candidate)} holds {what}; it stays as it is.")
        number += 1
        candidate = output.with_name(f"{output.name}-{number}")
    return candidate


def make_runs(settings: dict[str, Any], folder: Path) -> list[MaceRun]:
    """The two runs, which differ by their names and the loss.

    Args:
        settings: What the runs are made of.
        folder: Where they go.
    """
    shared = ["--config", settings["config_file"]]
    for key, value in settings["changes"].items():
        shared += [f"--{key}", str(value)]
    plain = [*shared, "--loss", settings["config"].get("piwsl_base_loss", "weighted")]
    return [
        MaceRun(label="MACE", arguments=plain, folder=Path(short(folder / "plain")), root=ROOT),
        MaceRun(
            label="MACE + PIWSL", arguments=shared, folder=Path(short(folder / "piwsl")), root=ROOT
        ),
    ]


def train_and_judge(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Do the whole work in a new folder.

    Args:
        settings: What the runs are made of.
        folder: Where everything goes; does not exist yet.

    Returns:
        The numbers as they stand in metrics.json.

    Raises:
        RunFailedError: A training failed.
    """
    folder.mkdir(parents=True)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    runs = make_runs(settings, folder)
    say("Training two models side by side, from energies alone; some minutes:")
    for run in runs:
        say(f"  {shlex.join(run.command)}")
    epochs = settings["changes"].get("max_num_epochs", settings["config"]["max_num_epochs"])
    train(runs, epochs, console)
    return evaluate(runs, settings, ROOT / settings["config"]["test_file"], folder)


def short(path: Path) -> str:
    """A path as people read it: relative to the repository where it lies inside."""
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: Words of the command line; None for the real ones.

    Returns:
        0 where all went well, 1 after an error, 130 when stopped by hand.
    """
    chosen = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the trainings end with us
    try:
        settings = read_settings(chosen)
        folder = choose_folder(chosen.output, settings, force=chosen.force)
        metrics = _read(folder / METRICS)
        if metrics is None:
            metrics = train_and_judge(settings, folder)
        else:
            say(f"This is the result of {metrics['made']}, shown again.")
            say("To train anew:  make demo DEMO_ARGS=--force")
    except (ValueError, FileNotFoundError, RunFailedError) as error:
        say(f"Error: {error}")
        return 1
    except KeyboardInterrupt:
        say("Stopped. Nothing goes on in the background.")
        return 130
    console.print(table(metrics))
    say(f"Figure:  {short(folder / FIGURE)}\nNumbers: {short(folder / METRICS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
