"""Train MACE and NequIP by several methods on subsets of a data set, at equal time, and compare.

    python scripts/benchmarks/accuracy.py scripts/benchmarks/acac.yaml --output results/acac \
        --hosts nequip --methods plain plain-energies taylor --sizes 50 100 --seeds 1 2 \
        --budgets 60 120

The file, if any, holds options of this command line, which win over it. A run is the host's own
``mace_run_train`` or ``nequip-train`` (``piwsl train`` for a student); a method is a file in
scripts/benchmarks/methods. ``--budgets`` are seconds of training on a machine with nothing else to
do (CPU time, on the CPU): what an epoch costs is measured by short runs first, beside plain ones,
and gives the number of epochs, over which the learning rate falls. What has a record is not
repeated, so that rerunning resumes; results.csv, summary.md and learning_curves.png in ``--output``
are of all records there.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from campaign import NAMES, ROOT, Campaign, Case, split_name, tell
from host_configs import read_config
from host_runs import Run, run_all
from learning_curves import learning_curves
from summary import summary

FILES = ("train", "isolated_atoms", "nequip_config", "mace_config")
"""Options that are files, relative to the file of options that names them."""


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line, and the file of options that it may name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("preset", nargs="?", type=Path, help="YAML file with any of the options below")
    add("--train", type=Path, help="frames with REF_energy, and perhaps REF_forces")
    add("--test", nargs="+", metavar="[NAME=]FILE", help="test frames with forces")
    add("--isolated-atoms", type=Path, help="energies of the free atoms")
    add("--dataset", help="what to call it (default: the name of the training file)")
    add("--output", type=Path, help="folder for everything that is made")
    add("--hosts", nargs="+", choices=NAMES, default=list(NAMES))
    add("--methods", nargs="+", default=["plain", "taylor"], help="names of files in methods")
    add("--sizes", nargs="+", type=int, help="numbers of frames (default: all)")
    add("--seeds", nargs="+", type=int, default=[1])
    add("--budgets", nargs="+", type=float, metavar="SECONDS", help="training times of a run")
    add("--epochs", type=int, help="equal epochs instead of equal time")
    add("--forces", default="none", help="none (default), all, or of how many training frames")
    add("--force-weight", type=float, default=1.0, help="per weight of the energies (%(default)s)")
    add("--validation", type=float, default=0.1, help="part of each size held back (%(default)s)")
    add("--batch-size", type=int, default=10, help="structures a step (%(default)s)")
    add("--weak-method", default="gfn2-xtb", help="the cheap method of piwsl label (%(default)s)")
    add("--device", default="cpu", choices=["cpu", "cuda"])
    add("--dtype", default="float32", choices=["float32", "float64"])
    add("--at-once", type=int, default=1, help="runs side by side (%(default)s)")
    add("--environment", nargs="+", default=[], metavar="HOST=FOLDER", help="default: .venv/HOST")
    add("--nequip-config", type=Path, default=ROOT / "configs" / "piwsl_nequip.yaml")
    add("--mace-config", type=Path, default=Path(__file__).with_name("mace.yaml"))
    add("--calibration-rounds", type=int, default=2, help="short runs a method (%(default)s)")
    add("--retry-failed", action="store_true", help="run again what has failed")
    add("--report-only", action="store_true", help="train nothing; make table and figure anew")
    if preset := parser.parse_args(words).preset:
        try:
            parser.set_defaults(**read_preset(preset, vars(parser.parse_args([]))))
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


def read_preset(path: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Options of a file, by their names with underscores; files relative to its folder."""
    found = {key.replace("-", "_"): value for key, value in read_config(path).items()}
    for key in found:
        if key not in known:
            raise ValueError(f"{path}: there is no option {key}")
        if key in FILES:
            found[key] = path.parent / found[key]
    if "test" in found:
        named = map(split_name, found["test"])
        found["test"] = [f"{name}={path.parent / file}" for name, file in named]
    return found


def train(made: Campaign) -> None:
    """Measure what is not yet measured, and run what has no record.

    Raises:
        ValueError: a plain short run failed, without which nothing can be measured.
    """
    todo = [case for case in made.cases if not made.is_done(case)]
    tell(f"{len(made.cases)} runs, {len(made.cases) - len(todo)} of them already there")
    made.measure_costs(todo)
    jobs: list[tuple[Run, Case]] = []
    for case in todo:
        try:
            jobs.append((made.run(case, made.epochs(case), "runs"), case))
        except ValueError as error:
            made.write(case, str(error), {}, {})
    cases = {id(run): case for run, case in jobs}
    runs = [run for run, _ in jobs]
    run_all(runs, made.chosen.at_once, tell, lambda run: made.finish(cases[id(run)], run))


def table_of(folder: Path) -> pd.DataFrame:
    """All records as a table: one row a run and test set, or one a run that failed."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        tests = record.pop("tests") or {"": {}}
        rows += [{"test": name, **record, **errors} for name, errors in tests.items()]
    order = ["host", "test", "train_size", "budget_s", "baseline", "method", "seed"]
    ascending = [name != "baseline" for name in order]
    return pd.DataFrame(rows).sort_values(order, ascending=ascending, ignore_index=True)


def report(made: Campaign) -> None:
    """Write results.csv, summary.md and learning_curves.png, and tell of them."""
    table = table_of(made.folder / "records")
    table.to_csv(made.folder / "results.csv", index=False, float_format="%.6g")
    text = summary(table)
    (made.folder / "summary.md").write_text(text, encoding="utf-8")
    tell(text)
    done = table[table["status"] == "done"]
    if len(done):  # of the longest training at each size
        longest = done.groupby(["host", "train_size"])["budget_s"].transform("max")
        done = done[(done["budget_s"] == longest) | longest.isna()]
        figure = learning_curves(done, made.dataset)
        figure.savefig(made.folder / "learning_curves.png", dpi=150)
    tell(f"{made.folder}: results.csv, summary.md, learning_curves.png")


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``words`` are the command line's, None for the real one's."""
    chosen = options(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the trainings end with us
    try:
        made = Campaign(chosen)
        if not chosen.report_only:
            train(made)
        report(made)
    except (ValueError, OSError) as error:
        tell(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        tell("interrupted; rerun to resume")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
