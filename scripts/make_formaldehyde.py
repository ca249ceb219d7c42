#!/usr/bin/env python3
"""Make the formaldehyde data set: CCSD(T)/CBS energies, a case without reference forces.

Geometries come from GFN2-xTB Langevin dynamics (tblite through ASE), energies from ``ccsdt_cbs``,
test forces from ``finite_differences``. Every finished single point is appended to a cache, so that
a stopped run resumes where it stood::

    pip install pyscf tblite ase tqdm
    python scripts/make_formaldehyde.py --workers 2

Order of work: training energies (temperatures interleaved), atoms, finite differences of the test
frames. ``--partial`` computes no energies and writes the frames that the cache already covers.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ccsdt_cbs import ConvergenceError, Geometry, Level, rounded, single_point
from finite_differences import finite_difference_forces, stencil
from numpy.typing import NDArray

TEMPERATURES = (300, 600, 1000)  # K
ATOM_SPINS = {"H": 1, "C": 2, "O": 2}  # unpaired electrons of the ground states 2S, 3P, 3P
FULL_STENCILS = 3  # the first test frames (one per temperature): no net force is imposed on them
NAME = "formaldehyde_ccsdt_cbs"
ROOT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Langevin dynamics on GFN2-xTB: time step (fs), friction (1/fs), lengths in steps."""

    seed: int = 20240805
    timestep: float = 0.5
    friction: float = 0.02
    equilibration: int = 4000
    spacing: int = 500


class Cache:
    """Append-only JSON lines: one record, with its ``key``, per single point or trajectory.

    Args:
        path: the file; it is read if it exists, and a line torn by a killed run is skipped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        for line in text.splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            self.records[record["key"]] = record
        if text and not text.endswith("\n"):
            with path.open("a") as stream:
                stream.write("\n")

    def add(self, record: dict[str, Any]) -> None:
        """Append one record and force it to disk."""
        self.records[record["key"]] = record
        with self.path.open("a") as stream:
            stream.write(json.dumps(record) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def energies(self) -> dict[str, float]:
        """Return the energies (eV) by key."""
        return {key: rec["energy"] for key, rec in self.records.items() if "energy" in rec}


def trajectory(temperature: int, count: int, split: str, sampling: Sampling) -> list[Geometry]:
    """Draw ``count`` snapshots at ``temperature`` (K), centre of mass at the origin.

    One trajectory per temperature and split, each with its own seed derived from
    ``sampling.seed``; the equilibration is discarded.
    """
    from ase import units
    from ase.collections import g2
    from ase.md.langevin import Langevin
    from tblite.ase import TBLite

    if count == 0:
        return []
    streams = np.random.SeedSequence([sampling.seed, temperature, split == "test"]).spawn(2)
    start, noise = (np.random.default_rng(stream) for stream in streams)
    atoms = g2["H2CO"]
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    spread = np.sqrt(atoms.get_masses()[:, None] * units.kB * temperature)
    atoms.set_momenta(spread * start.normal(size=(len(atoms), 3)))
    dynamics: Any = Langevin(
        atoms,
        timestep=sampling.timestep * units.fs,
        temperature_K=temperature,
        friction=sampling.friction / units.fs,
        fixcm=False,
        rng=noise,
    )
    dynamics.run(sampling.equilibration)
    snapshots = []
    for index in range(count):
        dynamics.run(sampling.spacing)
        rows = rounded((atoms.positions - atoms.get_center_of_mass()).tolist())
        label = f"{split} {temperature}K {index}"
        snapshots.append(Geometry(symbols=tuple(atoms.symbols), positions=rows, label=label))
    return snapshots


def sample(split: str, total: int, sampling: Sampling, cache: Cache) -> list[Geometry]:
    """Return ``total`` snapshots of one split, temperatures interleaved, through the cache."""
    columns = []
    for place, temperature in enumerate(TEMPERATURES):
        count = total // len(TEMPERATURES) + (place < total % len(TEMPERATURES))
        key = f"{split} {temperature}K x{count} {json.dumps(dataclasses.asdict(sampling))}"
        if key not in cache.records:
            drawn = trajectory(temperature, count, split, sampling)
            cache.add({"key": key, "frames": [dataclasses.asdict(frame) for frame in drawn]})
        columns.append([from_record(frame) for frame in cache.records[key]["frames"]])
    order = range(max(len(column) for column in columns))
    return [column[i] for i in order for column in columns if i < len(column)]


def from_record(frame: dict[str, Any]) -> Geometry:
    """Return the geometry that ``dataclasses.asdict`` and JSON made into ``frame``."""
    fields = frame | {"symbols": tuple(frame["symbols"]), "positions": rounded(frame["positions"])}
    return Geometry(**fields)


def attempt(task: Geometry, level: Level) -> dict[str, Any]:
    """Return the record of one single point, or only the reason why there is none."""
    try:
        return single_point(task, level)
    except ConvergenceError as error:
        return {"failed": str(error)}


def compute(tasks: Sequence[Geometry], level: Level, cache: Cache, workers: int) -> list[str]:
    """Fill the cache with the missing energies, in order; return what did not converge."""
    from tqdm import tqdm

    todo = {task.key(level): task for task in tasks if task.key(level) not in cache.records}
    failed = []
    # Workers of a Pool end with the parent however it ends; those of an Executor may outlive it.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        records = pool.imap_unordered(functools.partial(attempt, level=level), todo.values())
        for record in tqdm(records, total=len(todo), desc="single points", smoothing=0.1):
            if "failed" in record:
                failed.append(record["failed"])
                tqdm.write(f"left out: {record['failed']}")
            else:
                cache.add(record)
    return failed


def report(tasks: Sequence[Geometry], level: Level, cache: Cache) -> None:
    """Print what the README states: number, cost and T1 diagnostics of the single points."""
    done = [cache.records[key] for task in tasks if (key := task.key(level)) in cache.records]
    if done:
        seconds = sorted(record["seconds"] for record in done)
        print(f"{len(done)} of {len(tasks)} single points, {sum(seconds) / 3600:.2f} worker hours")
        print(f"median {seconds[len(seconds) // 2]:.1f} s, longest {seconds[-1]:.1f} s")
        print(f"largest T1 diagnostic {max(record['large']['t1'] for record in done):.4f}")


def to_extxyz(
    geometry: Geometry, config: str, energy: float, forces: NDArray[np.float64] | None = None
) -> str:
    """Format one extxyz frame: ``energy`` in eV, ``forces`` (-dE/dr) in eV/angstrom."""
    columns = "species:S:1:pos:R:3" + ("" if forces is None else ":REF_forces:R:3")
    head = f'Properties={columns} REF_energy={energy:.10f} config_type={config} pbc="F F F"'
    lines = [str(len(geometry.symbols)), head]
    for atom, (symbol, row) in enumerate(zip(geometry.symbols, geometry.positions, strict=True)):
        numbers = [*row, *([] if forces is None else forces[atom])]
        lines.append(f"{symbol:<2}" + "".join(f" {number + 0.0:15.8f}" for number in numbers))
    return "\n".join(lines) + "\n"


def write(frames: list[str], path: Path) -> None:
    """Write the frames to a temporary name, then rename; nothing is written for no frames."""
    if frames:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text("".join(frames))
        temporary.replace(path)
    print(f"{path}: {len(frames)} frames")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default, level = Sampling(), Level()
    add = parser.add_argument
    add("--train", type=int, default=201, help="training frames, energies only (%(default)s)")
    add("--test", type=int, default=15, help="test frames with forces (%(default)s)")
    add("--step", type=float, default=0.001, help="difference step, angstrom (%(default)s)")
    add("--seed", type=int, default=default.seed, help="seed of the dynamics (%(default)s)")
    add("--equilibration", type=int, default=default.equilibration, help="discarded MD steps")
    add("--spacing", type=int, default=default.spacing, help="MD steps between snapshots")
    add("--bases", nargs=2, default=level.bases, help="DZ and TZ basis; others only for tests")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    add("--cache", type=Path, default=ROOT / "build" / f"{NAME}.jsonl", help="resume file")
    add("--out", type=Path, default=ROOT / "piwsl_plugins" / "datasets" / NAME, help="folder")
    add("--force", action="store_true", help="overwrite existing output files")
    add("--partial", action="store_true", help="compute no energies, write what the cache covers")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0, or 1 if a calculation did not converge and its frame was left out."""
    options = parse(arguments)
    existing = [str(path) for path in sorted(options.out.glob("*.xyz"))]
    if existing and not options.force:
        raise SystemExit(f"{', '.join(existing)} exist; --force overwrites them")
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    level, step = Level(bases=tuple(options.bases)), options.step
    sampling = Sampling(
        seed=options.seed, equilibration=options.equilibration, spacing=options.spacing
    )
    cache = Cache(options.cache)
    train = sample("train", options.train, sampling, cache)
    test = [
        (frame, place < FULL_STENCILS)
        for place, frame in enumerate(sample("test", options.test, sampling, cache))
    ]
    atoms = [
        Geometry(symbols=(symbol,), positions=((0.0, 0.0, 0.0),), spin=spin, label=symbol)
        for symbol, spin in ATOM_SPINS.items()
    ]
    tasks = [*train, *atoms]
    for frame, full in test:
        tasks += [frame, *(end for _, _, *pair in stencil(frame, step, full) for end in pair)]
    failed = [] if options.partial else compute(tasks, level, cache, options.workers)

    energies = cache.energies()
    tested = []
    for frame, full in test:
        forces = finite_difference_forces(frame, step, full, energies, level)
        if forces is not None and frame.key(level) in energies:
            config = frame.label.split()[1]
            tested.append(to_extxyz(frame, config, energies[frame.key(level)], forces))
    for name, group in (("train", train), ("isolated_atoms", atoms)):
        done = [geometry for geometry in group if geometry.key(level) in energies]
        configs = [g.label.split()[1] if group is train else "IsolatedAtom" for g in done]
        lines = zip(done, configs, strict=True)
        texts = [to_extxyz(g, config, energies[g.key(level)]) for g, config in lines]
        write(texts, options.out / f"{name}.xyz")
    write(tested, options.out / "test.xyz")
    report(tasks, level, cache)
    print("\n".join(f"left out: {reason}" for reason in failed) or "no calculation failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
