"""Time and peak memory of one optimiser step, plain and with each loss, as ratios with spread.

    .venv/mace/bin/python scripts/benchmarks/overhead.py mace
    .venv/nequip/bin/python scripts/benchmarks/overhead.py nequip

The plain step on energies and forces counts 1. All steps are the host's own, of a small model or
one as people train, in one process, on one batch, in turn: a round times a few steps of each, so
that a drift of the machine's speed cancels in the round's ratios; the table has their median and
range over the rounds. Memory is the peak of what a step's tensors take, weights and optimiser left
out. Labels are made up: they change nothing here.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import ase.build
import numpy as np
import pandas as pd
import torch

TERMS: dict[str, tuple[str, ...]] = {
    "taylor": ("taylor",),
    "conservative": ("conservative",),
    "both": ("taylor", "conservative"),
    "curvature": ("curvature",),
}
PLAIN = "plain, energies and forces"
Step = Callable[[int], None]
"""Makes so many optimiser steps."""


class Model(NamedTuple):
    """What differs between the model sizes: the cutoff, angstrom, and each host's own options."""

    r_max: float
    mace: dict[str, Any]
    nequip: dict[str, Any]


SIZES = {
    "small": Model(
        4.0, {"hidden_irreps": "32x0e", "max_ell": 2, "correlation": 2},
        {"num_layers": 2, "l_max": 1, "num_features": 16, "radial_mlp_width": 32},
    ),
    "large": Model(
        5.0, {"hidden_irreps": "128x0e + 128x1o", "max_ell": 3, "correlation": 3},
        {"num_layers": 4, "l_max": 2, "num_features": 64, "radial_mlp_width": 128},
    ),
}  # fmt: skip


class Setup(NamedTuple):
    """How the steps are made; the device is cpu or cuda, the compile mode eager or compile."""

    model: Model
    device: str
    dtype: str
    compile_mode: str


def structures(kind: str, size: str, number: int) -> list[ase.Atoms]:
    """Rattled molecules of 15 or 50 atoms, or cells of 100, with made-up labels."""
    frames = []
    for seed in range(number):
        if kind == "cells":
            atoms = ase.build.bulk("BN", "zincblende", a=3.62) * (5, 5, 2)
        else:
            atoms = ase.build.molecule("C3H9N")
            atoms += ase.build.molecule("H2")
            atoms.positions[-2:] += (3.0, 0.0, 0.0)
        for place in range(1, 6) if kind == "molecules" and size == "large" else ():
            more = ase.build.molecule("C2H6" if place < 5 else "HCN")
            more.positions += (4.0 * (place % 3), 4.0 * (place // 3), 4.0)
            atoms += more
        atoms.rattle(0.05, seed=seed)
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = 0.1 * seed, 0.0 * atoms.positions
        frames.append(atoms)
    return frames


def mace_step(
    frames: Sequence[ase.Atoms], terms: tuple[str, ...], forces: bool, setup: Setup
) -> Step:
    """MACE's own optimiser steps on one batch.

    The frames have ``REF_energy`` (eV) and ``REF_forces`` (eV/angstrom), which the batch has where
    ``forces`` says so; without ``terms`` of the PIWSL loss it is MACE's own.
    """
    import mace.tools  # before e3nn, whose constants load by a setting of MACE's
    from e3nn import o3
    from mace import data, modules
    from mace.tools.scripts_utils import get_loss_fn
    from mace.tools.torch_geometric.dataloader import DataLoader
    from mace.tools.train import take_step

    from piwsl_plugins.hosts.mace import run, training
    from piwsl_plugins.hosts.mace.flags import LOSSES

    r_max, device, own_options = setup.model.r_max, setup.device, dict(setup.model.mace)
    irreps = o3.Irreps(own_options.pop("hidden_irreps"))
    torch.set_default_dtype(getattr(torch, setup.dtype))
    words = ["--name", "overhead", "--energy_weight", "1000", "--scaling", "std_scaling"]
    words += ["--loss", {own: name for name, own in LOSSES.items() if own}[terms]] if terms else []
    args, _ = mace.tools.check_args(mace.tools.build_default_arg_parser().parse_args(words))
    numbers = sorted({int(number) for atoms in frames for number in atoms.numbers})
    table = mace.tools.AtomicNumberTable(numbers)
    items = []
    for atoms in frames:
        known = {"energy": atoms.info["REF_energy"]}
        known |= {"forces": atoms.arrays["REF_forces"] if forces else None}
        weights = {name: float(value is not None) for name, value in known.items()}
        config = data.Configuration(atoms.numbers, atoms.positions, known, weights)
        items.append(data.AtomicData.from_config(config, z_table=table, cutoff=r_max))
    batch = next(iter(DataLoader(items, len(items), shuffle=False)))
    torch.manual_seed(0)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=r_max, num_bessel=8, num_polynomial_cutoff=5, interaction_cls=block,
        interaction_cls_first=block, num_interactions=2, num_elements=len(table),
        hidden_irreps=irreps, MLP_irreps=o3.Irreps("16x0e"), gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(len(table)), avg_num_neighbors=10.0,
        atomic_numbers=list(table.zs), atomic_inter_scale=1.0, atomic_inter_shift=0.0,
        **own_options,
    ).to(device)  # fmt: skip

    loss: Any = get_loss_fn(args, dipole_only=False, compute_dipole=False)
    if (active := run.active()) is not None:
        given = {"model": model, "train_loader": [batch], "loss_fn": loss, "swa": None}
        given |= {"logger": None, "start_epoch": 0, "max_num_epochs": 10**6, "rank": 0}
        names = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in given]
        call = inspect.Signature(names).bind(**given)
        loss = training.wrap_train(active, lambda **bound: bound["loss_fn"], call)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)
    outputs = {"forces": True, "virials": False, "stress": False}

    def steps(number: int) -> None:
        for _ in range(number):
            take_step(model, loss, batch, optimizer, None, outputs, 10.0, torch.device(device))

    return steps


def nequip_step(
    frames: Sequence[ase.Atoms], terms: tuple[str, ...], forces: bool, setup: Setup
) -> Step:
    """Optimiser steps of Lightning's trainer with a NequIP model; arguments as of `mace_step`."""
    import lightning
    from nequip.data import AtomicDataDict, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.train import EMALightningModule
    from nequip.utils.global_state import set_global_state

    from piwsl_plugins.hosts.nequip import PiwslEMALightningModule

    set_global_state()
    r_max, device = setup.model.r_max, setup.device
    names = sorted({symbol for atoms in frames for symbol in atoms.get_chemical_symbols()})
    coeffs = {"total_energy": 1.0, **({"forces": 1.0} if forces else {})}
    own = "EnergyForceLoss" if forces else "EnergyOnlyLoss"
    loss = {"_target_": f"nequip.train.{own}", **({"coeffs": coeffs} if forces else {})}
    model = {
        "_target_": "nequip.model.NequIPGNNModel", "seed": 1, "model_dtype": setup.dtype,
        "compile_mode": setup.compile_mode, "type_names": names, "r_max": r_max, "parity": False,
        "radial_mlp_depth": 1, "num_bessels": 8, "avg_num_neighbors": 10.0,
        "per_type_energy_scales": 1.0, "do_derivatives": forces or bool(terms),
        **setup.model.nequip,
    }  # fmt: skip
    config: dict[str, Any] = {
        "model": model,
        "num_datasets": {"train": 1, "val": 0, "test": 0, "predict": 0},
        "loss": loss,
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 1e-6},
        "ema_decay": 0.99,
    }
    if terms:
        target = "piwsl_plugins.hosts.nequip.PiwslLoss"
        config["loss"] = {"_target_": target, "terms": list(terms), "coeffs": coeffs}
        config["piwsl"] = {}
    module = (PiwslEMALightningModule if terms else EMALightningModule)(**config)
    reach = r_max + (module.piwsl_settings.skin if terms else 0.0)
    listed, lists = [], NeighborListTransform(r_max=r_max)
    for atoms in frames:
        one = from_ase(atoms)
        one[AtomicDataDict.TOTAL_ENERGY_KEY] = torch.tensor([[atoms.info["REF_energy"]]])
        one[AtomicDataDict.FORCE_KEY] = torch.tensor(atoms.arrays["REF_forces"])
        one = ChemicalSpeciesToAtomTypeMapper(names)(one)
        listed.append(NeighborListTransform(r_max=reach)(one))
    batch = AtomicDataDict.batched_from_list(listed)
    data: Any = lightning.LightningDataModule()
    data.val_dataset, data.train_dataset = [], [SimpleNamespace(transforms=[lists])]

    def steps(number: int) -> None:
        quiet = dict.fromkeys(("enable_checkpointing", "enable_progress_bar"), False)
        trainer = lightning.Trainer(
            accelerator="cpu" if device == "cpu" else "gpu", devices=1, max_steps=number,
            logger=False, enable_model_summary=False, **quiet,
        )  # fmt: skip
        batches: Any = [batch] * number
        data.train_dataloader = lambda: torch.utils.data.DataLoader(batches, batch_size=None)
        trainer.fit(module, datamodule=data)

    return steps


def peak_memory(step: Step, device: str) -> float:
    """Peak of the memory that a step's tensors take beyond what is there before, MB.

    Of two steps, as the terms act on every second one.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(2)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        step(2)
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return float(np.cumsum([event.nbytes() for event in events]).max(initial=0)) / 2**20


def measure(steps: dict[str, Step], rounds: int, number: int, device: str) -> pd.DataFrame:
    """A row a kind of step: milliseconds, peak memory, and ratios to the plain step."""
    memory = {}
    for name, step in steps.items():
        step(number)  # what is made once is made now
        memory[name] = peak_memory(step, device)
    seconds: list[dict[str, float]] = []
    for _ in range(rounds):
        seconds.append({})
        for name, step in steps.items():
            start = time.perf_counter()
            step(number)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[-1][name] = (time.perf_counter() - start) / number
    times = pd.DataFrame(seconds)
    ratios = times.div(times[PLAIN], axis=0)
    table = pd.DataFrame({"ms": 1e3 * times.median(), "time": ratios.median()})
    table["lowest"], table["highest"] = ratios.min(), ratios.max()
    table["MB"] = pd.Series(memory)
    return table.assign(memory=table["MB"] / memory[PLAIN])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; ``arguments`` are the command line's, None for the real one's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("host", choices=("mace", "nequip"))
    add("--size", choices=SIZES, default="small")
    add("--structures", choices=("molecules", "cells"), default="molecules")
    add("--batch-size", type=int, help="10 molecules of a small model, 16 of a large one, 8 cells")
    add("--dtype", choices=("float32", "float64"), default="float32")
    add("--compile", action="store_const", const="compile", default="eager", help="NequIP alone")
    add("--forces-only", action="store_true", help="no rows of energies alone")
    add("--json", type=Path, help="write the table there too")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--rounds", type=int, default=5)
    add("--steps", type=int, default=10, help="steps of each kind in a round (%(default)s)")
    options = parser.parse_args(arguments)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    make = mace_step if options.host == "mace" else nequip_step
    usual, kind = 10 if options.size == "small" else 16, options.structures
    number = options.batch_size or (8 if kind == "cells" else usual)
    frames, device = structures(kind, options.size, number), options.device
    setup = Setup(SIZES[options.size], device, options.dtype, options.compile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the hosts' own
        steps = {PLAIN: make(frames, (), True, setup)}
        for name, terms in TERMS.items():
            steps[f"{name}, with forces"] = make(frames, terms, True, setup)
        for name, terms in {} if options.forces_only else {"plain": (), **TERMS}.items():
            steps[f"{name}, energies"] = make(frames, terms, False, setup)
        table = measure(steps, options.rounds, options.steps, device)
    what = f"{len(frames)} {kind} of {len(frames[0])} atoms, {options.size} model"
    how = f"{options.dtype}, {device}{', compiled' * (options.compile == 'compile')}"
    print(f"{options.host}, {what}, {how}; ratios to the first row")
    print(table.to_string(float_format="{:.2f}".format))
    if options.json:
        options.json.write_text(json.dumps(table.to_dict("index"), indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
