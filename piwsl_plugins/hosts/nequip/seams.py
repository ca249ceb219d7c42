"""Everything of NequIP that is not part of its documented interface, with the versions tested.

Nothing of NequIP is patched: training modules, data modules and losses of this package are
subclasses and entries of NequIP's own. Undocumented too, and used where they belong: a data
module's ``train_dataset_config`` and the like, ``generator`` and ``train_generator`` with their
states (``data.py``, ``files_module.py``), a dataset's ``_get_data_list`` (``labels.py``,
``files.py``), the ``lookup_table`` of the transform that makes types of elements
(``atomic_energies.py``), ``with_edge_vectors_`` (``geometry.py``) and Lightning's
``total_batch_idx`` (``module.py``).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from nequip.data import AtomicDataDict
from nequip.data._key_registry import get_field_type
from nequip.nn import ForceStressOutput
from nequip.nn.embedding.utils import cutoff_partialdict_to_tensor
from nequip.nn.graph_model import MODEL_DTYPE_KEY, PER_EDGE_TYPE_CUTOFF_KEY, R_MAX_KEY
from nequip.scripts._workflow_utils import get_workflow_state
from nequip.train import (
    HuberLoss,
    MaximumAbsoluteError,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
)
from torch import Tensor

from piwsl_plugins.hosts import errors

TESTED = "0.19"
_ELEMENTWISE = (
    HuberLoss,
    MaximumAbsoluteError,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
)
"""NequIP's metrics of components, which may be masked one by one."""


def check_version() -> None:
    """Check NequIP's version.

    Raises:
        SeamError: an untested version.
    """
    version = importlib.metadata.version("nequip")
    if version.split(".")[:2] != TESTED.split("."):
        raise errors.SeamError(
            f"nequip {version} is installed; the PIWSL training modules were tested with "
            f"{TESTED}.x alone: pip install 'nequip>={TESTED},<0.{int(TESTED.split('.')[1]) + 1}', "
            "or a newer piwsl-plugins"
        )


def plain_errors() -> AbstractContextManager[None]:
    """One message under ``nequip-train``; the exception itself in somebody's own code."""
    if get_workflow_state() == "train":
        return errors.plain_errors("nequip-train")
    return nullcontext()


def field_type(key: str) -> str | None:
    """What a key of a batch has one row for: ``graph``, ``node``, ``edge``, or None if unknown."""
    kind: str | None = get_field_type(key, error_on_unregistered=False)
    return kind


def label_of(field: Any) -> str | None:
    """The label that an entry's field is compared with, or None where that is not known."""
    return getattr(field, "target_field", getattr(field, "field", None))


def leave_out_missing_labels(metrics: Any) -> None:
    """Let the mean errors of a ``MetricsManager`` leave out labels that are NaN.

    With all labels there their values are the same. Their sums are made floating numbers from the
    start, so that a process without a label can meet one that has some.

    Args:
        metrics: the manager, or None.
    """
    for name, entry in (metrics.entries if metrics is not None else {}).items():
        own = metrics[name] if isinstance(metrics[name], torch.nn.ModuleList) else [metrics[name]]
        if entry.field is None or any(type(metric) not in _ELEMENTWISE for metric in own):
            continue
        entry.ignore_nan = True
        for metric in own:
            if "sum" in metric.metric_state:
                zero = torch.zeros((), dtype=torch.float64, device=metric.device)
                metric.add_state("sum", default=zero, dist_reduce_fx="sum")


def reads_energies_alone(metrics: Any) -> bool:
    """Whether no entry of a ``MetricsManager``, PIWSL terms left out, reads more than energies."""
    fields = [
        entry.field for name, entry in metrics.entries.items() if not hasattr(metrics[name], "term")
    ]
    return all(getattr(field, "field", None) == AtomicDataDict.TOTAL_ENERGY_KEY for field in fields)


def force_outputs(model: torch.nn.Module) -> list[Any]:
    """The modules that derive forces; by name, as a packaged model brings classes of its own."""
    name = ForceStressOutput.__name__
    return [module for module in model.modules() if type(module).__name__ == name]


def calculator_of_saved_model(path: str, device: str) -> Any:
    """A checkpoint or package as ASE calculator that gives forces, however it was trained."""
    from nequip.integrations.ase import NequIPCalculator

    calculator = NequIPCalculator._from_saved_model(
        path, device=device, chemical_species_to_atom_type_map=True
    )
    for output in force_outputs(calculator.model):
        output.do_derivatives = True
    return calculator


def number_format_and_elements(calculator: Any) -> tuple[str | None, frozenset[str]]:
    """``model_dtype`` of a calculator's model, None where it is not kept, and its type names."""
    model = calculator.model
    if hasattr(model, "metadata"):
        metadata = dict(model.metadata)
    else:  # compiled: the wrapper around the program that AOTInductor has made
        program: Any = getattr(model, "model", None)
        metadata = dict(getattr(program, "get_metadata", dict)())
    names = frozenset(str(name) for name in calculator.transforms[0].model_type_names)
    return metadata.get(MODEL_DTYPE_KEY), names


@contextmanager
def energies_only(model: torch.nn.Module) -> Iterator[None]:
    """Leave out the forces in a model that is not compiled, to which they would be wasted work."""
    outputs = [output for output in force_outputs(model) if output.do_derivatives]
    if is_compiled(model):
        outputs = []
    try:
        for output in outputs:
            output.do_derivatives = False
        yield
    finally:
        for output in outputs:
            output.do_derivatives = True


def is_compiled(model: torch.nn.Module) -> bool:
    """Whether a model was built with ``compile_mode: compile``."""
    return any(getattr(module, "is_compile_graph_model", False) for module in model.modules())


def model_cutoffs(model: Any) -> Tensor:
    """Cutoff of each pair of atom types, shape [n_types, n_types], angstrom."""
    metadata = model.metadata
    n_types = len(model.type_names)
    if PER_EDGE_TYPE_CUTOFF_KEY in metadata:
        values = [float(value) for value in metadata[PER_EDGE_TYPE_CUTOFF_KEY].split()]
        return torch.tensor(values, dtype=torch.float64).view(n_types, n_types)
    return torch.full((n_types, n_types), float(metadata[R_MAX_KEY]), dtype=torch.float64)


def pair_cutoffs(transform: Any, type_names: list[str]) -> Tensor:
    """The same of one of NequIP's transforms that make or prune a neighbour list."""
    r_max = float(transform.r_max)
    partial = transform.per_edge_type_cutoff
    if partial is None:
        return torch.full((len(type_names), len(type_names)), r_max, dtype=torch.float64)
    cutoffs: Tensor = cutoff_partialdict_to_tensor(partial, list(transform.type_names), r_max)
    order = [list(transform.type_names).index(name) for name in type_names]
    return cutoffs[order][:, order].to(torch.float64)
