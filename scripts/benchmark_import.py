#!/usr/bin/env python3
"""Measure what this package's entry point adds to ``import torch``.

Torch scans the installed packages for entry points at the end of its import, whatever is
installed. Our share is what comes on top: importing ``piwsl_plugins.autoload`` and calling it. It
is measured twice, in fresh processes: by itself, where torch would do it, and as the difference of
``import torch`` with and without our entry point, in alternating pairs::

    python scripts/benchmark_import.py --runs 20 --limit 2
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence

GROUP, NAME = "torch.backends", "piwsl"

SHARE = f"""
import time
import torch
from importlib.metadata import entry_points
(entry,) = entry_points(group={GROUP!r}, name={NAME!r})
start = time.perf_counter()
entry.load()()
print(1000.0 * (time.perf_counter() - start))
"""

WHOLE = f"""
import importlib.metadata, sys, time
scan = importlib.metadata.entry_points
def entry_points(**selection):
    found = scan(**selection)
    hidden = {NAME!r} if sys.argv[1] == "without" else ""
    return [entry for entry in found if entry.name != hidden]
importlib.metadata.entry_points = entry_points
start = time.perf_counter()
import torch
elapsed = 1000.0 * (time.perf_counter() - start)
assert ("piwsl_plugins.autoload" in sys.modules) == (sys.argv[1] == "with")
print(elapsed)
"""


def milliseconds(code: str, *arguments: str, autoload: bool) -> float:
    """Time (ms) that ``code`` prints, run in a fresh process.

    Args:
        code: Python code.
        arguments: its arguments.
        autoload: whether torch calls entry points there.

    Raises:
        SystemExit: the process failed; the message is its error output.
    """
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": str(int(autoload))},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"a measurement failed; is piwsl-plugins installed here?\n{done.stderr}")
    return float(done.stdout)


def quartiles(values: Sequence[float]) -> str:
    """Median and quartiles, ms, as text."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"median {middle:7.2f} ms, quartiles {low:.2f} to {high:.2f} ms"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if our share is above the limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="runs of each kind (%(default)s)")
    parser.add_argument("--limit", type=float, default=2.0, help="highest share, ms (%(default)s)")
    options = parser.parse_args(arguments)
    if options.runs < 2:
        parser.error(f"--runs: got {options.runs}, expected at least 2")
    share, on, off = [], [], []
    for _ in range(options.runs):
        share.append(milliseconds(SHARE, autoload=False))
        on.append(milliseconds(WHOLE, "with", autoload=True))
        off.append(milliseconds(WHOLE, "without", autoload=True))
    pairs = [with_us - without for with_us, without in zip(on, off, strict=True)]
    print(f"{options.runs} runs of each kind, Python {sys.version.split()[0]}")
    print(f"import torch without us      {quartiles(off)}")
    print(f"difference of pairs          {quartiles(pairs)}")
    print(f"our entry point, by itself   {quartiles(share)}")
    median = statistics.median(share)
    verdict = "within" if median <= options.limit else "above"
    print(f"the entry point adds {median:.2f} ms, {verdict} the limit of {options.limit:g} ms")
    return 0 if median <= options.limit else 1


if __name__ == "__main__":
    raise SystemExit(main())
