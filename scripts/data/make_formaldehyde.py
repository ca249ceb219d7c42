"""Make the formaldehyde data set: CCSD(T)/CBS energies, a case without reference forces.

    pip install "piwsl-plugins[datasets]"
    python scripts/data/make_formaldehyde.py --workers 2

Geometries come from GFN2-xTB Langevin dynamics (tblite through ASE), energies from ``ccsdt_cbs``,
test forces from ``finite_differences``. Trajectories and single points are kept in a folder, so
that rerunning resumes. Order of work: training energies (temperatures interleaved), atoms, finite
differences of the test frames and of the first training frames, whose forces stand in
train_sparse_forces.xyz alone.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from ccsdt_cbs import ConvergenceError, Geometry, Level, rounded, single_point
from finite_differences import finite_difference_forces, stencil
from numpy.typing import NDArray

TEMPERATURES = (300, 600, 1000)  # K
ATOM_SPINS = {"H": 1, "C": 2, "O": 2}  # unpaired electrons of the ground states 2S, 3P, 3P
FULL_STENCILS = 3  # the first test frames (one per temperature): no net force is imposed on them
TIMESTEP, FRICTION = 0.5, 0.02  # fs, 1/fs
NAME = "formaldehyde_ccsdt_cbs"
ROOT = Path(__file__).resolve().parents[2]


def trajectory(
    temperature: int, count: int, split: str, seed: int, equilibration: int, spacing: int
) -> list[Geometry]:
    """Draw ``count`` snapshots at ``temperature`` (K), centre of mass at the origin.

    One trajectory per temperature and split, each with its own seed derived from ``seed``; the
    ``equilibration`` (steps) is discarded, and ``spacing`` steps lie between two snapshots.
    """
    from ase import units
    from ase.collections import g2
    from ase.md.langevin import Langevin
    from tblite.ase import TBLite

    streams = np.random.SeedSequence([seed, temperature, split == "test"]).spawn(2)
    start, noise = (np.random.default_rng(stream) for stream in streams)
    atoms = g2["H2CO"]
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    spread = np.sqrt(atoms.get_masses()[:, None] * units.kB * temperature)
    atoms.set_momenta(spread * start.normal(size=(len(atoms), 3)))
    bath: dict[str, Any] = {"temperature_K": temperature, "friction": FRICTION / units.fs}
    dynamics = Langevin(atoms, timestep=TIMESTEP * units.fs, fixcm=False, rng=noise, **bath)
    dynamics.run(equilibration)
    snapshots = []
    for index in range(count):
        dynamics.run(spacing)
        rows = rounded((atoms.positions - atoms.get_center_of_mass()).tolist())
        label = f"{split} {temperature}K {index}"
        snapshots.append(Geometry(symbols=tuple(atoms.symbols), positions=rows, label=label))
    return snapshots


def attempt(task: Geometry, level: Level, memory: joblib.Memory) -> dict[str, Any]:
    """A single point, kept on disk; or only the reason why there is none."""
    try:
        record: dict[str, Any] = memory.cache(single_point)(task, level)
    except ConvergenceError as error:
        return {"failed": str(error)}
    return record


def to_extxyz(geometry: Geometry, energy: float, forces: NDArray[np.float64] | None = None) -> str:
    """Format one extxyz frame: ``energy`` in eV, ``forces`` (-dE/dr) in eV/angstrom."""
    config = geometry.label.split()[1]
    columns = "species:S:1:pos:R:3" + ("" if forces is None else ":REF_forces:R:3")
    head = f'Properties={columns} REF_energy={energy:.10f} config_type={config} pbc="F F F"'
    lines = [str(len(geometry.symbols)), head]
    for atom, (symbol, row) in enumerate(zip(geometry.symbols, geometry.positions, strict=True)):
        numbers = [*row, *([] if forces is None else forces[atom])]
        lines.append(f"{symbol:<2}" + "".join(f" {number + 0.0:15.8f}" for number in numbers))
    return "\n".join(lines) + "\n"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--train", type=int, default=201, help="training frames, energies only (%(default)s)")
    add("--test", type=int, default=15, help="test frames with forces (%(default)s)")
    add("--sparse", type=int, default=6, help="training frames with forces, apart (%(default)s)")
    add("--step", type=float, default=0.001, help="difference step, angstrom (%(default)s)")
    add("--seed", type=int, default=20240805, help="seed of the dynamics (%(default)s)")
    add("--equilibration", type=int, default=4000, help="discarded MD steps (%(default)s)")
    add("--spacing", type=int, default=500, help="MD steps between snapshots (%(default)s)")
    add("--bases", nargs=2, default=Level().bases, help="DZ and TZ basis; others only for tests")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    add("--cache", type=Path, default=ROOT / "build" / NAME, help="folder to resume from")
    add("--out", type=Path, default=ROOT / "piwsl_plugins" / "datasets" / NAME, help="folder")
    add("--force", action="store_true", help="overwrite existing output files")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0, or 1 if a calculation did not converge and its frame was left out."""
    options = parse(arguments)
    if any(options.out.glob("*.xyz")) and not options.force:
        raise SystemExit(f"{options.out} has such files already; --force overwrites them")
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    memory, step = joblib.Memory(options.cache, verbose=0), options.step

    def sample(split: str, total: int) -> list[Geometry]:
        """Snapshots of one split, temperatures interleaved."""
        kinds, lengths = len(TEMPERATURES), (options.seed, options.equilibration, options.spacing)
        columns = [
            memory.cache(trajectory)(kelvin, -(-(total - place) // kinds), split, *lengths)
            for place, kelvin in enumerate(TEMPERATURES)
        ]
        return [columns[place % kinds][place // kinds] for place in range(total)]

    train = sample("train", options.train)
    test = {frame: n < FULL_STENCILS for n, frame in enumerate(sample("test", options.test))}
    sparse = dict.fromkeys(train[: options.sparse], False)
    atoms = [
        Geometry(
            symbols=(symbol,), positions=((0.0, 0.0, 0.0),), spin=spin, label="atom IsolatedAtom"
        )
        for symbol, spin in ATOM_SPINS.items()
    ]
    tasks = [*train, *atoms, *test]
    for frame, full in (test | sparse).items():
        tasks += [end for _, _, *pair in stencil(frame, step, full) for end in pair]
    level = Level(bases=tuple(options.bases))
    work = (joblib.delayed(attempt)(task, level, memory) for task in tasks)
    records = joblib.Parallel(n_jobs=options.workers, verbose=5)(work)
    done = {t: r for t, r in zip(tasks, records, strict=True) if "energy" in r}
    energies = {task: record["energy"] for task, record in done.items()}
    files: dict[str, list[str]] = {}
    for name, frames, probed in (
        ("train", train, {}),
        ("isolated_atoms", atoms, {}),
        ("test", list(test), test),
        ("train_sparse_forces", train, sparse),
    ):
        for frame in (frame for frame in frames if frame in energies):
            forces = None
            if frame in probed:
                forces = finite_difference_forces(frame, step, probed[frame], energies)
            if forces is not None or frame not in probed:
                files.setdefault(name, []).append(to_extxyz(frame, energies[frame], forces))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, texts in files.items():
        (options.out / f"{name}.xyz").write_text("".join(texts), encoding="utf-8")
        print(f"{options.out / name}.xyz: {len(texts)} frames")
    seconds = [record["seconds"] for record in done.values()]
    print(f"{len(done)} of {len(tasks)} single points, {sum(seconds) / 3600:.2f} worker hours")
    print(f"median {np.median(seconds):.1f} s, longest {max(seconds):.1f} s")
    print(f"largest T1 diagnostic {max(r['large']['t1'] for r in done.values()):.4f}")
    failed = [record["failed"] for record in records if "failed" in record]
    print("\n".join(f"left out: {reason}" for reason in failed) or "no calculation failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
