"""What MACE's model is scaled by: the labels that are there, once every training item is known."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from inspect import BoundArguments
from itertools import chain, islice, product
from types import SimpleNamespace
from typing import Any

import ase
import numpy as np
import torch

from piwsl_plugins.data.checks import listed, placeholder_energies, placeholder_forces
from piwsl_plugins.data.frames import DataError, Frame
from piwsl_plugins.hosts.mace import run
from piwsl_plugins.hosts.mace.geometry import HAS_WEAK, WEAK
from piwsl_plugins.hosts.mace.loss import has_label
from piwsl_plugins.hosts.mace.reading import check_distances
from piwsl_plugins.hosts.mace.run import Run
from piwsl_plugins.settings import WEAK_FORCES

_COMPARED = 2000
"""Items that are compared with each other to tell labels from placeholders."""


def wrap_configure(active: Run, wrapped: Callable[..., Any], call: BoundArguments) -> Any:
    """Hand MACE the mean and the scale of the labelled structures, where some lack a label."""
    arguments = call.arguments
    for note in run.notes(active):
        logging.info(f"PIWSL: {note}")
    with run.plain_errors():
        loader, heads = arguments["train_loader"], []
        for head in loader.dataset.datasets:
            heads.append(Counter[str]())
            for items in getattr(head, "datasets", [head]):
                _look_at(active, heads[-1], items, arguments["z_table"].zs)
        active.counts = sum(heads, Counter())
        active.choose_defaults("scaling")
        active.check_statistics()
        _give_scaling(active, heads, loader, arguments["atomic_energies"])
    return wrapped(*call.args, **call.kwargs)


def _look_at(active: Run, counts: Counter[str], items: Any, elements: Sequence[int]) -> None:
    """Count the labels of training items; check those of MACE's own datasets (no lists)."""
    if isinstance(items, list):
        for item in items:
            counts.update(["frames", *_labels_of(item)])
        return
    frames = _frames(counts, items, elements)
    first = list(islice(frames, _COMPARED))
    found = [f"energy of {first[number].name}" for number in placeholder_energies(first)]
    found += [f"forces of {first[number].name}" for number in placeholder_forces(first)]
    if found:
        raise DataError(
            f"{len(found)} labels are placeholders, such as zeros:{listed(found)}\nRemove them "
            "from the file"
        )
    check_distances(active, chain(first, frames))
    deque(frames, maxlen=0)  # to count those that no check has looked at


def _labels_of(item: Any) -> dict[str, Any]:
    """The labels of one of MACE's items."""
    names = ("energy", "forces", "stress")
    labels = {name: item[name].numpy() for name in names if float(item[f"{name}_weight"]) > 0}
    if HAS_WEAK in item.keys and bool(item[HAS_WEAK]):
        labels[WEAK_FORCES] = item[WEAK].numpy()
    return labels


def _frames(counts: Counter[str], items: Any, elements: Sequence[int]) -> Iterator[Frame]:
    """The frames of one of MACE's own datasets, one after the other, and their labels counted."""
    for number in range(len(items)):
        item = items[number]
        labels = _labels_of(item)
        for name, value in labels.items():
            if not np.isfinite(value).all():
                raise DataError(
                    f"item {number} of the training set: its {name} is not finite throughout; "
                    "remove it, or leave the label out"
                )
        counts.update(["frames", *labels])
        atoms = ase.Atoms(
            numbers=np.array(elements)[item.node_attrs.argmax(dim=-1).numpy()],
            positions=item.positions.numpy(),
            cell=item.cell.numpy(),
            pbc=item.pbc.numpy().ravel(),
        )
        yield Frame(atoms=atoms, labels=labels, source="training set", number=number)


def _give_scaling(
    active: Run, heads: Sequence[Counter[str]], loader: Iterable[Any], atomic_energies: Any
) -> None:
    """Set MACE's ``--mean`` and ``--std`` where its own would count missing labels as zeros."""
    args, by_forces = active.args, active.args.scaling == "rms_forces_scaling"
    labels = ["energy", "forces"] if by_forces else ["energy"]
    if args.scaling == "no_scaling" or args.std is not None:
        return
    for counts, label in product(heads, labels):
        if not counts[label]:
            raise DataError(
                f"--scaling {args.scaling} takes reference {label}, and {counts['frames']} of "
                f"{counts['frames']} training frames have none; use --scaling "
                + ("std_scaling" if label == "forces" else "no_scaling")
                + ", or give --mean and --std"
            )
    if any(counts[label] < counts["frames"] for counts, label in product(heads, labels)):
        from mace import modules

        function = modules.scaling_classes[args.scaling]
        mean, _ = function(_labelled(loader, "energy"), atomic_energies)
        _, std = function(_labelled(loader, labels[-1]), atomic_energies)
        args.mean, args.std = np.atleast_1d(mean), np.atleast_1d(std).tolist()


def _labelled(loader: Iterable[Any], label: str) -> Iterator[Any]:
    """A loader's batches, with those structures alone that have a label."""
    for batch in loader:
        known = has_label(batch, label)
        atoms, sizes = known[batch.batch], batch.ptr.diff()[known]
        if len(sizes):
            yield SimpleNamespace(
                node_attrs=batch.node_attrs[atoms],
                energy=batch.energy[known],
                forces=batch.forces[atoms],
                head=batch.head[known],
                batch=torch.repeat_interleave(sizes),
                ptr=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
                num_graphs=len(sizes),
            )
