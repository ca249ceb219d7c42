#!/usr/bin/env python3
"""Add forces to a few frames of the formaldehyde data set; energies are everywhere.

The first frames of ``train.xyz`` (temperatures in turn) get forces by ``finite_differences`` of the
same CCSD(T)/CBS energies; all the others go along as they are. Resumes where it stood::

    pip install pyscf ase tqdm
    python scripts/make_sparse_forces.py --workers 2
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import ase.io
from ccsdt_cbs import Geometry, Level, rounded
from finite_differences import finite_difference_forces, stencil
from make_formaldehyde import NAME, ROOT, Cache, compute, report, to_extxyz, write


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    folder = ROOT / "piwsl_plugins" / "datasets" / NAME
    add = parser.add_argument
    add("--frames", type=int, default=6, help="frames that get forces (%(default)s)")
    add("--step", type=float, default=0.001, help="difference step, angstrom (%(default)s)")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    add("--cache", type=Path, default=ROOT / "build" / f"{NAME}_sparse.jsonl", help="resume file")
    add("--train", type=Path, default=folder / "train.xyz", help="energies (%(default)s)")
    add("--out", type=Path, default=folder / "train_sparse_forces.xyz", help="(%(default)s)")
    add("--force", action="store_true", help="overwrite the output")
    return parser.parse_args()


def main() -> int:
    """Run; return 0, or 1 if a calculation did not converge."""
    options = parse()
    if options.out.exists() and not options.force:
        raise SystemExit(f"{options.out} exists; --force overwrites it")
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    level, cache = Level(), Cache(options.cache)
    read = ase.io.read(options.train, index=":")
    frames = [
        Geometry(
            symbols=tuple(atoms.symbols),
            positions=rounded(atoms.positions.tolist()),
            label=f"train {atoms.info['config_type']} {number}",
        )
        for number, atoms in enumerate(read)
    ]
    labelled = frames[: options.frames]
    tasks: list[Geometry] = []
    for frame in labelled:
        for _, _, ahead, behind in stencil(frame, options.step, full=False):
            tasks += [ahead, behind]
    failed = compute(tasks, level, cache, options.workers)
    texts = []
    for number, (frame, atoms) in enumerate(zip(frames, read, strict=True)):
        forces = None
        if number < len(labelled):
            forces = finite_difference_forces(frame, options.step, False, cache.energies(), level)
        energy, config = float(atoms.info["REF_energy"]), atoms.info["config_type"]
        texts.append(to_extxyz(frame, config, energy, forces))
    write(texts, options.out)
    report(tasks, level, cache)
    print("\n".join(f"left out: {reason}" for reason in failed) or "no calculation failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
