"""Energy drift of a model in LAMMPS, and LAMMPS's speed beside ASE's with the same model.

    python scripts/lammps_drift.py mace=a/my.model --output results/lammps

runs configs/lammps/nve.in (shipped molecule, 300 K, 0.5 fs, 10 ps) with each model by `piwsl
lammps`, fits the slope of the total energy, then times LAMMPS and ASE's velocity Verlet in turns.
Numbers go to OUTPUT/NAME.json, energies to OUTPUT/NAME.npz and a figure of all that is there to
OUTPUT/drift.png; the two hosts may use the same folder, each in its own environment.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.io
import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

from piwsl_plugins.deploy.command import main as piwsl_lammps
from piwsl_plugins.deploy.run import load_exported
from piwsl_plugins.evaluation.dynamics import thermalise
from piwsl_plugins.evaluation.paths import named_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INPUTS = Path(__file__).resolve().parents[1] / "configs" / "lammps"
COLUMNS = ("step", "time", "temp", "pe", "ke", "etotal")
Floats = NDArray[np.float64]


def thermo(log: Path) -> Floats:
    """The longest table of a LAMMPS log file that has `COLUMNS`, shape ``[n, 6]``.

    Raises:
        ValueError: There is none.
    """
    tables: list[list[list[float]]] = [[]]
    inside = False
    for line in log.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            inside, tables = True, [*tables, []]
        elif inside and len(words) == len(COLUMNS):
            tables[-1].append([float(word) for word in words])
        else:
            inside = False
    longest = max(tables, key=len)
    if not longest:
        raise ValueError(f"{log}: no table with the columns {', '.join(COLUMNS)}")
    return np.array(longest)


def lammps(model: Path, log: Path, steps: int) -> float:
    """Run the shipped molecule at constant energy; seconds of LAMMPS's loop.

    Raises:
        ValueError: The run did not end well; what was wrong stands on stderr.
    """
    dump = log.with_suffix(".dump")
    variables = {"data": INPUTS / "formaldehyde.data", "steps": steps, "dump": dump}
    words = ["-in", str(INPUTS / "nve.in"), "--model", str(model), "-log", str(log)]
    for name, value in variables.items():
        words += ["-var", name, str(value)]
    if piwsl_lammps([*words, "-screen", "none"]) != 0:
        raise ValueError(f"{model}: LAMMPS did not run to its end")
    (line,) = [x for x in log.read_text(encoding="utf-8").splitlines() if x.startswith("Loop time")]
    return float(line.split()[3])


def in_ase(calculator: Any, steps: int) -> float:  # noqa: ANN401  an ASE calculator
    """Seconds of as many steps of ASE's velocity Verlet on the same molecule."""
    file: dict[str, Any] = {"format": "lammps-data", "units": "metal", "atom_style": "atomic"}
    (atoms,) = ase.io.iread(INPUTS / "formaldehyde.data", index=":", **file)
    atoms.pbc, atoms.cell = False, None
    thermalise(atoms, 300.0, np.random.default_rng(1))
    atoms.calc = calculator
    dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
    dynamics.run(5)  # what is compiled at first use, and the first forces
    start = time.perf_counter()
    dynamics.run(steps)
    return time.perf_counter() - start


def measure(name: str, model: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Drift, and speeds in turns, of one model."""
    folder: Path = chosen.output
    log = folder / f"{name}.log"
    lammps(model, log, chosen.steps)
    table = thermo(log)
    times, energies = table[:, 1], (table[:, 5] - table[0, 5]) / 4.0  # atoms
    slope, offset = np.polyfit(times, energies, 1)
    np.savez(folder / f"{name}.npz", times=times, energies=energies, temperatures=table[:, 2])
    calculator = load_exported(model, "cpu", None)[0].calculator
    speeds: dict[str, list[float]] = {"lammps": [], "ase": []}
    for _ in range(chosen.rounds):
        speeds["lammps"].append(chosen.timed / lammps(model, folder / "speed.log", chosen.timed))
        speeds["ase"].append(chosen.timed / in_ase(calculator, chosen.timed))
    best = {program: max(rates) for program, rates in speeds.items()}
    return {
        "model": str(model),
        "drift_mev_per_atom_per_ps": 1e3 * slope,
        "fluctuation_mev_per_atom": 1e3 * float(np.std(energies - slope * times - offset)),
        "picoseconds": float(times[-1]),
        "mean_temperature": float(table[:, 2].mean()),
        "timesteps_per_second": speeds,
        "ratio_lammps_to_ase": best["lammps"] / best["ase"],
    }


def draw(folder: Path) -> Figure:
    """The total energy of every model in a folder, in one figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes = figure.subplots()
    for path in sorted(folder.glob("*.npz")):
        found = np.load(path)
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        label = f"{path.stem}: {about['drift_mev_per_atom_per_ps']:+.2g} meV/atom/ps"
        axes.plot(found["times"], 1e3 * found["energies"], linewidth=0.9, label=label)
    axes.set(xlabel="time (ps)", ylabel="total energy − first (meV/atom)")
    axes.grid(alpha=0.2)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the models and draw all that is in the folder.

    Args:
        arguments: Words of the command line; None for the real ones.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="+", metavar="NAME=FILE", help="exported models")
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--steps", type=int, default=20000, help="of 0.5 fs (default: %(default)s)")
    parser.add_argument("--timed", type=int, default=300, help="steps that are timed, each time")
    parser.add_argument("--rounds", type=int, default=3, help="turns of LAMMPS and ASE")
    chosen = parser.parse_args(arguments)
    chosen.output = chosen.output.resolve()
    chosen.output.mkdir(parents=True, exist_ok=True)
    try:
        for name, model in named_files(chosen.models, "model").items():
            found = measure(name, model, chosen)
            text = json.dumps(found, indent=1)
            (chosen.output / f"{name}.json").write_text(text + "\n", encoding="utf-8")
            print(f"{name}: {text}", flush=True)
    except (ValueError, OSError) as error:
        print(f"lammps_drift.py: error: {error}", file=sys.stderr)
        return 2
    draw(chosen.output).savefig(chosen.output / "drift.png", dpi=150)
    print(chosen.output / "drift.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
