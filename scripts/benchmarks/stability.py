"""How long dynamics with trained models last: NVE and NVT, side by side, until they explode or end.

    python scripts/benchmarks/stability.py plain=a/my.model taylor=b/my.model \
        --data train.xyz --output results/stability

A trajectory has exploded where the model fails, where the energy is not finite or runs away at
constant energy, or where the nearest neighbour of an atom is far outside the range of the data.
What is done stays in OUTPUT/trajectories.jsonl, and rerunning resumes; models of MACE and of NequIP
may write into the same folder, one after the other, each in its own environment. Models of one
training with several seeds, plain#1=a.model plain#2=b.model, are one line of table and figure.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.io
import numpy as np
import pandas as pd
from ase import Atoms

from piwsl_plugins import models
from piwsl_plugins.evaluation.dynamics import trajectory
from piwsl_plugins.evaluation.figures import looks
from piwsl_plugins.evaluation.inputs import named_files
from piwsl_plugins.teacher.geometries import Plausibility

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_DRIFT = 0.1  # energy that runs farther than this from the first has exploded, eV per atom
FRICTION = 0.01  # of the heat bath, 1/fs
ENSEMBLES = ("nve", "nvt")
TASK = ["model", "digest", "data", "ensemble", "temperature", "seed", "steps", "timestep"]
"""What tells one trajectory from another: K, fs; digests are those of the model's file and data."""


def digest(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def done_before(path: Path) -> list[dict[str, Any]]:
    """Records of an earlier run; a last line that was cut off as it ended is taken away."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def run(task: dict[str, Any], frames: Sequence[Atoms], calculator: Any) -> dict[str, Any]:  # noqa: ANN401
    """Follow one trajectory of a model, from one of the frames of the reference data.

    Returns the task and its end: ``time`` (ps), ``reason`` or None, ``drift`` (eV/atom/ps) or None.
    """
    start = frames[int(np.random.default_rng(task["seed"]).integers(len(frames)))]
    how: dict[str, Any] = {name: task[name] for name in TASK[4:]}
    how |= {"most_drift": MOST_DRIFT} if task["ensemble"] == "nve" else {"friction": FRICTION}
    found = trajectory(start, calculator, Plausibility(frames), **how)
    whole = 1e-3 * task["timestep"] * task["steps"]
    time = whole if found.exploded_at is None else found.exploded_at
    return {**task, "time": time, "reason": found.reason or None, "drift": found.drift}


def summary(table: pd.DataFrame) -> Iterator[str]:
    """Rows of a table in Markdown: how many trajectories ended, and the median time, ps."""
    yield "| model | ensemble | temperature (K) | ran to the end | median time (ps) |"
    yield "| --- | --- | --- | --- | --- |"
    for (ensemble, kelvin), panel in table.groupby(["ensemble", "temperature"]):
        for name, own in panel.groupby("name", sort=False):
            ended = f"{own['reason'].isna().sum()} of {len(own)}"
            where = f"{name} | {ensemble.upper()} | {kelvin:.0f}"
            yield f"| {where} | {ended} | {own['time'].median():.2f} |"


def survival(own: pd.DataFrame) -> tuple[list[float], list[float]]:
    """Times (ps), from 0 to the longest, and the share of trajectories that run after each."""
    ended = sorted(own["time"][own["reason"].notna()])
    left = [1.0 - number / len(own) for number in range(len(ended) + 1)]
    return [0.0, *ended, float(own["time"].max())], [*left, left[-1]]


def draw(table: pd.DataFrame) -> Figure:
    """A panel for each ensemble and temperature, of records with the model's ``name``.

    Lines stand at their true heights, told apart by their widths, dashes and markers.
    """
    from matplotlib.figure import Figure

    style = looks(list(dict.fromkeys(table["name"])))
    rows, columns = (sorted(table[name].unique()) for name in ("ensemble", "temperature"))
    size = (3.0 * len(columns) + 0.8, 2.4 * len(rows) + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    widths = np.linspace(4.0, 1.2, len(style))
    for axes, (ensemble, kelvin) in zip(grid.flat, itertools.product(rows, columns), strict=True):
        panel = table[(table["ensemble"] == ensemble) & (table["temperature"] == kelvin)]
        for number, (name, look) in enumerate(style.items()):
            if (panel["name"] == name).any():
                line: dict[str, Any] = {**look, "markersize": 4, "linewidth": widths[number]}
                line |= {"clip_on": False, "markevery": (0.04 + 0.03 * number, 0.25)}
                times, shares = survival(panel[panel["name"] == name])
                axes.step(times, shares, where="post", label=name, **line)
        axes.set(xlim=(0.0, 1.02 * table["time"].max()), ylim=(-0.03, 1.03))
        axes.set_title(f"{ensemble.upper()}, {kelvin:.0f} K", fontsize=10)
        axes.grid(alpha=0.2)
    figure.supxlabel("time (ps)", fontsize=10)
    figure.supylabel("still running", fontsize=10)
    lines, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside upper center", ncols=len(columns) + 2, frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, and draw all there is of the file that each name stood for last."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("models", nargs="+", metavar="NAME=FILE", help="exported models; NAME#1, NAME#2 are one")
    add("--data", type=Path, required=True, help="reference structures; ASE reads it")
    add("--output", type=Path, required=True, help="folder of the results")
    add("--temperatures", type=float, nargs="+", default=[300.0, 600.0, 1000.0])
    add("--ensembles", nargs="+", choices=ENSEMBLES, default=list(ENSEMBLES))
    add("--seeds", type=int, default=5, help="how many (default: %(default)s)")
    add("--steps", type=int, default=20000, help="at most (default: %(default)s)")
    add("--timestep", type=float, default=0.5, help="fs (default: %(default)s)")
    add("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    files = named_files(chosen.models, "models")
    frames = list(ase.io.iread(chosen.data, index=":"))
    calculators, data = {}, digest(chosen.data)
    for name, path in files.items():
        calculators[name] = models.load(models.identify(path), device=chosen.device).calculator
    chosen.output.mkdir(parents=True, exist_ok=True)
    path = chosen.output / "trajectories.jsonl"
    records = done_before(path)
    known = [{name: record[name] for name in TASK} for record in records]
    every = itertools.product(range(chosen.seeds), chosen.temperatures, chosen.ensembles, files)
    for seed, kelvin, ensemble, name in every:
        values = (name, digest(files[name]), data, ensemble, kelvin, seed)
        task = dict(zip(TASK, (*values, chosen.steps, chosen.timestep), strict=True))
        if task not in known:
            records.append(run(task, frames, calculators[name]))
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(records[-1]) + "\n")
            print(json.dumps(records[-1]), flush=True)
    table = pd.DataFrame(records)
    last = table["digest"] == table.groupby("model")["digest"].transform("last")
    table = table[last & (table["data"] == data)]
    table = table.assign(name=table["model"].str.partition("#")[0])
    draw(table).savefig(chosen.output / "stability.png", dpi=150)
    print(*summary(table), chosen.output / "stability.png", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
