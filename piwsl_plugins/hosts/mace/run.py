"""One training run of MACE with a PIWSL loss: what is known of it from its arguments on."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from inspect import BoundArguments
from typing import TYPE_CHECKING, Any

from piwsl_plugins import __version__
from piwsl_plugins.hosts import errors
from piwsl_plugins.hosts.mace import flags, seams
from piwsl_plugins.settings import WEAK_FORCES, MaceSettings
from piwsl_plugins.teacher.settings import TeacherSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DIPOLE_MODELS = ("AtomicDipolesMACE", "AtomicDielectricMACE")

plain_errors = partial(errors.plain_errors, "mace_run_train")

_active: Run | None = None


class Run:
    """What is known of the current run, from MACE's arguments to its last step.

    Attributes:
        args: MACE's arguments; the loss is the base loss's name. ``defaults`` are those of
            :data:`flags.LEARNS` that were not given.
        loss: the PIWSL loss, ``terms`` its terms with displacements, ``settings`` their settings.
        teaches: whether a teacher is fitted to the training energies.
        has_weak_forces: whether training frames carry weak forces.
        counts: training frames (``frames``) and how many of them have each label.
        keys: names of the numbers in the training files.
        model: the model that MACE trains, ``cutoff`` its cutoff and ``radii`` the covalent radii of
            its elements (where a term asks for them), angstrom.
        step: optimiser step that comes next, of ``steps``, on the process ``rank``.
        values: what the last step logs.
    """

    model: torch.nn.Module

    def __init__(
        self, args: argparse.Namespace, settings: MaceSettings, defaults: Mapping[str, Any]
    ) -> None:
        self.args, self.defaults = args, defaults
        self.loss = str(args.loss)
        self.terms, self.teaches = flags.LOSSES[self.loss], self.loss == flags.TEACHER
        self.settings = settings
        self.has_weak_forces = args.piwsl_weak_forces_key is not None
        self.counts: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.cutoff = math.nan
        self.radii: Tensor | None = None
        self.step, self.steps, self.rank = 0, math.inf, 0
        self.values: dict[str, Tensor | float] = {}

    def head(self, name: str) -> dict[str, Any]:
        """Options of one of MACE's heads, those of the command line where it has none."""
        heads: Any = self.args.heads
        given = dict(heads.get(name, {})) if isinstance(heads, dict) else {}
        names = ("E0s", "atomic_numbers", "statistics_file")
        return {option: getattr(self.args, option) for option in names} | given

    def choose_defaults(self, *names: str) -> None:
        """Set MACE's options that were not given to what learns from energies alone."""
        chosen, why = flags.LEARNS, "the frames have no forces"
        if self.counts["forces"]:
            chosen, why = dict(self.defaults), "some frames have forces"
        for name in names:
            if name in self.defaults and getattr(self.args, name) != chosen[name]:
                setattr(self.args, name, chosen[name])
                logging.info(f"PIWSL: {why}, and --{name} was not given: {chosen[name]} is taken")

    def check_statistics(self) -> None:
        """Refuse settings that the labels of the training frames do not serve by a ValueError."""
        if self.settings.anchor == "label_and_forces" and not self.counts["forces"]:
            raise ValueError(
                "--piwsl_anchor label_and_forces acts on structures with reference forces, and "
                "no training frame has any; use --piwsl_anchor label"
            )
        key = self.args.piwsl_weak_forces_key
        if key and not self.counts[WEAK_FORCES]:
            raise ValueError(
                f"{flags.SPELLING[WEAK_FORCES]} {key!r}: no training frame has such forces; the "
                "keys in the training files are "
                + (", ".join(sorted(self.keys)) or "none that can be read from them")
            )


def active() -> Run | None:
    """The run that MACE is preparing or training, if it has a PIWSL loss."""
    return _active


def wrap_parser(_: Run | None, wrapped: Callable[..., Any], call: BoundArguments) -> Any:
    """Add our flags to MACE's parser; a command line with a PIWSL loss starts a run."""
    parser: argparse.ArgumentParser = wrapped(*call.args, **call.kwargs)
    flags.add_to(parser)
    plain = parser.parse_args

    def parse_args(*args: Any, **kwargs: Any) -> Any:
        global _active
        _active = None
        # argparse leaves what a namespace has as it is where an option was not given
        parsed = plain(*args, **kwargs, namespace=argparse.Namespace(**dict.fromkeys(flags.LEARNS)))
        missing = [name for name in flags.LEARNS if getattr(parsed, name) is None]
        defaults = {name: parser.get_default(name) for name in missing}
        vars(parsed).update(defaults)
        if parsed.loss in flags.LOSSES:
            with plain_errors():
                _active = _started(parsed, defaults)
            # from here on every choice that MACE makes by the loss's name is the base loss's
            parsed.loss = _active.settings.base_loss
        elif changed := [
            f"--{name}"
            for name, value in vars(parsed).items()
            if name.startswith(flags.PREFIX) and value != parser.get_default(name)
        ]:
            print(
                f"mace_run_train: warning: --loss {parsed.loss} does not read {', '.join(changed)}",
                file=sys.stderr,
            )
        return parsed

    parser.parse_args = parse_args  # type: ignore[method-assign]
    return parser


def _started(args: argparse.Namespace, defaults: Mapping[str, Any]) -> Run:
    """A run with a PIWSL loss."""
    seams.verify()
    settings = flags.mace_settings(args)
    if args.loss == flags.TEACHER:
        flags.settings_of(args, TeacherSettings)
        if settings.weak_forces_fade is None:  # they are as good as the energies, and stay
            settings = settings.model_copy(update={"weak_forces_fade": 0.0})
    _check_combination(args, settings)
    return Run(args, settings, defaults)


def _check_combination(args: argparse.Namespace, settings: MaceSettings) -> None:
    """Refuse options of MACE that do not go with a PIWSL loss, by a ValueError."""
    has_dipole_loss = settings.base_loss == "energy_forces_dipole"
    of_other_model = (args.model == "EnergyDipolesMACE") != has_dipole_loss
    for is_wrong, text in (
        (
            args.model in DIPOLE_MODELS,
            f"--loss {args.loss} needs a model that gives an energy, got --model {args.model}",
        ),
        (
            of_other_model and args.model != "PolarMACE",
            f"--piwsl_base_loss {settings.base_loss} does not go with --model {args.model}: "
            "EnergyDipolesMACE is trained with energy_forces_dipole, others with another loss",
        ),
        (
            args.lbfgs,
            f"--lbfgs calls the loss many times within one step, and --loss {args.loss}, which "
            "draws displacements and fades with each call, has no fixed value to minimise; use "
            f"--optimizer adam, or --loss {settings.base_loss}",
        ),
        (not args.compute_forces, f"--loss {args.loss} needs forces, got --compute_forces False"),
    ):
        if is_wrong:
            raise ValueError(text)


def notes(run: Run) -> list[str]:
    """What the user should know of a run."""
    settings, args = run.settings, run.args
    what = "no terms with displacements"
    if run.terms:
        order = "" if run.terms == ("curvature",) else f"order {settings.order}, "
        what = (
            f"terms {', '.join(run.terms)}, {order}displacements {settings.displacement} up to "
            f"{settings.longest_displacement:g} angstrom"
        )
    found = [
        f"piwsl-plugins {__version__}, --loss {run.loss}: {what}, beside MACE's "
        f"{settings.base_loss!r}, which is the whole of the validation loss"
    ]
    if run.has_weak_forces or run.teaches:
        fade = settings.fade_of(WEAK_FORCES)
        found.append(
            ("the teacher's" if run.teaches else "weak")
            + " forces are trained on "
            + (f"over the first {100 * fade:g} % of --max_num_epochs" if fade else "to the end")
        )
    if args.piwsl_low_energy_key and not run.teaches:
        found.append(
            f"the model predicts the difference {args.energy_key!r} minus "
            f"{args.piwsl_low_energy_key!r}, not a whole energy; add the cheaper method's wherever "
            "it is used. --E0s are differences too"
        )
    if settings.base_loss == "ef":
        found.append("MACE's loss 'ef' has energy and forces weight 1, whatever the flags say")
    if args.multiheads_finetuning and args.foundation_model is not None:
        found.append("--multiheads_finetuning makes MACE's base loss 'universal'")
    return found
