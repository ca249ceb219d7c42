"""The accuracy benchmark's command line, and the files of options that it may name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark_hosts import read_config
from benchmark_methods import HOSTS

DESCRIPTION = (
    "Train MACE and NequIP by several methods on subsets of a data set, at equal time, and compare."
)
ROOT = Path(__file__).resolve().parents[1]
#: Options that are files, relative to the file of options that names them.
FILES = (
    "train",
    "weak_labels",
    "weak_test_labels",
    "isolated_atoms",
    "nequip_config",
    "mace_config",
)


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, and the file of options that it may name.

    Args:
        words: Its words without the program; None for the real ones.
    """
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add = parser.add_argument
    add("preset", nargs="?", type=Path, help="YAML file with any of the options below")
    add("--train", type=Path, help="frames with REF_energy, and perhaps REF_forces")
    add("--weak-labels", type=Path, help="the same frames as piwsl weak label labels them")
    add("--weak-test-labels", type=Path, help="the test frames, one file after the other, likewise")
    add("--weak-method", default="gfn2-xtb", help="makes these where no file is given: %(default)s")
    add("--test", nargs="+", metavar="[NAME=]FILE", help="test frames with forces")
    add("--isolated-atoms", type=Path, help="energies of the free atoms")
    add("--dataset", help="what to call it (default: the name of the training file)")
    add("--output", type=Path, help="folder for everything that is made")
    add("--hosts", nargs="+", choices=HOSTS, default=list(HOSTS))
    add("--methods", nargs="+", default=["plain", "taylor"], help="names in scripts/methods")
    add("--sizes", nargs="+", type=int, help="numbers of frames (default: all)")
    add("--seeds", nargs="+", type=int, default=[1])
    add("--budgets", nargs="+", type=float, metavar="SECONDS", help="training times of a run")
    add("--epochs", type=int, help="equal epochs instead of equal time")
    add("--forces", default="none", help="none (default), all, or of how many training frames")
    add("--force-weight", type=float, default=1.0, help="per weight of the energies (%(default)s)")
    add("--validation", type=float, default=0.1, help="part of each size held back (%(default)s)")
    add("--batch-size", type=int, default=10, help="structures a step (%(default)s)")
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--dtype", default="float32", choices=["float32", "float64"])
    add("--at-once", type=int, default=1, help="runs side by side (%(default)s)")
    add("--environment", nargs="+", metavar="HOST=FOLDER", help="default: .venv/mace, .venv/nequip")
    add("--nequip-config", type=Path, default=ROOT / "configs" / "piwsl_nequip.yaml")
    add("--mace-config", type=Path, default=ROOT / "scripts" / "benchmarks" / "mace.yaml")
    add("--calibration-rounds", type=int, default=2, help="short runs a method (%(default)s)")
    add("--retry-failed", action="store_true", help="run again what has failed")
    add("--report-only", action="store_true", help="train nothing; make table and figure anew")
    preset = parser.parse_args(words).preset
    if preset is not None:
        known = {action.dest for action in parser._actions} - {"help", "preset"}
        try:
            parser.set_defaults(**read_preset(preset, known))
        except ValueError as error:
            parser.error(str(error))
    chosen = parser.parse_args(words)
    for name in ("train", "test", "isolated_atoms", "output"):
        if getattr(chosen, name) is None:
            parser.error(f"--{name.replace('_', '-')} is missing")
    if (chosen.budgets is None) == (chosen.epochs is None):
        parser.error("expected --budgets or --epochs, one of them")
    if min([*(chosen.budgets or [1]), chosen.epochs or 1, chosen.at_once]) <= 0:
        parser.error("--budgets, --epochs and --at-once must be above 0")
    return chosen


def read_preset(path: Path, known: set[str]) -> dict[str, Any]:
    """Options of a file, by their names with underscores; files relative to its folder.

    Raises:
        ValueError: There is no such file, or it has unknown options.
    """
    found = {key.replace("-", "_"): value for key, value in read_config(path).items()}
    for key in found:
        if key not in known:
            raise ValueError(f"{path}: there is no option {key}")
    for key in FILES:
        if key in found:
            found[key] = path.parent / found[key]
    if "test" in found:
        named = (split_name(text) for text in found["test"])
        found["test"] = [f"{name}={path.parent / file}" for name, file in named]
    return found


def split_name(text: str) -> tuple[str, Path]:
    """Name and file of ``NAME=FILE`` or ``FILE``."""
    name, found, file = text.rpartition("=")
    return (name if found else Path(file).stem), Path(file)


def environments(chosen: argparse.Namespace) -> dict[str, Path]:
    """The environment of each host: the one that was named, .venv/HOST, or that of this Python.

    Raises:
        ValueError: A word is not HOST=FOLDER.
    """
    found = {}
    for host in HOSTS:
        made = ROOT / ".venv" / host
        found[host] = made if made.is_dir() else Path(sys.executable).parents[1]
    for word in chosen.environment or []:
        host, _, folder = word.partition("=")
        if host not in HOSTS or not folder:
            raise ValueError(f"--environment: got {word!r}, expected mace=FOLDER or nequip=FOLDER")
        found[host] = Path(folder).absolute()
    return found
