"""Train MACE and NequIP, plain and with a teacher, on the shipped energies; compare forces.

Run by ``make demo``. All trainings are the real ``mace_run_train`` and ``nequip-train``, two at a
time, one thread each, with configs/piwsl_mace_teacher.yaml and configs/piwsl_nequip_teacher.yaml;
the plain runs differ by the loss alone. Each host runs in its own environment. Ends with one
table, one figure (force_parity.png) and the numbers (metrics.json). An earlier result is shown
again, and never written over without ``--force``.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().with_name("benchmarks")))

from host_configs import plain_nequip, read_config
from host_runs import PROGRAMS, Run, host_run, run_all

from piwsl_plugins import datasets

if TYPE_CHECKING:
    from piwsl_plugins.evaluation.measure import Measured

ROOT = Path(__file__).resolve().parents[1]
HOSTS = {"mace": "MACE", "nequip": "NequIP"}
SETTINGS, METRICS, FIGURE = "settings.json", "metrics.json", "force_parity.png"
"""In the folder of a result: what the runs are made of (--force removes no folder without it),
and what came out."""
TEST_FILE = datasets.path("formaldehyde_ccsdt_cbs/test.xyz")

console = Console(highlight=False)


def say(text: str) -> None:
    """Print a line as it is, however long."""
    console.print(text, soft_wrap=True, markup=False)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--hosts", nargs="+", choices=list(HOSTS), default=list(HOSTS), help="(default: both)")
    for host, name in HOSTS.items():
        add(
            f"--{host}-environment",
            type=Path,
            default=ROOT / ".venv" / host,
            help=f"environment that has {name} and this package (default: .venv/{host})",
        )
    place = ROOT / "results" / "demo"
    add("--output", type=Path, default=place, help="folder (default: results/demo)")
    add("--epochs", type=int, help="epochs of all runs (default: the configs')")
    add("--seed", type=int, help="seed of all runs (default: the configs')")
    add("--force", action="store_true", help="remove an earlier result first")
    chosen = parser.parse_args(arguments)
    if chosen.epochs is not None and chosen.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {chosen.epochs}")
    return chosen


def read_settings(chosen: argparse.Namespace) -> dict[str, Any]:
    """What the runs are made of, by host: config, what the command line changes, and epochs."""
    found = {}
    for host in chosen.hosts:
        config = read_config(ROOT / "configs" / f"piwsl_{host}_teacher.yaml")
        names = {"max_num_epochs": chosen.epochs, "seed": chosen.seed}
        epochs = chosen.epochs or config.get("max_num_epochs")
        if host == "nequip":
            names = {"trainer.max_epochs": chosen.epochs, "data.seed": chosen.seed}
            names["training_module.model.seed"] = chosen.seed
            epochs = chosen.epochs or config["trainer"]["max_epochs"]
        changes = {name: value for name, value in names.items() if value is not None}
        found[host] = {"config": config, "changes": changes, "epochs": epochs}
    return found


def choose_folder(output: Path, settings: Mapping[str, Any], *, force: bool) -> Path:
    """Where the runs go: the folder of an equal result, or one that does not exist yet.

    Args:
        output: the folder asked for; ``output-2``, ``output-3``, ... are tried after it.
        settings: what the runs are made of.
        force: remove ``output`` first, if this script made it.

    Raises:
        ValueError: ``output`` should be removed, but something else lies there.
    """
    if force and output.exists():
        if not (output / SETTINGS).is_file():
            raise ValueError(f"{output} was not made by this script; remove it by hand")
        shutil.rmtree(output)
    for number in itertools.count(1):
        folder = output if number == 1 else output.with_name(f"{output.name}-{number}")
        finished = (folder / METRICS).is_file()
        if not folder.exists() or (
            finished and json.loads((folder / SETTINGS).read_text("utf-8")) == settings
        ):
            break
        what = "a result from other settings" if finished else "a run that did not finish"
        say(f"{short(folder)} holds {what}; it stays as it is.")
    return folder


def make_runs(settings: Mapping[str, Any], folder: Path, chosen: argparse.Namespace) -> list[Run]:
    """Two runs of each host, which differ by their names and the loss.

    NequIP's plain run has a config of its own, which is written into ``folder``.

    Args:
        settings: what the runs are made of.
        folder: where they go.
        chosen: the command line, with each host's environment.

    Raises:
        FileNotFoundError: an environment lacks its host.
    """
    runs = []
    for host, own in settings.items():
        programs = getattr(chosen, f"{host}_environment").absolute() / "bin"
        if not (programs / PROGRAMS[host]).exists():
            raise FileNotFoundError(
                f"{short(programs / PROGRAMS[host])} does not exist, so that {HOSTS[host]} cannot "
                f"be trained. `make demo` makes its environment; another one is named by "
                f"--{host}-environment, and --hosts leaves a host out"
            )
        config, changes = f"configs/piwsl_{host}_teacher.yaml", own["changes"].items()
        if host == "mace":
            words = ["--config", config, *(w for k, v in changes for w in (f"--{k}", str(v)))]
            plain = [*words, "--loss", own["config"].get("piwsl_base_loss", "weighted")]
        else:
            file = folder / "nequip-plain.yaml"
            text = yaml.safe_dump(plain_nequip(own["config"]), sort_keys=False, width=100)
            comment = f"# {config} without PIWSL: NequIP's own module, data module and loss\n"
            file.write_text(comment + text, encoding="utf-8")
            words = [config, *(f"{key}={value}" for key, value in changes)]
            plain = [short(file), *words[1:]]
        for label, arguments, name in (
            (HOSTS[host], plain, "plain"),
            (f"{HOSTS[host]} + teacher", words, "teacher"),
        ):
            place = folder / f"{host}-{name}"
            how = {"root": ROOT, "programs": programs, "epochs": own["epochs"]}
            runs.append(host_run(host, label, arguments, place, **how))
    return runs


def train_and_judge(
    settings: Mapping[str, Any], folder: Path, chosen: argparse.Namespace
) -> dict[str, Any]:
    """Do the whole work in a new folder.

    Returns:
        The numbers as they stand in metrics.json.

    Raises:
        FileNotFoundError: an environment lacks its host; nothing was trained.
        ValueError: a training failed, or a model could not be evaluated.
    """
    folder.mkdir(parents=True)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    runs = make_runs(settings, folder, chosen)
    say(f"Training {len(runs)} models from energies alone, two at a time; some minutes:")
    for run in runs:
        say(f"  {shlex.join(run.command)}")

    def ended(run: Run) -> None:
        if run.failed:
            raise ValueError(run.failed)

    run_all(runs, 2, say, ended)
    measured = judge(runs, chosen)
    models = {}
    for run in runs:
        (found,) = measured[run.label].numbers["test_sets"].values()
        models[run.label] = {
            "command": shlex.join(run.command),
            "epochs": run.epochs,
            "wall_clock_s": round(run.seconds, 1),
            **{key: found[key] for key in ("energy_mev", "force_mev_per_angstrom", "force_slope")},
        }
    metrics = {
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "test_frames": models[runs[0].label]["energy_mev"]["n"],
        "models": models,
    }
    draw(measured, folder / FIGURE)
    (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return metrics


def judge(runs: Sequence[Run], chosen: argparse.Namespace) -> dict[str, Measured]:
    """What the trained models predict of the test frames, each in its host's environment."""
    # late, because it brings torch: seconds that nobody needs to see an earlier result again
    from piwsl_plugins.data.settings import DataSettings
    from piwsl_plugins.evaluation.measure import EvaluateSettings, Job, measure_elsewhere

    job = Job(
        data={"test": TEST_FILE},
        labels=DataSettings(energy="REF_energy", forces="REF_forces"),
        settings=EvaluateSettings(probes=0, nve_steps=0),
    )
    measured: dict[str, Measured] = {}
    for host in chosen.hosts:
        python = str(getattr(chosen, f"{host}_environment").absolute() / "bin" / "python")
        models = {run.label: run.model for run in runs if run.command[0] == PROGRAMS[host]}
        measured |= measure_elsewhere(python, HOSTS[host], job, models)
    return measured


def draw(measured: Mapping[str, Measured], path: Path) -> None:
    """Draw predicted against reference forces of all models."""
    from piwsl_plugins.evaluation.figures import parity

    clouds = {name: one.arrays["set0_forces"] for name, one in measured.items()}
    slopes = {n: one.numbers["test_sets"]["test"]["force_slope"] for n, one in measured.items()}
    slopes = {name: slope["slope"] for name, slope in slopes.items() if slope}
    parity(clouds, "force (eV/Å)", list(clouds), slopes).savefig(path, dpi=150)


def table(metrics: Mapping[str, Any]) -> Table:
    """The comparison as people read it: one column a model; four of them fit in 80 characters."""
    result = Table(
        title=f"{metrics['test_frames']} test frames that no training has seen",
        caption="force slope: predicted against reference forces; 1 is right, below is too soft",
    )
    result.add_column("", no_wrap=True)
    models = metrics["models"]
    for label in models:
        result.add_column(label, justify="right")
    for name, digits, *keys in (
        ("energy RMSE (meV)", 1, "energy_mev", "rmse"),
        ("force RMSE (meV/Å)", 1, "force_mev_per_angstrom", "rmse"),
        ("force slope", 3, "force_slope", "slope"),
        ("wall-clock (s)", 0, "wall_clock_s"),
        ("epochs", 0, "epochs"),
    ):
        values = (functools.reduce(dict.__getitem__, keys, model) for model in models.values())
        result.add_row(name, *(f"{value:.{digits}f}" for value in values))
    return result


def short(path: Path) -> str:
    """A path as people read it: relative to the repository where it lies inside."""
    path = path.absolute()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Returns:
        0 where all went well, 1 after an error, 130 when stopped by hand.
    """
    chosen = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the trainings end with us
    try:
        settings = read_settings(chosen)
        folder = choose_folder(chosen.output.absolute(), settings, force=chosen.force)
        if folder.exists():
            metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
            say(f"This is the result of {metrics['made']}, shown again.")
            say("To train anew:  make demo DEMO_ARGS=--force")
        else:
            metrics = train_and_judge(settings, folder, chosen)
    except (ValueError, OSError) as error:
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
