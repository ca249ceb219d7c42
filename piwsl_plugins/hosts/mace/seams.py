"""Every symbol of MACE that is wrapped, the versions this was tested with, and the wrapping.

MACE has no plugin mechanism. Each symbol is wrapped where it is defined, by a hook that runs
after that module's import, so that ``mace_run_train``, ``python -m mace.cli.run_train`` and
``torchrun .../run_train.py`` all pick it up. Nothing of MACE is replaced: each wrapper calls the
original, and does nothing else unless a PIWSL loss was chosen.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import wrapt

from piwsl_plugins.hosts.errors import SeamError

TESTED_VERSIONS = ("0.3.16",)


class Seam(NamedTuple):
    """One wrapped symbol, its wrapper, and who imports it by name.

    The wrapper is imported when it is called: with the run that is active, the original and the
    arguments. Where no run is active the original is called alone, but for the parser's.
    """

    module: str
    name: str
    wrapper: str
    importers: tuple[str, ...]


_RUN = ("mace.cli.run_train", "__main__")
_SCRIPTS = "mace.tools.scripts_utils"
SEAMS = (
    Seam("mace.tools.arg_parser", "build_default_arg_parser", "run:wrap_parser", ("mace.tools",)),
    Seam(
        _SCRIPTS, "check_path_ase_read", "reading:wrap_check", ("mace.tools.run_train_utils", *_RUN)
    ),
    Seam(
        _SCRIPTS, "get_dataset_from_xyz", "reading:wrap_get", ("mace.tools.multihead_tools", *_RUN)
    ),
    Seam("mace.data.atomic_data", "AtomicData.from_config", "geometry:wrap_from_config", ()),
    Seam("mace.tools.model_script_utils", "configure_model", "statistics:wrap_configure", _RUN),
    Seam("mace.tools.train", "train", "training:wrap_train", ("mace.tools",)),
)
"""Used beside these, unwrapped: ``mace.modules.scaling_classes``, ``loss.reduce_loss`` of
``mace.modules``, ``mace.data.neighborhood.get_neighborhood``, ``mace.data.config_from_atoms``,
``random_train_valid_split`` and ``test_config_types``, ``SubsetCollection``, the rows of a batch's
structures (``Batch.__slices__``) and the output keys of MACE's models."""


def install() -> None:
    """Wrap every seam when its module is imported, or now if it has been. Idempotent."""
    for seam in SEAMS:
        wrapt.register_post_import_hook(_hook(seam), seam.module)


def verify() -> None:
    """Check MACE's version, and that every seam is wrapped.

    Raises:
        SeamError: an untested version, or a symbol that was imported before it was wrapped.
    """
    import mace

    if mace.__version__ not in TESTED_VERSIONS:
        raise SeamError(
            f"mace-torch {mace.__version__} is installed; the PIWSL losses were tested with "
            f"{', '.join(TESTED_VERSIONS)}. Install that version, e.g. "
            f"pip install mace-torch=={TESTED_VERSIONS[-1]}, or train without a PIWSL loss."
        )
    for seam in SEAMS:
        importers = (sys.modules.get(name) for name in seam.importers)
        bound = [getattr(importer, seam.name, None) for importer in importers]
        defined = _resolve(importlib.import_module(seam.module), seam.name)
        if not all(_is_wrapped(f) for f in (defined, *filter(None, bound))):
            raise SeamError(
                f"{seam.module}.{seam.name} of mace-torch was imported before the PIWSL hooks were "
                "in place. Start the training as `piwsl mace-train ...`"
            )


def _hook(seam: Seam) -> Callable[[ModuleType], None]:
    def patch(module: ModuleType) -> None:
        original = _resolve(module, seam.name)
        if original is None or _is_wrapped(original):
            return  # another version, which verify() refuses when a PIWSL loss is chosen
        wrapt.wrap_function_wrapper(module, seam.name, _lazy(seam.wrapper))
        for name in seam.importers:
            importer = sys.modules.get(name)
            if importer is not None and getattr(importer, seam.name, None) is original:
                setattr(importer, seam.name, getattr(module, seam.name))

    return patch


def _lazy(target: str) -> Callable[..., Any]:
    module_name, function_name = target.split(":")

    def wrapper(
        wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        active = importlib.import_module(f"{__package__}.run").active()
        if active is None and function_name != "wrap_parser":
            return wrapped(*args, **kwargs)
        call = inspect.signature(wrapped).bind(*args, **kwargs)
        call.apply_defaults()
        module = importlib.import_module(f"{__package__}.{module_name}")
        return getattr(module, function_name)(active, wrapped, call)

    wrapper.piwsl = True  # type: ignore[attr-defined]
    return wrapper


def _is_wrapped(function: Any) -> bool:
    return getattr(getattr(function, "_self_wrapper", None), "piwsl", False)


def _resolve(module: ModuleType, dotted: str) -> Any:
    found: Any = module
    for part in dotted.split("."):
        found = getattr(found, part, None)
    return found
