"""How long dynamics with trained models last: NVE and NVT, side by side, until they explode or end.

    python scripts/stability.py plain=a/my.model piwsl=b/my.model --data train.xyz --output md

A trajectory has exploded where the energy is no number, where it runs away at constant energy, or
where the nearest neighbour of an atom is far outside the range of the data. What is done stays in
OUTPUT/trajectories.jsonl, and the command goes on from there; models of MACE and of NequIP may
write into the same folder, one after the other, each in its own environment. Models of one
training with several seeds, plain#1=a.model plain#2=b.model, are one line of table and figure.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from stability_figures import draw, table

from piwsl_plugins.deploy.run import load_exported
from piwsl_plugins.evaluation.dynamics import constant_energy, heat_bath, neighbour_ranges
from piwsl_plugins.evaluation.paths import named_files

#: Energy that runs farther than this from the first counts as exploded, eV per atom.
MOST_DRIFT = 0.1
ENSEMBLES = ("nve", "nvt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One trajectory.

    Attributes:
        model: Its name.
        digest: Of the model's file.
        data: Digest of the reference data.
        ensemble: nve or nvt.
        temperature: Of velocities and bath, K.
        seed: Of the first frame, velocities and bath.
        steps: Most time steps.
        timestep: Femtoseconds.
    """

    model: str
    digest: str
    data: str
    ensemble: str
    temperature: float
    seed: int
    steps: int
    timestep: float


def digest(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def tasks(models: Mapping[str, Path], chosen: argparse.Namespace) -> Iterator[Task]:
    """Every trajectory that was asked for, the models' beside each other."""
    data = digest(chosen.data)
    for seed in range(chosen.seeds):
        for temperature in chosen.temperatures:
            for ensemble in chosen.ensembles:
                for name, path in models.items():
                    yield Task(
                        model=name,
                        digest=digest(path),
                        data=data,
                        ensemble=ensemble,
                        temperature=temperature,
                        seed=seed,
                        steps=chosen.steps,
                        timestep=chosen.timestep,
                    )


def done_before(path: Path) -> list[dict[str, Any]]:
    """Records of an earlier run; a last line that was cut off as it ended is taken away."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines = lines[:-1]
        path.write_text("".join(lines), encoding="utf-8")
    return [json.loads(line) for line in lines]


def run(task: Task, frames: Sequence[ase.Atoms], calculator: Any) -> dict[str, Any]:  # noqa: ANN401
    """Follow one trajectory.

    Args:
        task: What to do.
        frames: The reference data, one of which is where it starts.
        calculator: The model.

    Returns:
        The task and its end: ``time`` (ps), ``reason`` or None, ``drift`` (eV/atom/ps) or None.
    """
    start = frames[int(np.random.default_rng(task.seed).integers(len(frames)))]
    options: dict[str, Any] = {
        "steps": task.steps,
        "timestep": task.timestep,
        "temperature": task.temperature,
        "seed": task.seed,
    }
    ranges = neighbour_ranges(frames)
    if task.ensemble == "nve":
        found = constant_energy(start, calculator, ranges, most_drift=MOST_DRIFT, **options)
    else:
        found = heat_bath(start, calculator, ranges, **options)
    ended = 1e-3 * task.timestep * task.steps if found.exploded_at is None else found.exploded_at
    return {**asdict(task), "time": ended, "reason": found.reason, "drift": found.drift}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    made.add_argument(
        "models",
        nargs="+",
        metavar="NAME=FILE",
        help="exported models; NAME#1, NAME#2, ... are one",
    )
    made.add_argument("--data", type=Path, required=True, help="reference structures; ASE reads it")
    made.add_argument("--output", type=Path, required=True, help="folder of the results")
    made.add_argument("--temperatures", type=float, nargs="+", default=[300.0, 600.0, 1000.0])
    made.add_argument("--ensembles", nargs="+", choices=ENSEMBLES, default=list(ENSEMBLES))
    made.add_argument("--seeds", type=int, default=5, help="how many (default: %(default)s)")
    made.add_argument("--steps", type=int, default=20000, help="at most (default: %(default)s)")
    made.add_argument("--timestep", type=float, default=0.5, help="fs (default: %(default)s)")
    made.add_argument("--device", default="cpu")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, and draw all that is there.

    Args:
        arguments: Words of the command line; None for the real ones.
    """
    chosen = parser().parse_args(arguments)
    try:
        models = named_files(chosen.models, "model")
        frames = list(ase.io.iread(chosen.data, index=":"))
        loaded = {
            name: load_exported(path, chosen.device, None)[0] for name, path in models.items()
        }
    except (ValueError, OSError) as error:
        print(f"stability.py: error: {error}", file=sys.stderr)
        return 2
    chosen.output.mkdir(parents=True, exist_ok=True)
    path = chosen.output / "trajectories.jsonl"
    records = done_before(path)
    known = {_key(record) for record in records}
    todo = [task for task in tasks(models, chosen) if _key(asdict(task)) not in known]
    for number, task in enumerate(todo, start=1):
        record = run(task, frames, loaded[task.model].calculator)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        records.append(record)
        ended = record["reason"] or "to the end"
        print(
            f"{number}/{len(todo)} {task.model} {task.ensemble} {task.temperature:.0f} K "
            f"seed {task.seed}: {record['time']:.2f} ps, {ended}",
            flush=True,
        )
    records = latest(records, digest(chosen.data))
    figure = chosen.output / "stability.png"
    draw(records).savefig(figure, dpi=150)
    print(*table(records), figure, sep="\n")
    return 0


def latest(records: Sequence[dict[str, Any]], data: str) -> list[dict[str, Any]]:
    """Records on these data, of the file that each model's name stood for last."""
    digests = {record["model"]: record["digest"] for record in records}
    return [
        record
        for record in records
        if record["data"] == data and digests[record["model"]] == record["digest"]
    ]


def _key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(record[name] for name in Task.__slots__)


if __name__ == "__main__":
    sys.exit(main())
