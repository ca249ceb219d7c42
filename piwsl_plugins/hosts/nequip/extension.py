"""What this package adds to NequIP at ``import nequip``: a resolver, and a form of its command.

Nothing else: which classes train is decided by a config, and without one of ours NequIP is what it
was.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from piwsl_plugins import datasets

RESOLVER = "piwsl_dataset"
"""``${piwsl_dataset:NAME}`` in a config is the path of a data set that this package ships."""


def register() -> None:
    """Register the resolver, and let ``nequip-train`` take the path of a config. Idempotent."""
    OmegaConf.register_new_resolver(RESOLVER, lambda name: str(datasets.path(name)), replace=True)
    if _is_nequip_train(sys.argv):
        sys.argv[1:] = with_config_options(sys.argv[1:])


def with_config_options(arguments: Sequence[str]) -> list[str]:
    """Turn a leading path of an existing YAML file into Hydra's two options for it.

    Args:
        arguments: the command line after the program's name.

    Returns:
        ``-cp FOLDER -cn NAME`` and the rest; the arguments as they were where the first is no
        existing YAML file.

    Raises:
        SystemExit: a name that Hydra cannot read.
    """
    if not arguments:
        return []
    path = Path(arguments[0])
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return list(arguments)
    if path.suffix != ".yaml":  # Hydra looks a name up by appending .yaml, whatever it ends in
        raise SystemExit(
            f"nequip-train: error: {path}: Hydra reads configs whose names end in .yaml; rename it"
        )
    return ["-cp", str(path.parent.resolve()), "-cn", path.stem, *arguments[1:]]


def _is_nequip_train(argv: Sequence[str]) -> bool:
    program = Path(argv[0]) if argv else Path()
    if program.name in ("nequip-train", "nequip-train.exe"):
        return True
    # `python -m nequip.scripts.train`: Python sets argv[0] to "-m" while it looks the module up
    return argv[:1] == ["-m"] and sys.orig_argv[-len(argv) :][0] == "nequip.scripts.train"
