"""MACE's statistics of the training data, over the structures that have the label."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import torch

from piwsl_plugins.hosts.mace import run, seams
from piwsl_plugins.hosts.mace.geometry import selected
from piwsl_plugins.hosts.mace.masks import has_label


def wrap_std_scaling(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Mean and standard deviation of the interaction energy per atom, over frames with energies."""
    if run.active() is None:
        return wrapped(*args, **kwargs)
    loader, energies = _arguments(wrapped, args, kwargs)
    with run.plain_errors():
        return _over(LabelledBatches(loader, "energy"), wrapped, energies)


def wrap_rms_scaling(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The same mean, and the forces' root mean square over frames with forces."""
    if run.active() is None:
        return wrapped(*args, **kwargs)
    loader, energies = _arguments(wrapped, args, kwargs)
    with run.plain_errors():
        by_forces = LabelledBatches(loader, "forces")
        mean, rms = _over(by_forces, wrapped, energies)
        if not by_forces.complete:
            mean, _ = _over(LabelledBatches(loader, "energy"), wrapped, energies)
        return mean, rms


def _arguments(
    wrapped: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    found = inspect.signature(wrapped).bind(*args, **kwargs).arguments
    return found["data_loader"], found["atomic_energies"]


def _over(batches: LabelledBatches, wrapped: Callable[..., Any], energies: Any) -> Any:
    try:
        result = wrapped(batches, energies)
    except (RuntimeError, ValueError):  # torch's, of an empty list
        batches.check()
        raise
    batches.check()
    return result


class LabelledBatches:
    """A loader's batches, with those structures alone that have a label.

    Args:
        loader: MACE's data loader.
        label: ``energy`` or ``forces``.
    """

    def __init__(self, loader: Iterable[Any], label: str) -> None:
        self.complete = True
        """Whether every structure so far has energy and forces."""
        self._loader, self._label = loader, label
        self._frames: Counter[int] = Counter()
        self._known: Counter[int] = Counter()

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            known = {label: has_label(batch, label) for label in ("energy", "forces")}
            chosen = known[self._label]
            self.complete &= all(bool(has.all()) for has in known.values())
            self._frames.update(batch.head.tolist())
            self._known.update(batch.head[chosen].tolist())
            if bool(chosen.all()):
                yield batch
            elif bool(chosen.any()):
                rows = seams.rows_of_structures(batch)
                part = selected(dict(batch.to_dict()), rows, chosen)
                yield SimpleNamespace(**part, num_graphs=int(torch.count_nonzero(chosen)))

    def check(self) -> None:
        """Check that every head had some.

        Raises:
            ValueError: no structure of a head has the label.
        """
        forces = self._label == "forces"
        for head, number in sorted(self._frames.items()):
            if not self._known[head]:
                raise ValueError(
                    f"the scaling needs reference {'forces' if forces else 'energies'}, and "
                    f"{number} of {number} training frames"
                    + (f" of head number {head}" if len(self._frames) > 1 else "")
                    + " have none; use --scaling "
                    + ("std_scaling" if forces else "no_scaling, or give --mean and --std")
                )
