"""Forces of the linear teacher from energies alone: errors over numbers of energies and draws.

  python scripts/benchmarks/linear_teacher.py acac train_300K.xyz test_300K.xyz --low gfn2-xtb
  python scripts/benchmarks/linear_teacher.py h2co h2co_train.xyz h2co_test.xyz --low mp2

``--low`` names a cheap method, as ``piwsl label`` knows it, or the beginning of the names of its
labels in the files (``mp2``: ``mp2_energy``, ``mp2_forces``). Prints a line for each number of
energies: errors (RMSE) of forces and energies on the test frames, the errors that the teacher
expects, the slope of its forces against the reference's, seconds of the fit.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from piwsl_plugins.data.frames import Frame
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.teacher.fitting import fit_teacher
from piwsl_plugins.teacher.labelling import Failure, compute_labels
from piwsl_plugins.teacher.methods import Method
from piwsl_plugins.teacher.settings import TeacherSettings

MILLI = 1000.0


def prepare(
    doc: str | None, sizes: list[int], test_frames: int, output: Path
) -> tuple[argparse.Namespace, list[Frame], list[Frame]]:
    """Read the command line, whose defaults are given; its training frames, and its test frames."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name")
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--low", help="cheap method, or beginning of the names of its labels")
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument(
        "--test-frames", type=int, default=test_frames, help="drawn from the test file"
    )
    parser.add_argument("--cache", type=Path, default=Path("results/teacher/cache"))
    parser.add_argument("-o", "--output", type=Path, default=output)
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, test = (frames_of(path, options) for path in (options.train, options.test))
    chosen = np.random.default_rng(0).permutation(len(test))[: options.test_frames]
    test = [test[i] for i in chosen]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    return options, train, test


def main() -> None:
    """Print the table, and write it as JSON lines."""
    sizes, output = [25, 50, 100, 200, 500], Path("results/teacher/table.jsonl")
    options, train, test = prepare(__doc__, sizes, 150, output)
    print("    n   force RMSE   expected   energy RMSE   leave-one-out   slope     s")
    for n in options.sizes:
        rows = [one_draw(train, test, n, seed, options) for seed in range(options.draws)]
        with options.output.open("a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
        mean = {key: np.mean([float(row[key]) for row in rows]) for key in rows[0] if key != "name"}
        spread = np.std([float(row["force"]) for row in rows])
        print(
            f"{n:5d} {mean['force']:7.2f} ± {spread:5.2f} {mean['expected']:8.2f} "
            f"{mean['energy']:12.3f} {mean['loo']:14.3f} {mean['slope']:10.3f} {mean['s']:6.1f}",
            flush=True,
        )
        if n >= len(train):
            break


def frames_of(path: Path, options: argparse.Namespace) -> list[Frame]:
    """Frames with reference energies and forces, and the cheap method's labels."""
    keys: dict[str, Any] = {"energy": "REF_energy", "forces": "REF_forces"}
    computed = options.low is not None and "-" in options.low
    if options.low and not computed:
        keys |= {"low_energy": f"{options.low}_energy", "low_forces": f"{options.low}_forces"}
    frames = list(read(path, DataSettings(**keys)).frames)
    if not computed:
        return frames
    labels = compute_labels([f.atoms for f in frames], Method(method=options.low), options.cache)
    made = []
    for frame, label in zip(frames, labels, strict=True):
        if isinstance(label, Failure):
            raise SystemExit(f"{frame.name}: {label}")
        own = {"low_energy": label.energy, "low_forces": label.forces}
        made.append(dataclasses.replace(frame, labels={**frame.labels, **own}))
    return made


def one_draw(
    train: list[Frame], test: list[Frame], n: int, seed: int, options: argparse.Namespace
) -> dict[str, float | str]:
    """Errors of a teacher fitted to n energies, meV and meV/angstrom."""
    low = options.low is not None
    drawn = np.random.default_rng(seed).permutation(len(train))[:n]
    energies_alone = []
    for frame in (train[i] for i in drawn):
        labels = {key: value for key, value in frame.labels.items() if key != "forces"}
        energies_alone.append(dataclasses.replace(frame, labels=labels))
    start = time.perf_counter()
    teacher = fit_teacher(energies_alone, TeacherSettings(), low=low)
    seconds = time.perf_counter() - start
    found = teacher.predict([frame.atoms for frame in test])
    energy, forces = found.energy.numpy(), found.forces.numpy()
    true = np.concatenate([frame.labels["forces"] for frame in test])
    if low:
        energy = energy + [frame.labels["low_energy"] for frame in test]
        forces = forces + np.concatenate([frame.labels["low_forces"] for frame in test])
    error = energy - np.array([frame.labels["energy"] for frame in test])
    return {
        "name": options.name,
        "n": n,
        "seed": seed,
        "force": MILLI * float(np.sqrt(np.mean((forces - true) ** 2))),
        "expected": MILLI * float(found.forces_std.square().mean().sqrt()),
        "energy": MILLI * float(np.sqrt(np.mean(error**2))),
        "loo": MILLI * teacher.fit.loo,
        "slope": float((forces * true).sum() / (true**2).sum()),
        "s": seconds,
    }


if __name__ == "__main__":
    main()
