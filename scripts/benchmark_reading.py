#!/usr/bin/env python3
"""Measure how fast and in how much memory ANI and SPICE HDF5 files are read.

Our reader (all blocks: positions, energy and forces, checked and in eV and angstrom) against a
plain loop over the same file that reads the same datasets, a group at a time, and does nothing with
them. Both take turns in one process; peak memory is measured in processes of their own, on the file
and on one with a tenth of each group's conformers::

    python scripts/make_large_hdf5.py -o results/large_hdf5
    python scripts/benchmark_reading.py results/large_hdf5/ani.h5 results/large_hdf5/spice.h5
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
from tqdm import tqdm

from piwsl_plugins.data.readers import open_source
from piwsl_plugins.data.readers.ani import AniSource
from piwsl_plugins.data.readers.hdf5 import Hdf5Source
from piwsl_plugins.data.readers.hdf5_index import NUMBERS
from piwsl_plugins.data.readers.spice import SpiceSource
from piwsl_plugins.data.settings import DataSettings

#: Layout, energy, forces and the dataset that these forces come from.
KEYS = {
    AniSource.format: ("wb97x_dz.energy", "wb97x_dz.forces", "wb97x_dz.forces"),
    SpiceSource.format: ("dft_total_energy", "forces", "dft_total_gradient"),
}
COLUMNS = (
    *("file", "format", "frames", "groups", "megabytes", "rounds", "plain_s", "ours_s", "ratio"),
    *("ours_peak_mb", "plain_peak_mb", "tenth_ours_peak_mb", "tenth_plain_peak_mb"),
)
#: Highest ratio of times that is within the target.
TARGET = 1.5
#: Peak memory is counted in bytes by macOS's getrusage, in kilobytes elsewhere.
PER_MEGABYTE = 1e6 if sys.platform == "darwin" else 1e3
PEAK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import benchmark_reading
path = Path(sys.argv[3])
benchmark_reading.opened(path)
before = benchmark_reading.highest()
getattr(benchmark_reading, sys.argv[2])(path)
print(before, benchmark_reading.highest())
"""


def opened(path: Path) -> Hdf5Source:
    """The file with the keys of its layout; nothing of it is read yet.

    Raises:
        SystemExit: it is of neither layout.
    """
    source = open_source(path)
    if not isinstance(source, Hdf5Source):
        raise SystemExit(f"{path}: {source.format}, expected a file of ANI's or SPICE's layout")
    energy, forces, _ = KEYS[source.format]
    return type(source)(path, DataSettings(energy=energy, forces=forces))


def ours(path: Path) -> int:
    """Read all blocks; return the number of frames."""
    source = opened(path)
    frames = sum(len(block) for block in source.blocks())
    source.close()
    return frames


def plain(path: Path) -> int:
    """Read the same datasets with h5py, group by group; return the number of frames."""
    source = opened(path)
    energy, _, stored = KEYS[source.format]
    frames = 0
    with h5py.File(path, "r") as file:
        for group in file.values():
            arrays = [group[name][()] for name in (NUMBERS, source.positions, energy, stored)]
            frames += len(arrays[1])
    return frames


def seconds(read: Callable[[Path], int], path: Path) -> float:
    """Wall-clock time of reading a file."""
    start = time.perf_counter()
    read(path)
    return time.perf_counter() - start


def highest() -> float:
    """Peak memory of this process so far, MB."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux getrusage counts what the parent had when it started this one
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if "VmHWM" in lines:
            return float(lines["VmHWM"].split()[0]) / PER_MEGABYTE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / PER_MEGABYTE


def peak(read: Callable[[Path], int], path: Path) -> float:
    """Memory that reading a file adds to a fresh process at its peak, MB."""
    here = str(Path(__file__).resolve().parent)
    command = [sys.executable, "-c", PEAK, here, read.__name__, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"a measurement of memory failed:\n{done.stderr}")
    before, after = (float(word) for word in done.stdout.split())
    return after - before


def write_tenth(path: Path, out: Path) -> None:
    """A file with the first tenth of each group's conformers, one at least."""
    positions = opened(path).positions
    with h5py.File(path, "r") as whole, h5py.File(out, "w") as part:
        for name, group in tqdm(whole.items(), "making a smaller file", delay=2, leave=False):
            count = len(group[positions])
            for column, data in group.items():
                is_label = data.ndim > 0 and len(data) == count and data.dtype.kind == "f"
                rows = slice(0, max(1, count // 10)) if is_label else ()
                part.create_dataset(f"{name}/{column}", data=data[rows], dtype=data.dtype)


def measure(path: Path, rounds: int) -> dict[str, str | int | float]:
    """One row of the table."""
    frames, _ = ours(path), plain(path)  # the file is in the system's cache from here on
    times = [
        (seconds(plain, path), seconds(ours, path))
        for _ in tqdm(range(rounds), str(path), unit=" rounds", leave=False)
    ]
    plain_s, ours_s = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(second / first for first, second in times)
    with tempfile.TemporaryDirectory() as folder:
        tenth = Path(folder) / "tenth.h5"
        write_tenth(path, tenth)
        peaks = [peak(read, file) for file in (path, tenth) for read in (ours, plain)]
    source = opened(path)
    size = path.stat().st_size / 1e6
    values = (path.name, source.format, frames, len(source.index.groups), round(size, 1), rounds)
    numbers = (round(number, 3) for number in (plain_s, ours_s, ratio))
    return dict(zip(COLUMNS, (*values, *numbers, *(round(mb, 1) for mb in peaks)), strict=True))


def report(row: dict[str, str | int | float]) -> str:
    """A row in words."""
    return (
        f"{row['file']}: {row['format']}, {row['frames']} frames in {row['groups']} groups, "
        f"{row['megabytes']} MB; medians of {row['rounds']} rounds\n"
        f"  plain h5py loop {row['plain_s']} s, our reader {row['ours_s']} s, ratio "
        f"{row['ratio']} (target: at most {TARGET})\n"
        f"  peak memory added: our reader {row['ours_peak_mb']} MB, plain loop "
        f"{row['plain_peak_mb']} MB; on a tenth of the file {row['tenth_ours_peak_mb']} and "
        f"{row['tenth_plain_peak_mb']} MB"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if a ratio is above the target."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=9, help="(%(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/reading.csv"))
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds: got {options.rounds}, expected at least 1")
    if options.output.exists() and not options.force:
        parser.error(f"{options.output} exists; --force overwrites it")
    rows = []
    for path in options.files:
        rows.append(measure(path, options.rounds))
        print(report(rows[-1]))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    partial = options.output.with_name(options.output.name + ".part")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, options.output)
    print(options.output)
    return 0 if all(float(row["ratio"]) <= TARGET for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
