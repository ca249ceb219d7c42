"""One training run of MACE with a PIWSL loss, from its arguments to its logger."""

from __future__ import annotations

import argparse
import inspect
import logging
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from piwsl_plugins.data.blocks import Block
from piwsl_plugins.data.checks import Counts, Frame, check_displacement
from piwsl_plugins.hosts import errors
from piwsl_plugins.hosts.mace import flags, seams
from piwsl_plugins.hosts.mace.combinations import check_combination, notes
from piwsl_plugins.settings import MaceSettings

if TYPE_CHECKING:
    from piwsl_plugins.hosts.mace.loss import PiwslLoss, Progress
    from piwsl_plugins.hosts.mace.reading import Head
    from piwsl_plugins.hosts.mace.scan import Scan

LEARNS = 100.0
"""Energy weight below which a run on energies alone hardly moves."""

plain_errors = partial(errors.plain_errors, "mace_run_train")

_active: Run | None = None


class Run:
    """What is known of the current run between MACE's arguments and its training loop.

    Attributes:
        training: whether MACE is in its training loop.
        counts: labels of the training frames.
        weak_frames: training frames with weak forces.
        names: names of the labels in the training files.
    """

    def __init__(self, args: argparse.Namespace, settings: MaceSettings) -> None:
        from piwsl_plugins.hosts.mace.loss import Progress

        self.args = args
        self.settings = settings
        self.loss = str(args.loss)
        self.terms = flags.LOSSES[self.loss]
        self.has_weak_forces = args.piwsl_weak_forces_key is not None
        self.training = False
        self.counts = Counts()
        self.weak_frames = 0
        self.names: set[str] = set()
        self.progress: Progress = Progress()
        self._heads: dict[str, Head] = {}

    def head(self, name: str) -> Head:
        """What is known of one of MACE's heads."""
        from piwsl_plugins.hosts.mace.reading import Head

        return self._heads.setdefault(name, Head(self, name))

    def wrap(self, base: Any) -> PiwslLoss:
        """Add the terms to one of MACE's loss modules."""
        from piwsl_plugins.hosts.mace.loss import PiwslLoss

        return PiwslLoss(base, self.terms, self.settings, self.progress, self.has_weak_forces)

    @property
    def checks_displacement(self) -> bool:
        """Whether displacements are checked against the shortest distance."""
        return bool(self.terms) and not self.settings.allow_large_displacement

    def check_displacement(self, frames: Iterable[Frame]) -> None:
        """Refuse displacements beyond half the shortest interatomic distance."""
        check_displacement(
            frames,
            self.settings.longest_displacement,
            f"--{flags.PREFIX}max_displacement",
            f"--{flags.PREFIX}allow_large_displacement",
        )

    def look_at_distances(self, scan: Scan, block: Block) -> None:
        """The same, for frames that are read block by block, once all were seen."""
        if self.checks_displacement:
            scan.look_at_distances(block, 2.0 * self.settings.longest_displacement)

    def check_statistics(self) -> None:
        """Refuse settings that the labels of the training frames do not serve.

        Raises:
            ValueError: names the option, what the frames lack and what to do.
        """
        args, counts = self.args, self.counts
        given = args.mean is not None and args.std is not None
        if args.scaling == "rms_forces_scaling" and not counts.forces and not given:
            raise ValueError(
                "--scaling rms_forces_scaling (MACE's default) takes the root mean square of the "
                f"reference forces, and {counts.frames} of {counts.frames} training frames have "
                "none; use --scaling std_scaling"
            )
        if self.settings.anchor == "label_and_forces" and not counts.forces:
            raise ValueError(
                "--piwsl_anchor label_and_forces acts on structures with reference forces, and "
                "no training frame has any; use --piwsl_anchor label"
            )
        if self.has_weak_forces and not self.weak_frames:
            raise ValueError(
                f"--{flags.PREFIX}weak_forces_key {args.piwsl_weak_forces_key!r}: no training "
                "frame has such forces; the keys in the training files are "
                + (", ".join(sorted(self.names)) or "none")
            )


def active() -> Run | None:
    """The run that MACE is preparing or training, if it has a PIWSL loss."""
    return _active


def wrap_check_args(wrapped: Callable[..., Any], args: argparse.Namespace) -> Any:
    """Start a run if a PIWSL loss was chosen, and let MACE see the base loss from here on."""
    global _active
    _active = None
    if args.loss not in flags.LOSSES:
        ignored = flags.changed_flags(args)
        args, messages = wrapped(args)
        if ignored:
            text = f"--loss {args.loss} does not read {', '.join(ignored)}; ignored"
            messages.append((f"PIWSL: {text}", logging.WARNING))
        return args, messages
    with plain_errors():
        seams.verify()
        settings = flags.settings_from(args)
        check_combination(args, settings)
        _active = Run(args, settings)
        # from here on every choice that MACE makes by the loss's name is the base loss's
        args.loss = settings.base_loss
    args, messages = wrapped(args)
    _active.args = args
    return args, [*messages, *((f"PIWSL: {note}", logging.INFO) for note in notes(_active))]


def wrap_get_loss_fn(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Add the PIWSL terms to the loss that MACE builds."""
    base = wrapped(*args, **kwargs)
    if _active is None:
        return base
    with plain_errors():
        if _active.counts.frames:
            _active.check_statistics()
    loss = _active.wrap(base)
    energy_weight = float(base.energy_weight)
    if _active.counts.frames and not _active.counts.forces and energy_weight < LEARNS:
        logging.warning(
            f"PIWSL: energy weight {energy_weight:g} and no forces: squared errors per atom in eV "
            "leave gradients of the size of Adam's epsilon; --energy_weight 1000 learns"
        )
    for term, weight in loss.weights.items():
        ratio = weight / energy_weight if energy_weight else math.inf
        logging.info(f"PIWSL: {term} weight {weight:g}, {ratio:.3g} of the energy weight")
    return loss


def wrap_get_swa(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Keep the terms on in stage two, and say which base loss MACE chose for it."""
    stage_two, flags_of_stages = wrapped(*args, **kwargs)
    if _active is not None:
        name = type(stage_two.loss_fn).__name__
        stage_two.loss_fn = _active.wrap(stage_two.loss_fn)
        logging.info(f"PIWSL: stage two keeps the terms, beside MACE's {name}")
    return stage_two, flags_of_stages


def wrap_train(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Bind the loss to its model and let the logger see each term."""
    if _active is None:
        return wrapped(*args, **kwargs)
    from piwsl_plugins.hosts.mace.term_logger import TermLogger

    call = inspect.signature(wrapped).bind(*args, **kwargs)
    arguments, progress = call.arguments, _active.progress
    with plain_errors():
        _check_losses(arguments)
        _check_items(_active, arguments["train_loader"].dataset.datasets)
    batches = len(arguments["train_loader"])
    first_step, steps = arguments["start_epoch"] * batches, arguments["max_num_epochs"] * batches
    model = arguments["model"]
    with plain_errors():
        rank = arguments.get("rank") or 0
        progress.bind(model, _active.terms, step=first_step, rank=rank, steps=steps)
    if _active.args.piwsl_low_energy_key:
        # travels with the saved model, so that nobody takes a difference for an energy
        model.piwsl_difference_to = str(_active.args.piwsl_low_energy_key)
    if not _active.args.lbfgs:  # whose step has many values of each term
        arguments["logger"] = TermLogger(arguments["logger"], progress)
    _active.training = True
    try:
        return wrapped(*call.args, **call.kwargs)
    finally:
        _active.training = False


def _check_losses(arguments: dict[str, Any]) -> None:
    from piwsl_plugins.hosts.mace.loss import PiwslLoss

    stage_two = arguments.get("swa")
    losses = [arguments["loss_fn"]] + ([stage_two.loss_fn] if stage_two is not None else [])
    if not all(isinstance(loss, PiwslLoss) for loss in losses):
        raise errors.SeamError(
            "mace.tools.train was given a loss without the PIWSL terms; report this to "
            "piwsl-plugins"
        )


def _check_items(active: Run, datasets: Iterable[Any]) -> None:
    from piwsl_plugins.hosts.mace.frames import LazyDataset
    from piwsl_plugins.hosts.mace.labels import check_dataset

    for dataset in datasets:
        for part in getattr(dataset, "datasets", [dataset]):
            # the frames of lists and of our own datasets were checked when they were read
            if not isinstance(part, (list, LazyDataset)):
                check_dataset(active, part)
    active.check_statistics()
