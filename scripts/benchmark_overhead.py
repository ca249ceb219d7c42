"""Time and peak memory of one optimiser step, plain and with each loss, as ratios with spread.

    .venv/mace/bin/python scripts/benchmark_overhead.py mace
    .venv/nequip/bin/python scripts/benchmark_overhead.py nequip --systems molecule crystal

The plain step on energies and forces counts 1. All steps are the host's own, in one process, on
one batch, in turn: a round times a few steps of each, so that a drift of the machine's speed
cancels in the round's ratios; the table has their median and range over the rounds. Memory is the
peak of what a step's tensors take, weights and optimiser left out. Labels are made up: they change
nothing here.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import ase.build
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

TERMS = {
    "taylor": ("taylor",),
    "conservative": ("conservative",),
    "both": ("taylor", "conservative"),
    "curvature": ("curvature",),
}
WHOLE: dict[str, dict[str, Any]] = {
    "whole batch": {"batch_fraction": 1.0},
    "whole batch, order 1": {"batch_fraction": 1.0, "order": 1},
    "whole batch, hessian": {"batch_fraction": 1.0, "second_order": "hessian"},
}
PLAIN = "plain, energies and forces"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One kind of step."""

    name: str
    terms: tuple[str, ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    forces: bool = True
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


def variants(host: str, system: str, whole: bool) -> list[Variant]:
    """What is compared; curvature is known of covalent molecules alone.

    Args:
        host: mace or nequip.
        system: molecule or crystal.
        whole: whether to add the terms on the whole batch.
    """
    kinds = {
        name: terms for name, terms in TERMS.items() if system == "molecule" or name != "curvature"
    }
    found = [Variant(name=PLAIN)]
    found += [Variant(name=f"{name}, with forces", terms=terms) for name, terms in kinds.items()]
    if whole:
        found += [
            Variant(name=f"{name}, {how}, with forces", terms=terms, settings=settings)
            for (name, terms), (how, settings) in itertools.product(kinds.items(), WHOLE.items())
            if name != "curvature" or settings.keys() == {"batch_fraction"}
        ]
    extra = {"derivatives": False} if host == "nequip" else {}
    found.append(Variant(name="plain, energies", forces=False, extra=extra))
    found += [
        Variant(name=f"{name}, energies", terms=terms, forces=False)
        for name, terms in kinds.items()
    ]
    return found


def structures(system: str, number: int, cells: int) -> list[ase.Atoms]:
    """Rattled structures with made-up labels.

    Args:
        system: ``molecule`` (trimethylamine and a hydrogen molecule: 15 atoms) or ``crystal``
            (silicon).
        number: how many.
        cells: edge of the crystal in cubic cells of 8 atoms.
    """
    frames = []
    for seed in range(number):
        if system == "molecule":
            atoms = ase.build.molecule("C3H9N")
            atoms += ase.build.molecule("H2")
            atoms.positions[-2:] += (3.0, 0.0, 0.0)
        else:
            atoms = ase.build.bulk("Si", cubic=True) * (cells, cells, cells)
        atoms.rattle(0.05, seed=seed)
        atoms.info["REF_energy"] = 0.1 * seed
        atoms.arrays["REF_forces"] = np.zeros((len(atoms), 3))
        frames.append(atoms)
    return frames


def peak_memory(step: Callable[[int], None], device: str) -> float:
    """Peak of the memory that the tensors of one step take beyond what is there before it, MB."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(1)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        step(1)
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    sizes = np.cumsum([event.nbytes() for event in events])
    return float(sizes.max(initial=0)) / 2**20


def measure(
    steps: dict[str, Callable[[int], None]], options: argparse.Namespace, told: Callable[[], None]
) -> dict[str, dict[str, list[float]]]:
    """Seconds a step in each round, and peak memory, of each kind of step."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, step in steps.items():
        step(options.steps)  # what is made once is made now
        found[name] = {"seconds": [], "memory": [peak_memory(step, options.device)]}
    for _ in range(options.rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step(options.steps)
            if options.device == "cuda":
                torch.cuda.synchronize()
            found[name]["seconds"].append((time.perf_counter() - start) / options.steps)
            told()
    return found


def rows_of(
    found: dict[str, dict[str, list[float]]], labels: dict[str, Any]
) -> list[dict[str, Any]]:
    """One row a kind of step: milliseconds, and ratios to the plain step round by round."""
    plain, rows = found[PLAIN], []
    for name, values in found.items():
        ratios = [a / b for a, b in zip(values["seconds"], plain["seconds"], strict=True)]
        rows.append(
            {
                **labels,
                "step": name,
                "ms": 1000.0 * statistics.median(values["seconds"]),
                "time_ratio": statistics.median(ratios),
                "time_ratio_min": min(ratios),
                "time_ratio_max": max(ratios),
                "memory_mb": values["memory"][0],
                "memory_ratio": values["memory"][0] / plain["memory"][0],
            }
        )
    return rows


def show(rows: Sequence[dict[str, Any]], title: str, console: Console) -> None:
    """Print a table."""
    table = Table(title=title)
    table.add_column("step", no_wrap=True)
    for heading in ("ms", "time", "range", "memory (MB)", "memory"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["step"],
            f"{row['ms']:.1f}",
            f"{row['time_ratio']:.2f}",
            f"{row['time_ratio_min']:.2f}-{row['time_ratio_max']:.2f}",
            f"{row['memory_mb']:.1f}",
            f"{row['memory_ratio']:.2f}",
        )
    console.print(table)


def main() -> int:
    """Measure all combinations."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("host", choices=("mace", "nequip"))
    parser.add_argument("--models", nargs="+", choices=("small", "large"), default=["small"])
    parser.add_argument(
        "--systems", nargs="+", choices=("molecule", "crystal"), default=["molecule"]
    )
    parser.add_argument("--cells", type=int, default=2, help="edge of the crystal, in cubic cells")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[10])
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "float64"), default=["float32"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="steps of each kind in a round")
    parser.add_argument("--whole", action="store_true", help="also the terms on the whole batch")
    parser.add_argument("--output", type=Path, help="table of all of it (.csv); must not exist")
    options = parser.parse_args()
    if options.output and options.output.exists():
        parser.error(f"--output {options.output} exists; choose another file")
    host = import_module(f"overhead_{options.host}")
    console, rows = Console(), []
    for size, system, batch, dtype in itertools.product(
        options.models, options.systems, options.batch_sizes, options.dtypes
    ):
        frames = structures(system, batch, options.cells)
        kinds = variants(options.host, system, options.whole)
        common = {"size": size, "dtype": dtype, "device": options.device}
        steps = {
            v.name: host.make_step(
                frames, terms=v.terms, settings=v.settings, forces=v.forces, **common, **v.extra
            )
            for v in kinds
        }
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("measuring", total=options.rounds * len(kinds))
            found = measure(steps, options, partial(bar.advance, task))
        labels = {"host": options.host, "model": size, "system": system, "atoms": len(frames[0])}
        labels |= {"batch_size": batch, "dtype": dtype, "device": options.device}
        these = rows_of(found, labels)
        rows += these
        title = f"{size} {options.host} model, {batch} {system}s of {len(frames[0])} atoms, {dtype}"
        show(these, f"{title}, {options.device}; ratios to the first row", console)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        with options.output.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
