"""Train MACE and NequIP, plain and with the PIWSL loss, on the shipped energies; compare forces.

Run by ``make demo``. All trainings are the real ``mace_run_train`` and ``nequip-train``, two at a
time, one thread each, with configs/piwsl_mace.yaml and configs/piwsl_nequip.yaml; the plain runs
differ by the loss alone. Each host runs in its own environment. Ends with one table, one figure
(force_parity.png) and the numbers (metrics.json). An earlier result is shown again, and never
written over without ``--force``.
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
from evaluate_model import HOSTS
from nequip_runs import data_file, plain_config
from rich.console import Console

from piwsl_plugins.training.display import train
from piwsl_plugins.training.mace_runs import MaceRun
from piwsl_plugins.training.nequip_runs import NequipRun, write_config
from piwsl_plugins.training.runs import Run, RunFailedError

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
        "--hosts",
        nargs="+",
        choices=[host.lower() for host in HOSTS],
        default=[host.lower() for host in HOSTS],
        help="which to train (default: both)",
    )
    for host in HOSTS:
        name = host.lower()
        parser.add_argument(
            f"--{name}-config",
            type=Path,
            default=ROOT / "configs" / f"piwsl_{name}.yaml",
            help=f"{host} config with a PIWSL loss (default: configs/piwsl_{name}.yaml)",
        )
        parser.add_argument(
            f"--{name}-environment",
            type=Path,
            default=ROOT / ".venv" / name,
            help=f"environment that has {host} and this package (default: .venv/{name})",
        )
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "results" / "demo",
        help="folder for models, table and figure (default: results/demo)",
    )
    parser.add_argument("--epochs", type=int, help="epochs of all runs (default: the configs')")
    parser.add_argument("--seed", type=int, help="seed of all runs (default: the configs')")
    parser.add_argument("--force", action="store_true", help="remove an earlier result first")
    chosen = parser.parse_args(arguments)
    if chosen.epochs is not None and chosen.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {chosen.epochs}")
    return chosen


def read_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the runs are made of: the configs, and what the command line changes in them.

    Args:
        arguments: The command line.

    Returns:
        For each host, by its name: the config's file and content, the changes, the number of
        epochs, the test file, and the names of its labels.

    Raises:
        ValueError: There is no such config, it lacks a key that the comparison needs, its test
            file is missing, or the hosts' test files differ.
    """
    readers = {"MACE": _mace_settings, "NequIP": _nequip_settings}
    settings = {}
    for host in HOSTS:
        if host.lower() not in arguments.hosts:
            continue
        path: Path = getattr(arguments, f"{host.lower()}_config")
        if not path.is_file():
            raise ValueError(f"there is no config {path}")
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        try:
            found = readers[host](config, arguments)
        except KeyError as error:
            raise ValueError(f"{path} has no {error}") from error
        if not Path(found["test_file"]).is_file():
            raise ValueError(f"{path}: there is no test file {found['test_file']}")
        settings[host] = {"config_file": short(path), "config": config, **found}
    if len({found["test_file"] for found in settings.values()}) > 1:
        names = ", ".join(f"{host}: {found['test_file']}" for host, found in settings.items())
        raise ValueError(f"the configs have different test files ({names}): no comparison")
    return settings


def _mace_settings(config: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    wanted = {"max_num_epochs": arguments.epochs, "seed": arguments.seed}
    return {
        "changes": {
            key: value for key, value in wanted.items() if value not in (None, config.get(key))
        },
        "loss": config["loss"],
        "epochs": arguments.epochs or config["max_num_epochs"],
        "test_file": str((ROOT / config["test_file"]).resolve()),
        "energy_key": config.get("energy_key", "REF_energy"),
        "forces_key": config.get("forces_key", "REF_forces"),
    }


def _nequip_settings(config: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    data, module = config["data"], config["training_module"]
    wanted = {
        "trainer.max_epochs": (arguments.epochs, config["trainer"]["max_epochs"]),
        "data.seed": (arguments.seed, data["seed"]),
        "training_module.model.seed": (arguments.seed, module["model"]["seed"]),
    }
    labels = {ours: theirs for theirs, ours in (data.get("key_mapping") or {}).items()}
    return {
        "changes": {key: new for key, (new, old) in wanted.items() if new not in (None, old)},
        "loss": module["loss"]["_target_"],
        "epochs": arguments.epochs or config["trainer"]["max_epochs"],
        "test_file": str(data_file(data["test_file_path"], ROOT).resolve()),
        "energy_key": labels.get("total_energy", "energy"),
        "forces_key": labels.get("forces", "forces"),
    }


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


def make_runs(settings: dict[str, Any], folder: Path, environments: dict[str, Path]) -> list[Run]:
    """Two runs of each host, which differ by their names and the loss.

    NequIP's plain run has a config of its own, which is written into ``folder``.

    Args:
        settings: What the runs are made of.
        folder: Where they go.
        environments: Each host's environment, by the host's name.
    """
    runs: list[Run] = []
    for host, found in settings.items():
        kind, plain = (MaceRun, _mace_plain) if host == "MACE" else (NequipRun, _nequip_plain)
        start = ["--config"] if host == "MACE" else []
        changes = _options(host, found["changes"])
        for label, arguments, name in (
            (host, plain(found, folder), "plain"),
            (f"{host} + PIWSL", [found["config_file"]], "piwsl"),
        ):
            runs.append(
                kind(
                    label=label,
                    arguments=[*start, arguments[0], *changes, *arguments[1:]],
                    folder=Path(short(folder / f"{host.lower()}-{name}")),
                    root=ROOT,
                    epochs=found["epochs"],
                    programs=environments[host] / "bin",
                )
            )
    return runs


def _options(host: str, changes: dict[str, Any]) -> list[str]:
    if host == "NequIP":
        return [f"{key}={value}" for key, value in changes.items()]
    return [word for key, value in changes.items() for word in (f"--{key}", str(value))]


def _mace_plain(found: dict[str, Any], folder: Path) -> list[str]:
    return [found["config_file"], "--loss", found["config"].get("piwsl_base_loss", "weighted")]


def _nequip_plain(found: dict[str, Any], folder: Path) -> list[str]:
    path = folder / "nequip-plain.yaml"
    comment = f"{found['config_file']} without PIWSL: NequIP's own module, data module and loss"
    write_config(plain_config(found["config"]), path, comment)
    return [short(path)]


def train_and_judge(
    settings: dict[str, Any], folder: Path, environments: dict[str, Path]
) -> dict[str, Any]:
    """Do the whole work in a new folder.

    Args:
        settings: What the runs are made of.
        folder: Where everything goes; does not exist yet.
        environments: Each host's environment, by the host's name.

    Returns:
        The numbers as they stand in metrics.json.

    Raises:
        FileNotFoundError: An environment lacks its host; nothing was trained.
        RunFailedError: A training failed.
    """
    for host in settings:
        _check(host, environments[host])
    folder.mkdir(parents=True)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    runs = make_runs(settings, folder, environments)
    say(f"Training {len(runs)} models from energies alone, two at a time; some minutes:")
    for run in runs:
        say(f"  {shlex.join(run.command)}")
    train(runs, console)
    return evaluate(runs, settings, folder)


def _check(host: str, environment: Path) -> None:
    program = environment / "bin" / (MaceRun if host == "MACE" else NequipRun).program
    if not program.exists():
        raise FileNotFoundError(
            f"{short(program)} does not exist, so that {host} cannot be trained. `make demo` makes "
            f"its environment; another one is named by --{host.lower()}-environment, and "
            "--hosts leaves a host out"
        )


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
    environments = {host: getattr(chosen, f"{host.lower()}_environment") for host in HOSTS}
    try:
        settings = read_settings(chosen)
        folder = choose_folder(chosen.output, settings, force=chosen.force)
        metrics = _read(folder / METRICS)
        if metrics is None:
            metrics = train_and_judge(settings, folder, environments)
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
