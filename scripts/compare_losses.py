"""Train plain MACE and MACE with each PIWSL loss on the energies of one data set, and compare.

    python scripts/compare_losses.py --train ../shared/data/acac/train_300K.xyz \
        --test ../shared/data/acac/test_300K.xyz \
        --isolated-atoms ../shared/data/acac/isolated_atoms.xyz --output results/acac

The training frames' forces are dropped; the test frames' forces are what the models are judged by.
A run that is already there is evaluated, not repeated, so that an interrupted comparison goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ase.io
from mace_runs import MaceRun, started
from rich.console import Console
from rich.table import Table

from piwsl_plugins.evaluation import compare, summarise

FIRST_ORDER = "--piwsl_order 1 --piwsl_max_displacement 0.05"
VARIANTS = {
    "plain": "--loss weighted",
    "taylor": "--loss piwsl_taylor",
    "conservative": "--loss piwsl_conservative",
    "both": "--loss piwsl",
    "taylor-order1": f"--loss piwsl_taylor {FIRST_ORDER} --piwsl_taylor_weight 10",
    "conservative-order1": f"--loss piwsl_conservative {FIRST_ORDER} "
    "--piwsl_conservative_weight 10",
    "taylor-hessian": "--loss piwsl_taylor --piwsl_second_order hessian",
    "taylor-strong": "--loss piwsl_taylor --piwsl_taylor_weight 500",
    "taylor-tolerance": f"--loss piwsl_taylor {FIRST_ORDER} --piwsl_tolerance 30",
}
"""Arguments of ``mace_run_train`` that tell the runs apart; the defaults where nothing is said."""


def energies_only(path: Path, output: Path) -> Path:
    """Write a copy of a file without its forces.

    Args:
        path: frames with ``REF_energy`` (eV) and perhaps ``REF_forces``.
        output: folder of the copy.

    Returns:
        The copy.
    """
    copy = output / f"{path.stem}_energies.xyz"
    if not copy.exists():
        frames = list(ase.io.iread(path))
        for atoms in frames:
            atoms.arrays.pop("REF_forces", None)
        ase.io.write(copy, frames)
    return copy


def common_arguments(options: argparse.Namespace, train: Path) -> list[str]:
    """Arguments of ``mace_run_train`` that all runs share."""
    atoms = list(ase.io.iread(options.isolated_atoms))
    energies = {int(a.numbers[0]): float(a.info["REF_energy"]) for a in atoms}
    gamma = 0.02 ** (1.0 / options.epochs)
    arguments = {
        "train_file": train.resolve(),
        "valid_fraction": 0.1,
        "E0s": energies,
        "energy_key": "REF_energy",
        "forces_key": "REF_forces",
        "model": "ScaleShiftMACE",
        "hidden_irreps": "32x0e",
        "r_max": 4.0,
        "max_ell": 2,
        "correlation": 2,
        "scaling": "std_scaling",
        "default_dtype": options.dtype,
        "batch_size": 10,
        "valid_batch_size": 50,
        "max_num_epochs": options.epochs,
        "lr": 0.01,
        "scheduler": "ExponentialLR",
        "lr_scheduler_gamma": f"{gamma:.6f}",
        "energy_weight": 1000,
        "error_table": "TotalRMSE",
        "seed": options.seed,
        "device": options.device,
    }
    listed = [part for key, value in arguments.items() for part in (f"--{key}", str(value))]
    return [*listed, "--ema", "--plot", "False"]


def unused_folder(output: Path, name: str) -> Path:
    """A folder that does not exist yet: ``name``, or ``name-2``, ... beside interrupted runs.

    Args:
        output: where the runs are.
        name: what the folder should be called.

    Returns:
        The folder, relative to ``output``.
    """
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(Path(free) for free in names if not (output / free).exists())


def train(run: MaceRun) -> dict[str, Any]:
    """Train one variant.

    Args:
        run: the run; its folder must not exist.

    Returns:
        Wall-clock (s), milliseconds a step, and peak resident memory (MB; None where the system
        does not tell).
    """
    peak: float | None = None
    with started([run]):
        process = run._process
        while not run.poll():
            if process is not None:
                peak = peak_memory(process.pid) or peak
            time.sleep(1.0)
    results = next((run.root / run.folder).glob("results/*_train.txt"))
    records = [json.loads(line) for line in results.read_text().splitlines()]
    steps = [record["time"] for record in records if record["mode"] == "opt"]
    validation = [1e3 * record["rmse_e"] for record in records if record["mode"] == "eval"]
    return {
        "wall_clock_s": run.wall_clock,
        "ms_per_step_median": 1e3 * statistics.median(steps),
        "peak_memory_mb": peak,
        "validation_energy_rmse_mev_last_quarters": [
            validation[len(validation) * quarter // 4 - 1] for quarter in (2, 3, 4)
        ],
    }


def peak_memory(pid: int) -> float | None:
    """Peak resident memory of a process so far, MB, on Linux; None elsewhere or once it ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(sizes[0]) / 1024 if sizes else None


def evaluate(model: Path, test: Path, device: str) -> dict[str, Any]:
    """Figures of merit of a trained model on the test frames."""
    from mace.calculators import MACECalculator

    calculator = MACECalculator(model_paths=str(model), device=device, default_dtype="float64")
    return asdict(summarise(compare(list(ase.io.iread(test)), calculator)))


def show(results: dict[str, dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title="Test errors of models trained on energies alone")
    headings = ["run", "energy RMSE (meV)", "force RMSE (meV/Å)", "slope", "time a step (ms)"]
    for heading in [*headings, "peak memory (MB)", "wall-clock (s)"]:
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for name, found in results.items():
        test, training = found["test"], found["training"]
        table.add_row(
            name,
            f"{test['energy_rmse_mev']:.1f}",
            f"{test['force_rmse_mev_per_angstrom']:.0f}",
            f"{test['softening']['slope']:.3f}",
            f"{training['ms_per_step_median']:.0f}",
            f"{training['peak_memory_mb'] or float('nan'):.0f}",
            f"{training['wall_clock_s']:.0f}",
        )
    Console().print(table)


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--train", type=Path, required=True, help="training frames")
    parser.add_argument("--test", type=Path, required=True, help="test frames with forces")
    parser.add_argument("--isolated-atoms", type=Path, required=True, help="energies of the atoms")
    parser.add_argument("--output", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS)[:5])
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    train_file = energies_only(options.train, options.output)
    arguments = common_arguments(options, train_file)
    results: dict[str, dict[str, Any]] = {}
    for name in options.variants:
        record = options.output / f"{name}-seed{options.seed}.json"
        wanted = [*arguments, *VARIANTS[name].split()]
        if not record.exists():
            folder = unused_folder(options.output, record.stem)
            run = MaceRun(
                label=name, arguments=wanted, folder=folder, root=options.output.resolve()
            )
            print(f"training {name} ...", file=sys.stderr, flush=True)
            found = {"arguments": wanted, "training": train(run)}
            found["test"] = evaluate(run.model, options.test, options.device)
            record.write_text(json.dumps(found, indent=1))
        results[name] = json.loads(record.read_text())
        if results[name]["arguments"] != wanted:
            parser.error(f"{record} was made with other settings; choose another --output")
    show(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
