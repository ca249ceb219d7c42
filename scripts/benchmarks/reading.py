"""Measure how fast and in how much memory a file of labels is read, beside a plain h5py loop.

    python scripts/data/make_large_hdf5.py -o results/large_hdf5
    python scripts/benchmarks/reading.py results/large_hdf5/ani.h5 results/large_hdf5/spice.h5

Ours: `piwsl_plugins.data.reading.read`, all frames in eV and angstrom with every check. The plain
loop reads the same datasets group by group and does nothing with them. Each runs in a process of
its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

KEYS = {
    "ani": ("coordinates", "wb97x_dz.energy", "wb97x_dz.forces", "wb97x_dz.forces"),
    "spice": ("conformations", "dft_total_energy", "forces", "dft_total_gradient"),
}
"""By layout, positions, energy, forces, and the dataset that these forces come from."""
MEASURE = """
import resource, sys, time
ours, path, positions, energy, forces, stored = sys.argv[1:]
import h5py
from piwsl_plugins.data.reading import read
from piwsl_plugins.data.settings import DataSettings
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
before, start = peak(), time.perf_counter()
if ours == "ours":
    frames = len(read(path, DataSettings(energy=energy, forces=forces)).frames)
else:
    with h5py.File(path) as file:
        frames = sum(
            len([group[name][()] for name in ("atomic_numbers", energy, stored, positions)][-1])
            for group in file.values()
        )
print(frames, time.perf_counter() - start, peak() - before)
"""


def measure(ours: bool, path: Path, layout: str) -> tuple[int, float, float]:
    """Frames, seconds and MB that reading a file takes in a fresh process."""
    words = ["ours" if ours else "plain", str(path), *KEYS[layout]]
    done = subprocess.run([sys.executable, "-c", MEASURE, *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"a measurement failed:\n{done.stderr}")
    frames, seconds, megabytes = done.stdout.split()
    return int(frames), float(seconds), float(megabytes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; ``arguments`` are the command line's, None for the real one's."""
    import h5py

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="of ANI or SPICE")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    options = parser.parse_args(arguments)
    print("| file | frames | MB | ours (s) | plain loop (s) | ours (MB) | plain loop (MB) |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for path in options.files:
        with h5py.File(path) as file:
            layout = "ani" if "coordinates" in next(iter(file.values())) else "spice"
        measure(False, path, layout)  # the file is in the system's cache from here on
        found = {
            ours: [measure(ours, path, layout) for _ in range(options.rounds)]
            for ours in (True, False)
        }
        frames = found[True][0][0]
        cells = [path.name, f"{frames}", f"{path.stat().st_size / 1e6:.0f}"]
        for column, digits in ((1, 2), (2, 0)):
            for runs in found.values():
                cells.append(f"{statistics.median(run[column] for run in runs):.{digits}f}")
        print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
