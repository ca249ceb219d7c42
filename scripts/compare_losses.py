"""Train a host, plain and with each PIWSL loss, on the energies of one data set, and compare.

    .venv/mace/bin/python scripts/compare_losses.py --train ../shared/data/acac/train_300K.xyz \
        --test ../shared/data/acac/test_300K.xyz \
        --isolated-atoms ../shared/data/acac/isolated_atoms.xyz --output results/acac

and the same with ``.venv/nequip/bin/python`` and ``--host nequip``, for which the model and the
optimiser are those of configs/piwsl_nequip.yaml (or of ``--nequip-config``, for Allegro). The
training frames' forces are dropped, but for ``--forces``; the test frames' forces are what the
models are judged by. A run that is already there is evaluated, not repeated, so that an interrupted
comparison goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ase.io
import yaml
from ase.data import chemical_symbols
from evaluate_model import load
from host_runs import Run, started
from mace_runs import MaceRun
from nequip_runs import NequipRun, plain_config, write_config
from rich.console import Console
from rich.table import Table

from piwsl_plugins.evaluation import compare, summarise

ROOT = Path(__file__).resolve().parents[1]
NEQUIP_CONFIG = ROOT / "configs" / "piwsl_nequip.yaml"
EPOCHS = {"mace": 80, "nequip": 400}
HOSTS = {"mace": "MACE", "nequip": "NequIP"}
METHODS = ["plain", "taylor", "conservative", "both"]
FIRST_ORDER = "--piwsl_order 1 --piwsl_max_displacement 0.05"
MACE_VARIANTS = {
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

SHORT: dict[str, Any] = {"order": 1, "max_displacement": 0.05}
NEQUIP_VARIANTS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "plain": ([], {}),
    "plain-energies": ([], {}),
    "taylor": (["taylor"], {}),
    "conservative": (["conservative"], {}),
    "both": (["taylor", "conservative"], {}),
    "taylor-order1": (["taylor"], {**SHORT, "taylor_weight": 0.01}),
    "conservative-order1": (["conservative"], {**SHORT, "conservative_weight": 0.01}),
    "taylor-hessian": (["taylor"], {"second_order": "hessian"}),
    "taylor-strong": (["taylor"], {"taylor_weight": 0.5}),
    "taylor-tolerance": (["taylor"], {**SHORT, "tolerance": 30}),
}
"""The same for NequIP: terms of the loss, and the block ``piwsl``; weights per energy weight 1.

``plain-energies`` is NequIP's own recipe for energies alone: no forces while it trains.
"""


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


def free_atoms(path: Path) -> dict[int, float]:
    """Energies of the free atoms, eV, by atomic number."""
    return {int(a.numbers[0]): float(a.info["REF_energy"]) for a in ase.io.iread(path)}


def mace_arguments(options: argparse.Namespace, train: Path) -> list[str]:
    """Arguments of ``mace_run_train`` that all runs share."""
    gamma = 0.02 ** (1.0 / options.epochs)
    arguments = {
        "train_file": train.resolve(),
        "valid_fraction": 0.1,
        "E0s": free_atoms(options.isolated_atoms),
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
    if options.forces is not None:
        arguments["forces_weight"] = f"{1000 * options.forces:g}"
    listed = [part for key, value in arguments.items() for part in (f"--{key}", str(value))]
    return [*listed, "--ema", "--plot", "False"]


def nequip_config(
    options: argparse.Namespace, train: Path, terms: Sequence[str], settings: dict[str, Any]
) -> dict[str, Any]:
    """The config of one run: that of configs/piwsl_nequip.yaml, for other data and another loss.

    Args:
        options: the command line.
        train: file of the training frames.
        terms: terms of the loss; none for plain NequIP.
        settings: what the block ``piwsl`` holds.

    Returns:
        The config.
    """
    config: dict[str, Any] = yaml.safe_load(options.nequip_config.read_text(encoding="utf-8"))
    energies = {chemical_symbols[z]: e for z, e in free_atoms(options.isolated_atoms).items()}
    config |= {"run": ["train"], "type_names": list(energies), "atomic_energies": energies}
    data, trainer, module = config["data"], config["trainer"], config["training_module"]
    data["seed"] = module["model"]["seed"] = options.seed
    data["split_dataset"]["file_path"] = str(train.resolve())
    data["test_file_path"] = str(options.test.resolve())
    data["key_mapping"] = {"REF_energy": "total_energy", "REF_forces": "forces"}
    trainer["accelerator"] = "cpu" if options.device == "cpu" else "gpu"
    trainer["max_epochs"] = options.epochs
    data["train_dataloader"]["batch_size"] = 10
    data["val_dataloader"]["batch_size"] = 50
    module["model"]["model_dtype"] = options.dtype
    module["piwsl"] = settings
    coeffs = {"total_energy": 1.0}
    if options.forces is not None:
        coeffs["forces"] = options.forces
        picks = {"per_atom_energy_rmse": 1.0, "forces_rmse": math.sqrt(options.forces)}
        module["val_metrics"] = {"_target_": "nequip.train.EnergyForceMetrics", "coeffs": picks}
    module["loss"] |= {"terms": list(terms), "coeffs": coeffs}
    return config if terms else plain_config(config)


def make_run(options: argparse.Namespace, train: Path, name: str) -> tuple[Run, Any]:
    """One run, and everything that it is made of.

    Args:
        options: the command line.
        train: file of the training frames.
        name: name of the variant.

    Returns:
        The run, not yet started, and the arguments or the config.
    """
    record = f"{name}-seed{options.seed}"
    folder, root = unused_folder(options.output, record), options.output.resolve()
    if options.host == "mace":
        wanted = [*mace_arguments(options, train), *MACE_VARIANTS[name].split()]
        run: Run = MaceRun(
            label=name, arguments=wanted, folder=folder, root=root, epochs=options.epochs
        )
        return run, wanted
    config = nequip_config(options, train, *NEQUIP_VARIANTS[name])
    if name == "plain-energies":
        config["training_module"]["model"]["do_derivatives"] = False
    path = root / f"{folder}.yaml"
    run = NequipRun(
        label=name, arguments=[path.name], folder=folder, root=root, epochs=options.epochs
    )
    return run, config


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


def train(run: Run) -> dict[str, Any]:
    """Train one variant.

    Args:
        run: the run; its folder must not exist.

    Returns:
        Wall-clock (s), mean milliseconds a step, and peak resident memory (MB; None where the
        system does not tell).
    """
    with started([run]):
        while not run.poll():
            time.sleep(1.0)
    validation = [1e3 * error for error in run.validation]
    return {
        "wall_clock_s": run.wall_clock,
        "ms_per_step": run.milliseconds_a_step,
        "peak_memory_mb": run.peak_memory_mb,
        "validation_energy_rmse_mev_last_quarters": [
            validation[len(validation) * quarter // 4 - 1] for quarter in (2, 3, 4)
        ],
    }


def evaluate(run: Run, test: Path, device: str) -> dict[str, Any]:
    """Figures of merit of a trained model on the test frames."""
    calculator = load(run.host, run.model, device=device)
    return asdict(summarise(compare(list(ase.io.iread(test)), calculator)))


def show(results: dict[str, dict[str, Any]], title: str) -> None:
    """Print the table."""
    table = Table(title=title)
    table.add_column("run", no_wrap=True)
    for heading in ("energy RMSE (meV)", "force RMSE (meV/Å)", "slope", "step (ms)"):
        table.add_column(heading, justify="right")
    for heading in ("peak memory (MB)", "time (s)"):
        table.add_column(heading, justify="right")
    for name, found in results.items():
        test, training = found["test"], found["training"]
        table.add_row(
            name,
            f"{test['energy_rmse_mev']:.1f}",
            f"{test['force_rmse_mev_per_angstrom']:.0f}",
            f"{test['softening']['slope']:.3f}",
            f"{training['ms_per_step']:.0f}",
            f"{training['peak_memory_mb'] or math.nan:.0f}",
            f"{training['wall_clock_s']:.0f}",
        )
    Console().print(table)


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--host", choices=HOSTS, default="mace")
    parser.add_argument("--train", type=Path, required=True, help="training frames")
    parser.add_argument("--test", type=Path, required=True, help="test frames with forces")
    parser.add_argument("--isolated-atoms", type=Path, required=True, help="energies of the atoms")
    parser.add_argument("--output", type=Path, required=True, help="folder for runs and results")
    parser.add_argument("--variants", nargs="+", choices=NEQUIP_VARIANTS, default=METHODS)
    parser.add_argument("--nequip-config", type=Path, default=NEQUIP_CONFIG, help="(%(default)s)")
    parser.add_argument(
        "--forces",
        type=float,
        nargs="?",
        const=1.0,
        metavar="WEIGHT",
        help="train on the forces too, with WEIGHT times the energies' weight (alone: 1)",
    )
    parser.add_argument("--epochs", type=int, help="default: 80 of MACE, 400 of NequIP")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    options = parser.parse_args()
    options.epochs = options.epochs or EPOCHS[options.host]
    if options.host == "mace" and "plain-energies" in options.variants:
        parser.error("MACE always computes forces; plain-energies is NequIP's")
    options.output.mkdir(parents=True, exist_ok=True)
    labels = "energies alone" if options.forces is None else "energies and forces"
    train_file = options.train
    if options.forces is None:
        train_file = energies_only(options.train, options.output)
    results: dict[str, dict[str, Any]] = {}
    for name in options.variants:
        record = options.output / f"{name}-seed{options.seed}.json"
        run, wanted = make_run(options, train_file, name)
        if not record.exists():
            if options.host == "nequip":
                comment = f"{options.output.name}, {name}"
                write_config(wanted, run.root / f"{run.folder}.yaml", comment)
            print(f"training {name} ...", file=sys.stderr, flush=True)
            found = {"arguments": wanted, "command": run.command, "training": train(run)}
            found["test"] = evaluate(run, options.test, options.device)
            record.write_text(json.dumps(found, indent=1))
        results[name] = json.loads(record.read_text())
        if results[name]["arguments"] != json.loads(json.dumps(wanted)):
            parser.error(f"{record} was made with other settings; choose another --output")
    show(results, f"Test errors of {HOSTS[options.host]} models trained on {labels}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
