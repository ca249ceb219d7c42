"""Train MACE and NequIP by several methods on subsets of a data set, at equal time, and compare.

    python scripts/benchmark_accuracy.py scripts/benchmarks/acac.yaml --output results/acac \
        --hosts nequip --methods plain plain-energies taylor --sizes 50 100 --seeds 1 2 \
        --budgets 60 120

The file, if any, holds options of this command line, which win over it. A run is the host's real
``mace_run_train`` or ``nequip-train``; a method is a file in scripts/methods. ``--budgets`` are
seconds of training on a machine with nothing else to do (CPU time, on the CPU): what an epoch costs
is measured by short runs first, beside plain ones, and gives the number of epochs, over which the
learning rate falls. What has a record is not repeated, so that an interrupted benchmark goes on;
results.csv, summary.md and learning_curves.png in ``--output`` are of all records there.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark_costs import Costs
from benchmark_data import Source, free_atoms, read_frames, write_once
from benchmark_display import campaign
from benchmark_hosts import Setup, read_config
from benchmark_jobs import Job
from benchmark_methods import HOSTS, Method, read
from benchmark_plan import Benchmark, Case
from benchmark_records import rows, write_table
from benchmark_summary import summary
from benchmark_weak import weak_forces
from rich.console import Console

from piwsl_plugins.training.runs import RunFailedError

ROOT = Path(__file__).resolve().parents[1]
#: Options that are files, relative to the file of options that names them.
FILES = ("train", "weak_labels", "isolated_atoms", "nequip_config", "mace_config")

console = Console(highlight=False)


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, and the file of options that it may name.

    Args:
        words: Its words without the program; None for the real ones.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("preset", nargs="?", type=Path, help="YAML file with any of the options below")
    add("--train", type=Path, help="frames with REF_energy, and perhaps REF_forces")
    add("--weak-labels", type=Path, help="the same frames with weak_forces, for methods with those")
    add("--weak-method", default="gfn2-xtb", help="makes these where no file is given: %(default)s")
    add("--test", nargs="+", metavar="[NAME=]FILE", help="test frames with forces")
    add("--isolated-atoms", type=Path, help="energies of the free atoms")
    add("--dataset", help="what to call it (default: the name of the training file)")
    add("--output", type=Path, help="folder for everything that is made")
    add("--hosts", nargs="+", choices=HOSTS, default=list(HOSTS))
    add("--methods", nargs="+", default=["plain", "taylor"], help="names in scripts/methods")
    add("--sizes", nargs="+", type=int, help="numbers of frames (default: all)")
    add("--seeds", nargs="+", type=int, default=[1])
    add("--budgets", nargs="+", type=float, metavar="SECONDS", help="training times of a run")
    add("--epochs", type=int, help="equal epochs instead of equal time")
    add("--forces", default="none", help="none (default), all, or of how many training frames")
    add("--force-weight", type=float, default=1.0, help="per weight of the energies (%(default)s)")
    add("--validation", type=float, default=0.1, help="part of each size held back (%(default)s)")
    add("--batch-size", type=int, default=10, help="structures a step (%(default)s)")
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--dtype", default="float32", choices=["float32", "float64"])
    add("--at-once", type=int, default=1, help="runs side by side (%(default)s)")
    add("--environment", nargs="+", metavar="HOST=FOLDER", help="default: .venv/mace, .venv/nequip")
    add("--nequip-config", type=Path, default=ROOT / "configs" / "piwsl_nequip.yaml")
    add("--mace-config", type=Path, default=ROOT / "scripts" / "benchmarks" / "mace.yaml")
    add("--calibration-rounds", type=int, default=2, help="short runs a method (%(default)s)")
    add("--retry-failed", action="store_true", help="run again what has failed")
    add("--report-only", action="store_true", help="train nothing; make table and figure anew")
    preset = parser.parse_args(words).preset
    if preset is not None:
        known = {action.dest for action in parser._actions} - {"help", "preset"}
        try:
            parser.set_defaults(**read_preset(preset, known))
        except ValueError as error:
            parser.error(str(error))
    chosen = parser.parse_args(words)
    for name in ("train", "test", "isolated_atoms", "output"):
        if getattr(chosen, name) is None:
            parser.error(f"--{name.replace('_', '-')} is missing")
    if (chosen.budgets is None) == (chosen.epochs is None):
        parser.error("expected --budgets or --epochs, one of them")
    if min([*(chosen.budgets or [1]), chosen.epochs or 1, chosen.at_once]) <= 0:
        parser.error("--budgets, --epochs and --at-once must be above 0")
    return chosen


def read_preset(path: Path, known: set[str]) -> dict[str, Any]:
    """Options of a file, by their names with underscores; files relative to its folder.

    Raises:
        ValueError: There is no such file, or it has unknown options.
    """
    found = {key.replace("-", "_"): value for key, value in read_config(path).items()}
    for key in found:
        if key not in known:
            raise ValueError(f"{path}: there is no option {key}")
    for key in FILES:
        if key in found:
            found[key] = path.parent / found[key]
    if "test" in found:
        named = (split_name(text) for text in found["test"])
        found["test"] = [f"{name}={path.parent / file}" for name, file in named]
    return found


def split_name(text: str) -> tuple[str, Path]:
    """Name and file of ``NAME=FILE`` or ``FILE``."""
    name, found, file = text.rpartition("=")
    return (name if found else Path(file).stem), Path(file)


def environments(chosen: argparse.Namespace) -> dict[str, Path]:
    """The environment of each host: the one that was named, .venv/HOST, or that of this Python.

    Raises:
        ValueError: A word is not HOST=FOLDER.
    """
    found = {}
    for host in HOSTS:
        made = ROOT / ".venv" / host
        found[host] = made if made.is_dir() else Path(sys.executable).parents[1]
    for word in chosen.environment or []:
        host, _, folder = word.partition("=")
        if host not in HOSTS or not folder:
            raise ValueError(f"--environment: got {word!r}, expected mace=FOLDER or nequip=FOLDER")
        found[host] = Path(folder).absolute()
    return found


def benchmark(chosen: argparse.Namespace) -> Benchmark:
    """Read everything that the options name.

    Raises:
        ValueError: A file is missing or wrong.
    """
    folder = chosen.output.resolve()
    tests = {name: read_frames(path) for name, path in map(split_name, chosen.test)}
    if len(tests) != len(chosen.test):
        raise ValueError("--test: two files have one name; use NAME=FILE")
    if chosen.train.resolve() in (path.resolve() for _, path in map(split_name, chosen.test)):
        raise ValueError(f"--train and --test are one file, {chosen.train}; test on other frames")
    frames, weak = read_frames(chosen.train), None
    if any(read(name).weak_forces for name in chosen.methods) and not chosen.report_only:
        file, method = chosen.weak_labels, chosen.weak_method
        weak = weak_forces(chosen.train, frames, file, method, folder, console.print)
    made = Benchmark(
        folder=folder,
        dataset=chosen.dataset or chosen.train.stem,
        source=Source(
            frames=frames,
            forces=str(chosen.forces),
            validation=chosen.validation,
            folder=folder,
            weak=weak,
        ),
        setup=Setup(
            mace=read_config(chosen.mace_config),
            nequip=read_config(chosen.nequip_config),
            free_atoms=free_atoms(chosen.isolated_atoms),
            force_weight=chosen.force_weight,
            batch_size=chosen.batch_size,
            device=chosen.device,
            dtype=chosen.dtype,
        ),
        tests=tests,
        environments=environments(chosen),
        costs=Costs(path=folder / "costs.json", device=chosen.device),
    )
    write_once(made.test_file, [atoms for frames in tests.values() for atoms in frames])
    return made


def cases(chosen: argparse.Namespace, n_frames: int) -> list[Case]:
    """All runs, in an order in which what is compared stands side by side.

    Methods that a host or the labels do not suit are told and left out.
    """
    methods: list[Method] = [read(name) for name in chosen.methods]
    suitable = []
    for host in chosen.hosts:
        for method in methods:
            why = method.unsuitable(host, str(chosen.forces))
            if why:
                console.print(f"{method.name}, {host}: left out; {why}", markup=False)
            else:
                suitable.append((host, method))
    return [
        Case(host=host, method=method, size=size, seed=seed, budget=budget, epochs=chosen.epochs)
        for seed in chosen.seeds
        for size in chosen.sizes or [n_frames]
        for budget in sorted(chosen.budgets or [None])
        for host, method in suitable
    ]


def train(chosen: argparse.Namespace, made: Benchmark) -> None:
    """Measure what is not yet measured, and run what has no record.

    Raises:
        RunFailedError: A plain short run failed, without which nothing can be measured.
    """
    wanted = cases(chosen, len(made.source.frames))
    todo = [case for case in wanted if not made.is_done(case, chosen.retry_failed)]
    console.print(f"{len(wanted)} runs, {len(wanted) - len(todo)} of them already there")
    for place, (short, settings) in made.calibrations(todo, chosen.calibration_rounds):
        campaign(short, console, chosen.at_once, f"measuring {place}")
        made.costs.keep(place, settings)
    jobs: list[Job] = []
    for case in todo:
        try:
            jobs.append(made.job(case))
        except RunFailedError as error:
            made.fail(case, error)
    if jobs:
        campaign(jobs, console, chosen.at_once, "runs")


def report(made: Benchmark) -> None:
    """Write results.csv, summary.md and, where matplotlib is, learning_curves.png; tell of them."""
    table = rows(made.folder / "records")
    write_table(made.folder / "results.csv", table)
    text = summary(table)
    (made.folder / "summary.md").write_text(text, encoding="utf-8")
    console.print(text, markup=False, soft_wrap=True)
    names = ["results.csv", "summary.md"]
    if any(row["status"] == "done" for row in table):
        if importlib.util.find_spec("matplotlib") is None:
            console.print("no figure: pip install 'piwsl-plugins[evaluation]' brings matplotlib")
        else:
            from piwsl_plugins.evaluation.figures import save
            from piwsl_plugins.evaluation.learning_curves import learning_curves

            save(learning_curves(table, title=made.dataset), made.folder / "learning_curves.png")
            names.append("learning_curves.png")
    console.print(f"{made.folder}: {', '.join(names)}", soft_wrap=True, markup=False)


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark.

    Args:
        words: The command line without the program; None for the real one.
    """
    chosen = options(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the trainings end with us
    try:
        made = benchmark(chosen)
        if not chosen.report_only:
            train(chosen, made)
        report(made)
    except (ValueError, FileNotFoundError, RunFailedError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
