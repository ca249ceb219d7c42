"""Everything of NequIP that is not part of its documented interface, with the versions tested.

Wrapped: ``nequip.scripts.train.main`` (``extension.py``). Added to: ``_ALL_PKGS`` of
``nequip.utils.versions.version_utils`` (``extension.py``), this extension's entry in the line of
versions. Undocumented too, and used where they belong: a data module's ``test_dataset_config``,
``train_dataloader_config``, ``generator`` and ``train_generator`` (``datamodule.py``), and the
``lookup_table`` of the transform that makes types of elements (``dataset.py``).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from nequip import train
from nequip.data import AtomicDataDict

from piwsl_plugins.hosts import errors

TESTED = "0.19"


def check_version() -> None:
    """Raise a SeamError for an untested version of NequIP."""
    version = importlib.metadata.version("nequip")
    if version.split(".")[:2] != TESTED.split("."):
        raise errors.SeamError(
            f"nequip {version} is installed; piwsl-plugins was tested with {TESTED}.x alone: pip "
            f"install 'nequip=={TESTED}.*', or a newer piwsl-plugins"
        )


def leave_out_missing_labels(metrics: Any) -> None:
    """Let the mean errors of a ``MetricsManager`` leave out labels that are NaN.

    Their sums are made floating numbers from the start, so that a process without a label can meet
    one that has some.
    """
    errors = (train.MaximumAbsoluteError, train.MeanAbsoluteError, train.RootMeanSquaredError)
    elementwise = (*errors, train.HuberLoss, train.MeanSquaredError)
    for name, entry in metrics.entries.items():
        own = metrics[name] if isinstance(metrics[name], torch.nn.ModuleList) else [metrics[name]]
        if entry.field is None or any(type(metric) not in elementwise for metric in own):
            continue
        entry.ignore_nan = True
        for metric in own:
            if "sum" in metric.metric_state:
                zero = torch.zeros((), dtype=torch.float64, device=metric.device)
                metric.add_state("sum", default=zero, dist_reduce_fx="sum")


def label_of(entry: Any) -> str | None:
    """The field that an entry of a ``MetricsManager`` reads, where it reads one."""
    name: str | None = getattr(entry.field, "target_field", getattr(entry.field, "field", None))
    return name


def reads_energies_alone(metrics: Any) -> bool:
    """Whether no entry of a ``MetricsManager``, PIWSL terms left out, reads more than energies."""
    return all(
        label_of(entry) == AtomicDataDict.TOTAL_ENERGY_KEY or hasattr(metrics[name], "term")
        for name, entry in metrics.entries.items()
    )


def force_outputs(model: torch.nn.Module) -> list[Any]:
    """The modules that derive forces; by name, as a packaged model brings classes of its own."""
    return [module for module in model.modules() if type(module).__name__ == "ForceStressOutput"]


@contextmanager
def energies_only(model: torch.nn.Module) -> Iterator[None]:
    """Leave out the forces in a model that is not compiled, to which they would be wasted work."""
    outputs = [] if is_compiled(model) else force_outputs(model)
    before = [output.do_derivatives for output in outputs]
    try:
        for output in outputs:
            output.do_derivatives = False
        yield
    finally:
        for output, derivatives in zip(outputs, before, strict=True):
            output.do_derivatives = derivatives


def is_compiled(model: torch.nn.Module) -> bool:
    """Whether a model was built with ``compile_mode: compile``."""
    return any(getattr(module, "is_compile_graph_model", False) for module in model.modules())
