"""Measure what this package adds to the start of Python and to ``import torch``.

    python scripts/benchmarks/import_time.py --runs 20 --limit 2

A line in a ``.pth`` file lets Python import ``_piwsl_autoload``, which waits for MACE, when it
starts. What that takes is measured by itself, in fresh processes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Sequence

SHARE = """
import sys, time
sys.path.append(sys.argv[1])
start = time.perf_counter()
import _piwsl_autoload
print(1000.0 * (time.perf_counter() - start))
"""


def milliseconds() -> float:
    """Our share, ms, in a fresh process that no ``.pth`` file has touched.

    Raises:
        SystemExit: the process failed; the message is its error output.
    """
    command = [sys.executable, "-S", "-c", SHARE, sysconfig.get_path("purelib")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"a measurement failed; is piwsl-plugins installed here?\n{done.stderr}")
    return float(done.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 if our share is above the limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="at least 2 (%(default)s)")
    parser.add_argument("--limit", type=float, default=2.0, help="highest share, ms (%(default)s)")
    options = parser.parse_args(arguments)
    found = [milliseconds() for _ in range(options.runs)]
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    verdict = "within" if median <= options.limit else "above"
    print(
        f"this package adds {median:.2f} ms (quartiles {low:.2f} to {high:.2f} of {len(found)} "
        f"runs), {verdict} the limit of {options.limit:g} ms"
    )
    return 0 if median <= options.limit else 1


if __name__ == "__main__":
    sys.exit(main())
