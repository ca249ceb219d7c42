"""Forces of the linear teacher from energies that were selected: optimal design against chance.

  python scripts/benchmarks/selection.py acac train_300K.xyz test_300K.xyz --low gfn2-xtb
  python scripts/benchmarks/selection.py h2co h2co_train.xyz h2co_test.xyz --low mp2

Each draw takes three quarters of the training frames as the pool, and of these n at random, n by
farthest-point selection (skmatter, averaged SOAP) from a random start, and n by each criterion of
``piwsl select``. Prints force errors (RMSE, meV/angstrom) on the test frames, mean and spread over
the draws, and relative to chance; ``--low`` is that of scripts/benchmarks/linear_teacher.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
from linear_teacher import prepare

from piwsl_plugins.data.frames import Frame
from piwsl_plugins.data.splits import farthest
from piwsl_plugins.teacher import design
from piwsl_plugins.teacher.fitting import fit_teacher
from piwsl_plugins.teacher.settings import TeacherSettings

PART = 0.75
METHODS = ("random", "farthest", "D", "A", "I")


def main() -> None:
    """Print the table, and write it as JSON lines."""
    output = Path("results/selection.jsonl")
    options, train, test = prepare(__doc__, [25, 50, 100], 100, output)
    rows = []
    for seed in range(options.draws):
        for row in one_draw(train, test, seed, options):
            rows.append(row)
            with options.output.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": options.name, "low": options.low, **row}) + "\n")
    print(f"{options.name}{f' on {options.low}' if options.low else ''}\n    n", *METHODS, sep="  ")
    for n in options.sizes:
        errors = {m: [r[m] for r in rows if r["n"] == n] for m in METHODS}
        chance = np.mean(errors["random"])
        cells = [
            f"{np.mean(e):.1f} ± {np.std(e):.1f} ({np.mean(e) / chance:.2f})"
            for e in errors.values()
        ]
        print(f"{n:5d}", *cells, sep="  ", flush=True)


def one_draw(
    train: list[Frame], test: list[Frame], seed: int, options: argparse.Namespace
) -> list[dict[str, float]]:
    """Errors by way of selection, a row for each number of energies."""
    random = np.random.default_rng(seed)
    pool = [train[i] for i in random.permutation(len(train))[: int(PART * len(train))]]
    atoms = [frame.atoms for frame in pool]
    order, _ = farthest(atoms, [0], max(options.sizes))
    start = time.perf_counter()
    candidates, rows = design.candidates_of(atoms), []
    for n in options.sizes:
        selected: dict[str, list[int]] = {"random": [*range(n)], "farthest": order[:n].tolist()}
        for criterion in ("D", "A", "I"):
            selected[criterion] = design.choose(candidates, n, criterion).order
        rows.append({"n": n, "seed": seed, "s": time.perf_counter() - start})
        for way, numbers in selected.items():
            rows[-1][way] = force_error([pool[i] for i in numbers], test, options.low is not None)
    return rows


def force_error(frames: list[Frame], test: list[Frame], low: bool) -> float:
    """RMSE of the forces of a teacher fitted to the energies of frames, meV/angstrom."""
    energies = [
        dataclasses.replace(f, labels={k: v for k, v in f.labels.items() if k.endswith("energy")})
        for f in frames
    ]
    forces = fit_teacher(energies, TeacherSettings(), low=low).predict(
        [frame.atoms for frame in test], errors=False
    )
    true = [f.labels["forces"] - (f.labels["low_forces"] if low else 0.0) for f in test]
    error = forces.forces.numpy() - np.concatenate(true)
    return 1000.0 * float(np.sqrt(np.mean(error**2)))


if __name__ == "__main__":
    main()
