"""Make a periodic data set: CuAu alloys by ASE's EMT potential, energies, forces and stress.

    python scripts/data/make_emt_alloy.py -o results/emt_alloy

Short Langevin trajectories of 2 x 2 x 2 fcc cells, 32 atoms, each with its own random occupation,
strain and temperature; training, test and hot test frames come from different ones. Writes
train.xyz, test.xyz, test_hot.xyz, isolated_atoms.xyz and benchmark.yaml, a file of options for
scripts/benchmarks/accuracy.py. It takes about a minute.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import ase.build
import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from tqdm import tqdm

LATTICE_CONSTANT = 3.88  # angstrom; of fcc CuAu by this potential, about that without pressure
TEMPERATURES, HOT = (300.0, 450.0, 600.0), (1200.0,)  # kelvin
STRAIN = 0.02  # largest component of the random strain of a cell
TIMESTEP, FRICTION = 5.0 * units.fs, 0.02 / units.fs
EQUILIBRATION, SPACING, SNAPSHOTS = 150, 8, 25
BENCHMARK = """\
# CuAu by ASE's EMT, for scripts/benchmarks/accuracy.py.
dataset: emt_alloy
train: train.xyz
test: [test=test.xyz, test_hot=test_hot.xyz]
isolated_atoms: isolated_atoms.xyz
sizes: [25, 50, 100, 200, 500]
"""


def labelled(atoms: Atoms, config_type: str) -> Atoms:
    """A copy of a frame with the labels of its calculator.

    Returns:
        ``REF_energy``, eV; ``REF_forces``, -dE/dr, shape [n_atoms, 3], eV/angstrom;
        ``REF_stress``, the derivative of the energy by the strain over the volume, 9 numbers,
        eV/angstrom^3.
    """
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    frame.info["REF_energy"] = float(atoms.get_potential_energy())
    frame.info["REF_stress"] = atoms.get_stress(voigt=False).ravel()
    frame.info["config_type"] = config_type
    frame.arrays["REF_forces"] = np.array(atoms.get_forces())
    return frame


def alloy(random: np.random.Generator) -> Atoms:
    """A 2 x 2 x 2 fcc cell, half copper, half gold at random sites, with a small random strain."""
    atoms: Atoms = ase.build.bulk("Cu", a=LATTICE_CONSTANT, cubic=True) * (2, 2, 2)
    atoms.symbols[random.permutation(len(atoms))[: len(atoms) // 2]] = "Au"
    strain = random.uniform(-STRAIN, STRAIN, size=(3, 3))
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    return atoms


def trajectory(seed: Sequence[int], temperature: float) -> list[Atoms]:
    """Frames of one Langevin trajectory at a temperature (kelvin)."""
    random = np.random.default_rng(seed)
    atoms = alloy(random)
    atoms.calc = EMT()
    spread = np.sqrt(atoms.get_masses() * units.kB * temperature)  # Maxwell and Boltzmann's
    atoms.set_momenta(spread[:, None] * random.normal(size=(len(atoms), 3)))
    dynamics = Langevin(
        atoms, TIMESTEP, temperature_K=temperature, friction=FRICTION, fixcm=False, rng=random
    )
    dynamics.run(EQUILIBRATION)
    frames = []
    for _ in range(SNAPSHOTS):
        dynamics.run(SPACING)
        frames.append(labelled(atoms, f"{temperature:g}K"))
    return frames


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the files; ``arguments`` are the command line's, None for the real one's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("-o", "--output", type=Path, default=Path("results/emt_alloy"), help="(%(default)s)")
    add("--train", type=int, default=500, help="training frames, 300 to 600 K (%(default)s)")
    add("--test", type=int, default=150, help="test frames at the same temperatures (%(default)s)")
    add("--test-hot", type=int, default=75, help="test frames at 1200 K (%(default)s)")
    add("--seed", type=int, default=1)
    add("--force", action="store_true", help="overwrite existing files")
    options = parser.parse_args(arguments)
    if any(options.output.glob("*.xyz")) and not options.force:
        sys.exit(f"{options.output} has files already; --force overwrites them")
    options.output.mkdir(parents=True, exist_ok=True)
    sets = {"train": options.train, "test": options.test, "test_hot": options.test_hot}
    for number, (name, wanted) in enumerate(sets.items()):
        temperatures = HOT if name == "test_hot" else TEMPERATURES
        frames: list[Atoms] = []
        for place in tqdm(range(-(-wanted // SNAPSHOTS)), name):
            seed = (options.seed, number, place)
            frames += trajectory(seed, temperatures[place % len(temperatures)])
        ase.io.write(options.output / f"{name}.xyz", frames[:wanted], format="extxyz")
    atoms = [Atoms(symbol, cell=[20.0] * 3, pbc=True, calculator=EMT()) for symbol in ("Cu", "Au")]
    alone = [labelled(atom, "IsolatedAtom") for atom in atoms]
    ase.io.write(options.output / "isolated_atoms.xyz", alone, format="extxyz")
    (options.output / "benchmark.yaml").write_text(BENCHMARK, encoding="utf-8")
    print(f"{options.output}: {', '.join(sorted(path.name for path in options.output.iterdir()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
