"""Options of MACE beside a PIWSL loss: what is refused, and what the user should know."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from piwsl_plugins.hosts.mace.flags import LOSSES, PREFIX
from piwsl_plugins.settings import WEAK_FORCES, MaceSettings

if TYPE_CHECKING:
    from piwsl_plugins.hosts.mace.run import Run

DIPOLE_MODELS = ("AtomicDipolesMACE", "AtomicDielectricMACE")


def check_combination(args: argparse.Namespace, settings: MaceSettings) -> None:
    """Refuse options of MACE that do not go with a PIWSL loss.

    Raises:
        ValueError: names the option, what is wrong with it, and what to use.
    """
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
    if args.lbfgs and LOSSES[args.loss]:
        raise ValueError(
            f"--lbfgs calls the loss many times within one step and shuffles the batches in each "
            f"call, so that --loss {args.loss}, which draws displacements anew for each batch, "
            f"has no fixed value to minimise; use --optimizer adam, or --loss {settings.base_loss}"
        )
    fade = settings.fade_of(WEAK_FORCES)
    if args.lbfgs and args.piwsl_weak_forces_key and fade:
        raise ValueError(
            "--lbfgs calls the loss many times within one step, in which its value must not "
            f"change; --{PREFIX}weak_forces_fade {fade:g} lets it fall with every call; use "
            f"--optimizer adam, or --{PREFIX}weak_forces_fade 0, which keeps the weak forces, and "
            "their method's own error, to the end"
        )
    if not args.compute_forces:
        raise ValueError(f"--loss {args.loss} needs forces, got --compute_forces False")
    if args.piwsl_energy_unit not in (None, "eV") and settings.base_loss == "virials":
        raise ValueError(
            f"--{PREFIX}energy_unit {args.piwsl_energy_unit} does not act on virials; use "
            "--piwsl_base_loss stress, or virials in eV"
        )


def notes(run: Run) -> list[str]:
    """What the user should know of this run before it starts."""
    settings, args = run.settings, run.args
    base = f"MACE's {settings.base_loss!r}; validation uses {settings.base_loss!r} alone"
    kind = f", order {settings.order}" + (
        f" ({settings.second_order})" if settings.order == 2 else ""
    )
    if run.terms == ("curvature",):
        kind = ""
    found = [
        f"--loss {run.loss}: terms {', '.join(run.terms)}{kind}, displacements "
        f"{settings.displacement} up to {settings.longest_displacement:g} angstrom, beside {base}"
        if run.terms
        else f"--loss {run.loss}: no terms with displacements; {base}"
    ]
    if run.has_weak_forces:
        fade = settings.fade_of(WEAK_FORCES)
        found.append(
            f"weak forces {args.piwsl_weak_forces_key!r}, in training steps"
            + (
                f"; their weight falls to zero over the first {100 * fade:g} % of --max_num_epochs"
                if fade
                else f" to the end, and with them their method's own error (--{PREFIX}"
                "weak_forces_fade 0)"
            )
        )
    if args.piwsl_low_energy_key:
        found.append(
            f"the model predicts the difference {args.energy_key!r} minus "
            f"{args.piwsl_low_energy_key!r}, not a whole energy; add the cheaper method's energy "
            "and forces wherever it is used. --E0s are differences too"
        )
    if settings.base_loss == "ef":
        found.append("MACE's loss 'ef' has energy and forces weight 1, whatever the flags say")
    if args.multiheads_finetuning and args.foundation_model is not None:
        found.append("--multiheads_finetuning makes MACE's base loss 'universal'")
    return found
