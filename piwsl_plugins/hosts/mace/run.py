"""One training run of MACE with a PIWSL loss, from its arguments to its logger."""

from __future__ import annotations

import argparse
import inspect
import logging
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import wrapt

from piwsl_plugins.data.checks import Counts, Frame, check_displacement
from piwsl_plugins.hosts import errors
from piwsl_plugins.hosts.mace import flags, seams
from piwsl_plugins.settings import MaceSettings

if TYPE_CHECKING:
    from piwsl_plugins.hosts.mace.loss import PiwslLoss, Progress

DIPOLE_MODELS = ("AtomicDipolesMACE", "AtomicDielectricMACE")
IGNORES_FRAME_WEIGHTS = {
    "huber": ("energy", "forces", "stress"),
    "l1l2energyforces": ("forces",),
}
"""MACE's losses that count a missing label as zero, whatever its weight, and in which terms."""
LEARNS = 100.0
"""Energy weight below which a run on energies alone hardly moves."""

plain_errors = partial(errors.plain_errors, "mace_run_train")

_active: Run | None = None


class Run:
    """What is known of the current run between MACE's arguments and its training loop."""

    def __init__(self, args: argparse.Namespace, settings: MaceSettings) -> None:
        from piwsl_plugins.hosts.mace.loss import Progress

        self.args = args
        self.settings = settings
        self.loss = str(args.loss)
        self.terms = flags.LOSSES[self.loss]
        # MACE stores the mean and spread that it computes under the same names, later
        self.statistics_given = args.mean is not None and args.std is not None
        self.counts = Counts()
        self.progress: Progress = Progress()

    def wrap(self, base: Any) -> PiwslLoss:
        """Add the terms to one of MACE's loss modules."""
        from piwsl_plugins.hosts.mace.loss import PiwslLoss

        return PiwslLoss(base, self.terms, self.settings, self.progress)

    def check_displacement(self, frames: Iterable[Frame]) -> None:
        """Refuse displacements beyond half the shortest interatomic distance."""
        check_displacement(
            frames,
            self.settings.longest_displacement,
            f"--{flags.PREFIX}max_displacement",
            f"--{flags.PREFIX}allow_large_displacement",
        )

    def check_average_energies(self, path: str, counts: Counts) -> None:
        """Refuse a least-squares fit of atomic energies to frames without energies."""
        if counts.energies < counts.frames and str(self.args.E0s).lower() == "average":
            raise ValueError(
                f"{path}: {counts.frames - counts.energies} of {counts.frames} frames have no "
                "energy, which --E0s average would count as zero; give the atoms' energies, e.g. "
                '--E0s "{1: -13.6, 8: -2041.8}"'
            )

    def check_statistics(self) -> None:
        """Refuse settings under which MACE would take a missing label for a zero.

        Raises:
            ValueError: names the option, the frames without the label and what to do.
        """
        args, counts, given = self.args, self.counts, self.statistics_given
        without = {
            "energies": counts.frames - counts.energies,
            "forces": counts.frames - counts.forces,
        }
        if args.scaling == "rms_forces_scaling" and without["forces"] and not given:
            raise ValueError(
                "--scaling rms_forces_scaling (MACE's default) takes the root mean square of the "
                f"reference forces, and {without['forces']} of {counts.frames} training frames "
                "have none, which MACE would count as zero forces; use --scaling std_scaling"
            )
        if args.scaling != "no_scaling" and without["energies"] and not given:
            raise ValueError(
                f"--scaling {args.scaling} needs every energy, and {without['energies']} of "
                f"{counts.frames} training frames have none, which MACE would count as zero; "
                "use --scaling no_scaling --mean 0, or give --mean and --std"
            )
        missing = {
            "energy": without["energies"],
            "forces": without["forces"],
            "stress": counts.frames - counts.stresses,
        }
        for label in IGNORES_FRAME_WEIGHTS.get(args.loss, ()):
            if missing[label] and getattr(args, f"{label}_weight") > 0:
                raise ValueError(
                    f"the base loss {args.loss!r} counts missing {label} as zero, and "
                    f"{missing[label]} of {counts.frames} training frames have no {label}; use "
                    f"--piwsl_base_loss weighted or universal, or --{label}_weight 0"
                )
        if self.settings.anchor == "label_and_forces" and not counts.forces:
            raise ValueError(
                "--piwsl_anchor label_and_forces acts on structures with reference forces, and "
                "no training frame has any; use --piwsl_anchor label"
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
        _check_combination(args, settings)
        _active = Run(args, settings)
        # from here on every choice that MACE makes by the loss's name is the base loss's
        args.loss = settings.base_loss
    args, messages = wrapped(args)
    _active.args = args
    return args, [*messages, *((f"PIWSL: {note}", logging.INFO) for note in _notes(_active))]


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
    from piwsl_plugins.hosts.mace.labels import check_dataset
    from piwsl_plugins.hosts.mace.loss import PiwslLoss

    call = inspect.signature(wrapped).bind(*args, **kwargs)
    arguments = call.arguments
    stage_two = arguments.get("swa")
    losses = [arguments["loss_fn"]] + ([stage_two.loss_fn] if stage_two is not None else [])
    with plain_errors():
        if not all(isinstance(loss, PiwslLoss) for loss in losses):
            raise errors.SeamError(
                "mace.tools.train was given a loss without the PIWSL terms; report this to "
                "piwsl-plugins"
            )
        for part in arguments["train_loader"].dataset.datasets:
            if not isinstance(part, list):  # lists come from files that were checked when read
                check_dataset(_active, part)
        _active.check_statistics()
    progress = _active.progress
    first_step = arguments["start_epoch"] * len(arguments["train_loader"])
    with plain_errors():
        progress.bind(
            arguments["model"], _active.terms, step=first_step, rank=arguments.get("rank") or 0
        )
    arguments["logger"] = TermLogger(arguments["logger"], progress)
    return wrapped(*call.args, **call.kwargs)


class TermLogger(wrapt.ObjectProxy[Any]):
    """MACE's results logger, which also writes the value of each term.

    A training record gains the step's ``base_loss``, ``piwsl_<term>`` (the unweighted mean) and
    ``piwsl_<term>_weight``; a validation record gains their means over the epoch's steps, under
    names that start with ``train_``.
    """

    def __init__(self, logger: Any, progress: Progress) -> None:
        super().__init__(logger)
        self._self_progress = progress
        self._self_sums: dict[str, list[float]] = {}

    def log(self, record: dict[str, Any]) -> None:
        """Write one record."""
        if record.get("mode") == "opt":
            values = {name: float(value) for name, value in self._self_progress.values.items()}
            record.update(values)
            for name, value in values.items():
                self._self_sums.setdefault(name, []).append(value)
        elif self._self_sums:
            means = {name: sum(all_) / len(all_) for name, all_ in self._self_sums.items()}
            self._self_sums = {}
            record.update({f"train_{name}": value for name, value in means.items()})
            text = ", ".join(f"{name}={value:.6g}" for name, value in means.items())
            logging.info(f"Epoch {record['epoch']}: PIWSL, mean over training steps: {text}")
        self.__wrapped__.log(record)


def _check_combination(args: argparse.Namespace, settings: MaceSettings) -> None:
    if args.model in DIPOLE_MODELS:
        raise ValueError(
            f"--loss {args.loss} needs a model that gives an energy, got --model {args.model}"
        )
    has_dipole_loss = settings.base_loss == "energy_forces_dipole"
    if (args.model == "EnergyDipolesMACE") != has_dipole_loss and args.model != "PolarMACE":
        raise ValueError(
            f"--piwsl_base_loss {settings.base_loss} does not go with --model {args.model}: "
            "EnergyDipolesMACE is trained with energy_forces_dipole, other models with another loss"
        )
    if args.lbfgs:
        raise ValueError(
            f"--lbfgs calls the loss many times within one step and shuffles the batches in each "
            f"call, so that --loss {args.loss}, which draws displacements anew for each batch, "
            f"has no fixed value to minimise; use --optimizer adam, or --loss {settings.base_loss}"
        )
    if not args.compute_forces:
        raise ValueError(f"--loss {args.loss} needs forces, got --compute_forces False")


def _notes(run: Run) -> list[str]:
    """What the user should know of this run before it starts."""
    settings, args = run.settings, run.args
    kind = f", order {settings.order}" + (
        f" ({settings.second_order})" if settings.order == 2 else ""
    )
    if run.terms == ("curvature",):
        kind = ""
    notes = [
        f"--loss {run.loss}: terms {', '.join(run.terms)}{kind}, displacements "
        f"{settings.displacement} up to {settings.longest_displacement:g} angstrom, beside "
        f"MACE's {settings.base_loss!r}; validation uses {settings.base_loss!r} alone"
    ]
    if settings.base_loss == "ef":
        notes.append("MACE's loss 'ef' has energy and forces weight 1, whatever the flags say")
    if args.multiheads_finetuning and args.foundation_model is not None:
        notes.append("--multiheads_finetuning makes MACE's base loss 'universal'")
    return notes
