"""Energy drift of a model in LAMMPS, and LAMMPS's speed beside ASE's with the same model.

    python scripts/benchmarks/lammps_drift.py mace=a/my.model --output results/lammps

runs configs/lammps/nve.in (shipped molecule, 300 K, 0.5 fs, 10 ps) with each model by `piwsl
lammps`, fits the slope of the total energy, then times LAMMPS and ASE's velocity Verlet in turns.
Numbers go to OUTPUT/NAME.json; the two hosts may use the same folder, each in its own environment.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

from piwsl_plugins import cli, models
from piwsl_plugins.evaluation.inputs import named_files

INPUTS = Path(__file__).resolve().parents[2] / "configs" / "lammps"


def thermo(log: Path) -> NDArray[np.float64]:
    """Time (ps) and total energy (eV) of the last run in a LAMMPS log file, shape [2, n]."""
    text = log.read_text(encoding="utf-8")
    table = text[text.rindex("Step ") : text.rindex("Loop time")]
    head, *rows = table.splitlines()
    columns = [head.split().index(name) for name in ("Time", "TotEng")]
    return np.loadtxt(rows, usecols=columns, unpack=True)


def lammps(model: Path, log: Path, steps: int) -> float:
    """Run the shipped molecule at constant energy; seconds of LAMMPS's loop."""
    dump = log.with_suffix(".dump")
    variables = {"data": INPUTS / "formaldehyde.data", "steps": steps, "dump": dump}
    words = ["lammps", "-in", str(INPUTS / "nve.in"), "--model", str(model), "-log", str(log)]
    for name, value in variables.items():
        words += ["-var", name, str(value)]
    if cli.main([*words, "-screen", "none"]) != 0:
        raise ValueError(f"{model}: LAMMPS did not run to its end")
    (line,) = [x for x in log.read_text(encoding="utf-8").splitlines() if x.startswith("Loop time")]
    return float(line.split()[3])


def in_ase(calculator: Any, steps: int) -> float:  # noqa: ANN401  an ASE calculator
    """Seconds of as many steps of ASE's velocity Verlet on the same molecule."""
    file: dict[str, Any] = {"format": "lammps-data", "units": "metal", "atom_style": "atomic"}
    (atoms,) = ase.io.iread(INPUTS / "formaldehyde.data", index=":", **file)
    atoms.pbc, atoms.cell = False, None
    spread = np.sqrt(atoms.get_masses()[:, None] * units.kB * 300.0)
    atoms.set_momenta(spread * np.random.default_rng(1).normal(size=(len(atoms), 3)))
    atoms.calc = calculator
    dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
    dynamics.run(5)  # what is compiled at first use, and the first forces
    start = time.perf_counter()
    dynamics.run(steps)
    return time.perf_counter() - start


def measure(name: str, model: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Drift, and speeds in turns, of one model."""
    log = chosen.output / f"{name}.log"
    lammps(model, log, chosen.steps)
    times, energies = thermo(log)
    slope, offset = np.polyfit(times, energies / 4.0, 1)  # atoms
    fluctuation = np.std(energies / 4.0 - slope * times - offset)
    calculator = models.load(models.identify(model)).calculator
    speeds: dict[str, list[float]] = {"lammps": [], "ase": []}
    for _ in range(chosen.rounds):
        speeds["lammps"].append(chosen.timed / lammps(model, log, chosen.timed))
        speeds["ase"].append(chosen.timed / in_ase(calculator, chosen.timed))
    return {
        "model": str(model),
        "drift_mev_per_atom_per_ps": 1e3 * float(slope),
        "fluctuation_mev_per_atom": 1e3 * float(fluctuation),
        "picoseconds": float(times[-1]),
        "timesteps_per_second": speeds,
        "ratio_lammps_to_ase": max(speeds["lammps"]) / max(speeds["ase"]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the models; ``arguments`` are the command line's, None for the real one's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="+", metavar="NAME=FILE", help="exported models")
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--steps", type=int, default=20000, help="of 0.5 fs (default: %(default)s)")
    parser.add_argument("--timed", type=int, default=300, help="steps that are timed, each time")
    parser.add_argument("--rounds", type=int, default=3, help="turns of LAMMPS and ASE")
    chosen = parser.parse_args(arguments)
    chosen.output = chosen.output.resolve()
    chosen.output.mkdir(parents=True, exist_ok=True)
    for name, model in named_files(chosen.models, "models").items():
        text = json.dumps(measure(name, model, chosen), indent=1)
        (chosen.output / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{name}: {text}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
