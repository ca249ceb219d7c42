"""The scripts are no package: tests find them as a user's shell does, by their folders."""

import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS / "benchmarks"), str(SCRIPTS / "data")]
