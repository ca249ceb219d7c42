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
        table: dictionary in the first of these that holds the symbol, if there is one.
    """

    module: str
    name: str
    parameters: tuple[str, ...]
    wrapper: str
    reexported_by: tuple[str, ...] = ()
    table: str = ""

    def bound(self) -> list[Any]:
        """What the importers that are there have in its place."""
        importers = [sys.modules[name] for name in self.reexported_by if name in sys.modules]
        found = [getattr(module, self.name) for module in importers if hasattr(module, self.name)]
        if self.table and importers:
            table = getattr(importers[0], self.table, {})
            name = self.name.rpartition(".")[2]
            found += [value for value in table.values() if getattr(value, "__name__", "") == name]
        return found


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
        (
            "model",
            "loss_fn",
            "train_loader",
            "logger",
            "start_epoch",
            "max_num_epochs",
            "rank",
            "swa",
        ),
        f"{_ADAPTER}.run:wrap_train",
        ("mace.tools",),
    ),
    Seam(
        "mace.tools.multihead_tools",
        "dict_head_to_dataclass",
        ("head", "head_name", "args"),
        f"{_ADAPTER}.heads:wrap_dict_head_to_dataclass",
        ("mace.cli.run_train", "__main__"),
    ),
    Seam(
        "mace.tools.scripts_utils",
        "check_path_ase_read",
        ("filename",),
        f"{_ADAPTER}.heads:wrap_check_path_ase_read",
        ("mace.tools.run_train_utils", "mace.cli.run_train", "__main__"),
    ),
    Seam(
        "mace.tools.scripts_utils",
        "get_dataset_from_xyz",
        (
            "work_dir",
            "train_path",
            "valid_path",
            "valid_fraction",
            "key_specification",
            "config_type_weights",
            "test_path",
            "seed",
            "keep_isolated_atoms",
            "head_name",
            "no_data_ok",
            "prefix",
        ),
        f"{_ADAPTER}.heads:wrap_get_dataset_from_xyz",
        ("mace.tools.multihead_tools", "mace.cli.run_train", "__main__"),
    ),
    Seam(
        "mace.tools.run_train_utils",
        "load_dataset_for_path",
        ("file_path", "r_max", "z_table", "heads", "head_config", "collection"),
        f"{_ADAPTER}.heads:wrap_load_dataset_for_path",
        ("mace.cli.run_train", "__main__"),
    ),
    Seam(
        "mace.data.utils",
        "compute_average_E0s",
        ("collections_train", "z_table"),
        f"{_ADAPTER}.atomic_energies:wrap_compute_average_E0s",
        ("mace.data",),
    ),
    Seam(
        "mace.tools.scripts_utils",
        "get_atomic_energies",
        ("E0s", "train_collection", "z_table"),
        f"{_ADAPTER}.atomic_energies:wrap_get_atomic_energies",
        ("mace.cli.run_train", "__main__"),
    ),
    Seam(
        "mace.modules.utils",
        "compute_mean_std_atomic_inter_energy",
        ("data_loader", "atomic_energies"),
        f"{_ADAPTER}.statistics:wrap_std_scaling",
        ("mace.modules",),
        "scaling_classes",
    ),
    Seam(
        "mace.modules.utils",
        "compute_mean_rms_energy_forces",
        ("data_loader", "atomic_energies"),
        f"{_ADAPTER}.statistics:wrap_rms_scaling",
        ("mace.modules",),
        "scaling_classes",
    ),
    Seam(
        "mace.tools.train",
        "MACELoss.update",
        ("batch", "output"),
        f"{_ADAPTER}.metrics:wrap_update",
    ),
    Seam(
        "mace.cli.visualise_train",
        "plot_epoch_dependence",
        ("data", "labels"),
        f"{_ADAPTER}.metrics:wrap_plot_epoch_dependence",
    ),
)
"""Used beside these, unwrapped: ``mace.modules.loss.reduce_loss``,
``mace.data.neighborhood.get_neighborhood``, ``mace.data.random_train_valid_split``,
``mace.tools.scripts_utils.SubsetCollection`` and ``get_config_type_weights``,
``mace.tools.utils.filter_nonzero_weight``, ``mace.data.Configuration`` and the output keys of
MACE's models."""


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
        if not all(_is_wrapped(candidate) for candidate in (function, *seam.bound())):
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
