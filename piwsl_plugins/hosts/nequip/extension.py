"""What this package adds to NequIP at ``import nequip``: fields, a resolver, a form of its command.

Nothing else: which classes train is decided by a config, and without one of ours NequIP is what it
was.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import wrapt
from nequip.data import register_fields
from omegaconf import OmegaConf

import piwsl_plugins
from piwsl_plugins import datasets
from piwsl_plugins.hosts import errors
from piwsl_plugins.settings import WEAK_FORCES

WEAK_FORCES_WEIGHTS = "weak_forces_weights"
"""Trust in each atom's weak force, from 0 to 1."""


def register() -> None:
    """Register fields and a resolver, and let ``nequip-train`` take the path of a config."""
    register_fields(node_fields=[WEAK_FORCES, WEAK_FORCES_WEIGHTS])
    OmegaConf.register_new_resolver("piwsl_dataset", lambda n: str(datasets.path(n)), replace=True)
    wrapt.register_post_import_hook(
        lambda module: wrapt.wrap_function_wrapper(module, "main", _train), "nequip.scripts.train"
    )
    wrapt.register_post_import_hook(_name_distribution, "nequip.utils.versions.version_utils")


def _name_distribution(module: Any) -> None:
    """Let NequIP, which looks versions up by a top module's name, find that of this extension."""
    vars(module).setdefault("_ALL_PKGS", {})[__name__.rpartition(".")[0]] = ["piwsl-plugins"]


def with_config_options(arguments: Sequence[str]) -> list[str]:
    """Turn a leading path of a YAML file into Hydra's ``-cp FOLDER -cn NAME``.

    Raises:
        ValueError: a file that is not there, or that Hydra does not read.
    """
    first = arguments[0] if arguments else ""
    path = Path(first)
    if path.suffix not in (".yaml", ".yml") or ("=" in first and not path.is_file()):
        return list(arguments)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; write nequip-train CONFIG.yaml [KEY=VALUE ...]")
    if path.suffix != ".yaml":  # Hydra looks a name up by appending .yaml, whatever it ends in
        raise ValueError(f"{path}: Hydra reads configs whose names end in .yaml; rename it")
    return ["-cp", str(path.parent.resolve()), "-cn", path.stem, *arguments[1:]]


def _train(main: Any, _: Any, args: Any, kwargs: Any) -> Any:
    """NequIP's command, with a path for a config and this package's errors as one message."""
    before = sys.argv
    try:
        sys.argv = [before[0], *with_config_options(before[1:])]
        return main(*args, **kwargs)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not _is_ours(cause):
            cause = cause.__cause__  # Hydra's, around that of a class that it made
        if cause is None:
            raise
        with errors.plain_errors("nequip-train"):
            raise cause from error
    finally:
        sys.argv = before


def _is_ours(error: BaseException) -> bool:
    """Whether an error is about the user's input and was raised by this package."""
    raised = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)[-1:]]
    own = [path for path in raised if path.is_relative_to(Path(piwsl_plugins.__file__).parent)]
    return bool(own) and isinstance(error, ValueError | errors.SeamError)
