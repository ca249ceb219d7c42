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
import dataclasses
import importlib.util
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ase import Atoms
from benchmark_cases import Case
from benchmark_costs import Costs
from benchmark_data import Source
from benchmark_display import campaign
from benchmark_frames import free_atoms, read_frames, write_once
from benchmark_hosts import Setup, read_config
from benchmark_jobs import Job
from benchmark_methods import Method, read
from benchmark_options import environments, options, split_name
from benchmark_plan import Benchmark
from benchmark_records import rows, write_table
from benchmark_summary import summary
from benchmark_weak import LOW_ENERGY, cheap_labels
from rich.console import Console

from piwsl_plugins.settings import WEAK_FORCES
from piwsl_plugins.training.runs import RunFailedError

console = Console(highlight=False)


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
    frames = read_frames(chosen.train)
    made = Benchmark(
        folder=folder,
        dataset=chosen.dataset or chosen.train.stem,
        source=Source(
            frames=frames,
            forces=str(chosen.forces),
            validation=chosen.validation,
            folder=folder,
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
        low=chosen.weak_method,
    )
    together = [atoms for frames in tests.values() for atoms in frames]
    write_once(made.test_file, together)
    if not chosen.report_only:
        label(chosen, made, together)
    return made


def label(chosen: argparse.Namespace, made: Benchmark, tests: Sequence[Atoms]) -> None:
    """Have the frames labelled by the cheap method, where methods need it.

    Raises:
        ValueError: They cannot be.
    """
    methods, low = [read(name) for name in chosen.methods], chosen.weak_method
    data, tell = made.folder / "data", partial(console.print, markup=False, soft_wrap=True)
    names = [name for method in methods for name in method.cheap_labels]
    if names:
        file, place = chosen.weak_labels, data / f"weak-{Path(low).name}.xyz"
        names = sorted(set(names))
        frames = made.source.frames
        cheap = cheap_labels(chosen.train, frames, file, low, place, names, tell)
        made.source = dataclasses.replace(made.source, cheap=cheap)
    if any(method.difference for method in methods):
        file, place = chosen.weak_test_labels, data / f"weak-{Path(low).name}-test.xyz"
        names = [LOW_ENERGY, WEAK_FORCES]
        made.low_tests = cheap_labels(made.test_file, tests, file, low, place, names, tell)


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
