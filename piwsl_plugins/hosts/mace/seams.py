"""Every symbol of MACE that is wrapped, the versions this was tested with, and the wrapping.

MACE has no plugin mechanism. Each symbol is wrapped where it is defined, by a hook that runs
after that module's import, so that ``mace_run_train``, ``python -m mace.cli.run_train`` and
``torchrun .../run_train.py`` all pick it up. Nothing of MACE is replaced: each wrapper calls the
original, and does nothing else unless a PIWSL loss was chosen.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

from piwsl_plugins.hosts.errors import SeamError

TESTED_VERSIONS = ("0.3.16",)


@dataclasses.dataclass(frozen=True, slots=True)
class Seam:
    """One wrapped symbol.

    Attributes:
        module: module that defines the symbol.
        name: its name there, dotted for a method.
        parameters: parameters that the wrapper relies on.
        wrapper: ``module:function`` of the wrapper, imported when it is first called.
        reexported_by: modules that import the symbol by name.
    """

    module: str
    name: str
    parameters: tuple[str, ...]
    wrapper: str
    reexported_by: tuple[str, ...] = ()


_ADAPTER = "piwsl_plugins.hosts.mace"
SEAMS = (
    Seam(
        "mace.tools.arg_parser",
        "build_default_arg_parser",
        (),
        f"{_ADAPTER}.flags:wrap_parser",
        ("mace.tools",),
    ),
    Seam(
        "mace.tools.arg_parser_tools",
        "check_args",
        ("args",),
        f"{_ADAPTER}.run:wrap_check_args",
        ("mace.tools",),
    ),
    Seam(
        "mace.data.utils",
        "load_from_xyz",
        ("file_path", "key_specification", "extract_atomic_energies", "no_data_ok"),
        f"{_ADAPTER}.labels:wrap_load_from_xyz",
        ("mace.data",),
    ),
    Seam(
        "mace.data.atomic_data",
        "AtomicData.from_config",
        ("config", "cutoff"),
        f"{_ADAPTER}.geometry:wrap_from_config",
    ),
    Seam(
        "mace.tools.scripts_utils",
        "get_loss_fn",
        ("args",),
        f"{_ADAPTER}.run:wrap_get_loss_fn",
        ("mace.cli.run_train", "__main__"),
    ),
    Seam(
        "mace.tools.scripts_utils",
        "get_swa",
        ("args",),
        f"{_ADAPTER}.run:wrap_get_swa",
        ("mace.cli.run_train", "__main__"),
    ),
    Seam(
        "mace.tools.train",
        "train",
        ("model", "loss_fn", "train_loader", "logger", "start_epoch", "rank", "swa"),
        f"{_ADAPTER}.run:wrap_train",
        ("mace.tools",),
    ),
)
"""Used beside these, unwrapped: ``mace.modules.loss.reduce_loss``,
``mace.data.neighborhood.get_neighborhood`` and the output keys of MACE's models."""


def install() -> None:
    """Wrap every seam when its module is imported, or now if it has been. Idempotent."""
    for seam in SEAMS:
        module = sys.modules.get(seam.module)
        if module is not None and _is_wrapped(_resolve(module, seam.name)):
            continue
        wrapt.register_post_import_hook(_hook(seam), seam.module)


def verify() -> None:
    """Check MACE's version and every seam.

    Raises:
        SeamError: an untested version, or a seam that is not where, or what, it was.
    """
    import mace

    version = mace.__version__
    if version not in TESTED_VERSIONS:
        raise SeamError(
            f"mace-torch {version} is installed; the PIWSL losses were tested with "
            f"{', '.join(TESTED_VERSIONS)}. Install that version, e.g. "
            f"pip install mace-torch=={TESTED_VERSIONS[-1]}, or train without a PIWSL loss."
        )
    for seam in SEAMS:
        where = f"{seam.module}.{seam.name} of mace-torch {version}"
        function = _resolve(importlib.import_module(seam.module), seam.name)
        if function is None:
            raise SeamError(f"{where} is not there any more; report this to piwsl-plugins.")
        missing = set(seam.parameters) - set(inspect.signature(function).parameters)
        if missing:
            raise SeamError(
                f"{where} has lost the parameters {sorted(missing)}; report this to piwsl-plugins."
            )
        importers = [sys.modules[name] for name in seam.reexported_by if name in sys.modules]
        bound = [function] + [getattr(module, seam.name, function) for module in importers]
        if not all(_is_wrapped(candidate) for candidate in bound):
            raise SeamError(
                f"{where} was imported before the PIWSL hooks were in place. Start the training "
                "as `piwsl mace-train ...`, or import torch before mace."
            )


def _hook(seam: Seam) -> Callable[[ModuleType], None]:
    def patch(module: ModuleType) -> None:
        original = _resolve(module, seam.name)
        if original is None or _is_wrapped(original):
            return  # a symbol that moved is reported by verify(), when a PIWSL loss is chosen
        wrapt.wrap_function_wrapper(module, seam.name, _lazy(seam.wrapper))
        for name in seam.reexported_by:
            importer = sys.modules.get(name)
            if importer is not None and getattr(importer, seam.name, None) is original:
                setattr(importer, seam.name, getattr(module, seam.name))

    return patch


def _lazy(target: str) -> Callable[..., Any]:
    module_name, function_name = target.split(":")

    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        function = getattr(importlib.import_module(module_name), function_name)
        return function(wrapped, *args, **kwargs)

    wrapper.piwsl = True  # type: ignore[attr-defined]
    return wrapper


def _is_wrapped(function: Any) -> bool:
    return getattr(getattr(function, "_self_wrapper", None), "piwsl", False)


def _resolve(module: ModuleType, dotted: str) -> Any:
    found: Any = module
    for part in dotted.split("."):
        found = getattr(found, part, None)
    return found


def rows_of_structures(batch: Any) -> dict[str, list[int]]:
    """Where each structure's rows begin in each tensor of MACE's batch, and the last one's end."""
    slices: dict[str, list[int]] | None = getattr(batch, "__slices__", None)
    if slices is None:
        raise SeamError(
            "MACE's batch does not say which rows are whose; report this to piwsl-plugins"
        )
    return slices
