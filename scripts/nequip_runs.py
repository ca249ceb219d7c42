"""The config of a run of ``nequip-train`` without PIWSL, and where its data stand."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path
from typing import Any

from piwsl_plugins import datasets
from piwsl_plugins.training.nequip_runs import CLOCK_FILE

ADAPTER = "piwsl_plugins.hosts.nequip.Piwsl"
#: What :func:`with_clock` adds to a run, and where the module stands.
CLOCK = "epoch_clock.EpochClock"
HERE = Path(__file__).resolve().parent
#: The clock's folder, before what the user's own PYTHONPATH names.
CLOCK_VARIABLES = {
    "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
}


def plain_config(config: dict[str, Any]) -> dict[str, Any]:
    """The same training by NequIP's own classes alone: module, data module and loss.

    Args:
        config: A config with a PIWSL training module, ``PiwslLoss`` and, perhaps, a PIWSL data
            module.

    Returns:
        A new config; everything that is not PIWSL's is as it was.

    Raises:
        ValueError: The config has no PIWSL training module.
    """
    plain = copy.deepcopy(config)
    module, data = plain["training_module"], plain["data"]
    if not str(module.get("_target_")).startswith(ADAPTER):
        raise ValueError(
            f"training_module._target_ is {module.get('_target_')}, expected {ADAPTER}..."
        )
    name = module["_target_"].removeprefix(ADAPTER)
    own_names = {"LightningModule": "NequIPLightningModule"}
    module["_target_"] = f"nequip.train.{own_names.get(name, name)}"
    module.pop("piwsl", None)
    module["loss"] = plain_loss(module["loss"])
    if str(data.get("_target_")).startswith(ADAPTER):
        name = data["_target_"].removeprefix(ADAPTER)
        own_names = {"DataModule": "NequIPDataModule"}
        data["_target_"] = f"nequip.data.datamodule.{own_names.get(name, name)}"
        data.pop("piwsl", None)
    return plain


def with_clock(config: dict[str, Any]) -> dict[str, Any]:
    """The same training with a callback that tells when each epoch ended.

    Args:
        config: A config; its run needs ``CLOCK_VARIABLES``.

    Returns:
        A new config.
    """
    timed = copy.deepcopy(config)
    path = f"${{hydra:runtime.output_dir}}/{CLOCK_FILE}"
    timed["trainer"]["callbacks"].append({"_target_": CLOCK, "path": path})
    return timed


def plain_loss(loss: dict[str, Any]) -> dict[str, Any]:
    """NequIP's own loss on the labels that a ``PiwslLoss`` trains on.

    Args:
        loss: The block ``training_module.loss`` of a config.

    Returns:
        The block that takes its place.
    """
    own = {"total_energy": 1.0, **(loss.get("coeffs") or {})}
    labels = {name: own[name] for name in ("total_energy", "forces", "stress") if own.get(name)}
    plain: dict[str, Any] = {"_target_": "nequip.train.EnergyOnlyLoss"}
    if "per_atom_energy" in loss:
        plain["per_atom_energy"] = loss["per_atom_energy"]
    if len(labels) > 1:
        plain["_target_"] = "nequip.train.EnergyForceLoss"
        if "stress" in labels:
            plain["_target_"] = "nequip.train.EnergyForceStressLoss"
        plain["coeffs"] = labels
    return plain


def data_file(name: str, root: Path) -> Path:
    """The file that a config names, a shipped one (``${piwsl_dataset:NAME}``) included.

    Args:
        name: Value of a config.
        root: Folder that relative paths are relative to.
    """
    shipped = re.fullmatch(r"\$\{piwsl_dataset:(.+)\}", name)
    return Path(datasets.path(shipped[1])) if shipped else root / name
