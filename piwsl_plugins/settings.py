"""Every setting of the PIWSL losses, once: name, unit, meaning, default and allowed range.

The ``--piwsl_*`` flags of MACE, the keys of NequIP's ``piwsl`` block and the table in the README
are derived from these fields.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from piwsl_plugins.fields import Settings, setting

PAPER_TERMS = ("taylor", "conservative")
"""The two losses of arXiv:2408.05215."""
TERMS = (*PAPER_TERMS, "curvature")

WEAK_FORCES = "weak_forces"
"""The loss on the forces of a cheaper method: a label's, without displacements."""

DEFAULT_WEIGHT_RATIO = {
    "taylor": 0.05,
    "conservative": 0.05,
    "curvature": 3e-5,
    WEAK_FORCES: 0.1,
}
"""Weight of a term where none is given, as a fraction of the host's energy weight."""

DEFAULT_FADE = {"taylor": 0.0, "conservative": 0.0, "curvature": 1.0, WEAK_FORCES: 0.5}
"""Part of the run over which a term fades where none is given: energies that suffice outgrow the
model Hessian, which is right to a quarter, and the forces of a cheaper method."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PiwslSettings(Settings):
    """Settings of the Taylor and conservative-force losses (arXiv:2408.05215) and of ours.

    Raises:
        ValueError: a value outside its range; the message names the field, the value found and
            the allowed range.
    """

    taylor_weight: float | None = setting(
        None,
        "weight w_T of the Taylor loss, on the scale of the host's energy weight; left out, "
        f"{DEFAULT_WEIGHT_RATIO['taylor']:g} times that energy weight",
    )
    conservative_weight: float | None = setting(
        None,
        "weight w_C of the conservative-force loss, on the scale of the host's energy weight; "
        f"left out, {DEFAULT_WEIGHT_RATIO['conservative']:g} times that energy weight",
    )
    curvature_weight: float | None = setting(
        None,
        "weight w_H of the curvature loss, on the scale of the host's force weight; left out, "
        f"{DEFAULT_WEIGHT_RATIO['curvature']:g} times the energy weight",
    )
    order: int = setting(
        2,
        "order of the energy extrapolation along the displacement: 1, the paper's, penalises "
        "curvature and softens the potential; 2 penalises only the change of curvature",
        choices=(1, 2),
    )
    second_order: str = setting(
        "trapezoid",
        "where the second-order term comes from: 'trapezoid', the mean of the forces at both "
        "ends, or 'hessian', one Hessian-vector product; only read where order is 2",
        choices=("trapezoid", "hessian"),
    )
    displacement: str = setting(
        "ball",
        "how each atom is displaced: uniform in a ball, on its surface ('shell'), uniform in a "
        "'cube' of half-edge max_displacement (the paper's code), or 'adversarial', along the "
        "force error where there are reference forces and along the model's force elsewhere",
        choices=("ball", "shell", "cube", "adversarial"),
    )
    max_displacement: float = setting(
        0.1,
        "longest displacement of an atom (of each component for 'cube')",
        unit="angstrom",
    )
    fraction: float = setting(
        1.0,
        "fraction of the atoms of a structure that is displaced, at least one atom",
    )
    batch_fraction: float = setting(
        0.3,
        "fraction of a batch's structures, drawn anew in each step, that the terms are evaluated "
        "on, at least one; their mean stands for that of the batch",
    )
    anchor: str = setting(
        "prediction",
        "energy that the Taylor loss extrapolates from: the model's own 'prediction'; 'label', "
        "the reference energy where there is one; 'label_and_forces', reference energy and "
        "forces, only in structures that have both",
        choices=("prediction", "label", "label_and_forces"),
    )
    tolerance: float = setting(
        0.0,
        "curvature that is free of charge: only the part of the residual beyond "
        "tolerance/2 times the squared displacement is penalised",
        unit="eV/angstrom^2",
    )
    penalty: str = setting(
        "squared",
        "penalty on a residual",
        choices=("squared", "absolute", "huber"),
    )
    huber_delta: float = setting(
        0.01,
        "residual at which the penalty 'huber' turns from squared to linear; only read there",
        unit="eV per atom",
    )
    warmup: int = setting(
        0,
        "optimiser steps over which the weights rise linearly from zero",
        unit="steps",
    )
    fade: float | None = setting(
        None,
        "part of the run, from its start, over which a term's weight falls linearly to zero; 0 "
        f"keeps it; left out, {DEFAULT_FADE['curvature']:g} for the curvature loss and 0 for the "
        "others",
        unit="of the run",
    )
    every: int = setting(
        2,
        "apply the terms on every k-th optimiser step, with k-fold weight",
        unit="steps",
    )
    weak_forces_weight: float | None = setting(
        None,
        "weight of the loss on weak forces, those of a cheaper method beside energies of a better "
        "one, on the scale of the host's force weight; left out, "
        f"{DEFAULT_WEIGHT_RATIO[WEAK_FORCES]:g} times the energy weight; only read where the data "
        "have weak forces",
    )
    weak_forces_penalty: str = setting(
        "squared",
        "penalty on an atom's error of the weak force: a third of its vector's squared length, as "
        "in a mean over components, or the vector's length",
        choices=("squared", "length"),
    )
    weak_forces_fade: float | None = setting(
        None,
        "part of the run, from its start, over which the weak forces' weight falls linearly to "
        "zero; 0 keeps it, and with it their method's own error; left out, "
        f"{DEFAULT_FADE[WEAK_FORCES]:g}",
        unit="of the run",
    )
    seed: int = setting(
        0,
        "seed of the displacements' own random stream; the host's stream is left alone",
    )

    def __post_init__(self) -> None:
        self._check_choices()
        for term in DEFAULT_WEIGHT_RATIO:
            if getattr(self, f"{term}_weight") is not None:
                self._check(f"{term}_weight", 0.0, math.inf)
        self._check("max_displacement", 0.0, 1.0, open_below=True)
        self._check("fraction", 0.0, 1.0, open_below=True)
        self._check("batch_fraction", 0.0, 1.0, open_below=True)
        self._check("tolerance", 0.0, math.inf)
        self._check("huber_delta", 0.0, math.inf, open_below=True)
        self._check("warmup", 0, math.inf, whole=True)
        for name in ("fade", "weak_forces_fade"):
            if getattr(self, name) is not None:
                self._check(name, 0.0, 1.0)
        self._check("every", 1, math.inf, whole=True)
        self._check("seed", 0, 2**63, whole=True)

    def check_terms(self, terms: Sequence[str], call: Callable[[str], str], chosen: str) -> None:
        """Check that the settings go with the terms, and with each other.

        Args:
            terms: the terms that are on.
            call: how the host calls a setting, e.g. ``--piwsl_order`` for ``order``.
            chosen: how the terms were chosen, for the message.

        Raises:
            ValueError: a setting that nothing would read.
        """
        unread = ""
        defaults = PiwslSettings()
        only_curvature = [name for name in ("order", "tolerance") if set(terms) == {"curvature"}]
        changed = [
            name for name in only_curvature if getattr(self, name) != getattr(defaults, name)
        ]
        if changed:
            unread = (
                f"{call(changed[0])} {getattr(self, changed[0])} acts on the Taylor and the "
                f"conservative-force term, and {chosen} has neither"
            )
        elif "taylor" not in terms and self.anchor != "prediction":
            unread = f"{call('anchor')} {self.anchor} acts on the Taylor term, which {chosen} lacks"
        elif self.order == 1 and self.second_order != "trapezoid":
            unread = (
                f"{call('second_order')} {self.second_order} is only read with {call('order')} 2, "
                "got order 1"
            )
        elif self.penalty != "huber" and self.huber_delta != defaults.huber_delta:
            unread = (
                f"{call('huber_delta')} {self.huber_delta} is only read with {call('penalty')} "
                f"huber, got {self.penalty}"
            )
        if unread:
            raise ValueError(unread)

    @property
    def longest_displacement(self) -> float:
        """Length of the longest displacement of one atom, angstrom."""
        return self.max_displacement * (math.sqrt(3.0) if self.displacement == "cube" else 1.0)

    @property
    def skin(self) -> float:
        """How much closer two atoms can come in a displaced geometry, angstrom."""
        return 2.0 * self.longest_displacement

    def weight(self, term: str, energy_weight: float) -> float:
        """Weight of ``term`` beside an energy term of weight ``energy_weight``.

        Args:
            term: ``taylor``, ``conservative``, ``curvature`` or ``weak_forces``.
            energy_weight: the host's weight of its own (per-atom) energy error.

        Returns:
            The weight that was set, or ``DEFAULT_WEIGHT_RATIO[term] * energy_weight``.
        """
        weight = getattr(self, f"{term}_weight")
        return DEFAULT_WEIGHT_RATIO[term] * energy_weight if weight is None else float(weight)

    def schedule(self, step: int) -> float:
        """Factor on all terms' weights at the optimiser step ``step`` (from 0).

        It combines ``warmup`` and ``every``; :meth:`falling` comes on top.
        """
        if step % self.every:
            return 0.0
        return self.every * (min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0)

    def falling(self, term: str, step: int, steps: float) -> float:
        """Factor of the fade on one term's weight.

        Args:
            term: ``taylor``, ``conservative``, ``curvature`` or ``weak_forces``.
            step: optimiser step, from 0.
            steps: optimiser steps of the run; infinite where it has no end, and nothing fades.
        """
        part = self.fade_of(term)
        return max(0.0, 1.0 - step / (part * steps)) if part else 1.0

    def fade_of(self, term: str) -> float:
        """Part of the run over which a term fades; 0 where it does not."""
        part = self.weak_forces_fade if term == WEAK_FORCES else self.fade
        return DEFAULT_FADE[term] if part is None else float(part)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings(PiwslSettings):
    """The same settings, and those that only a host's whole run needs."""

    allow_large_displacement: bool = setting(
        False,
        "train although max_displacement is more than half the shortest interatomic distance in "
        "the training data",
        choices=(False, True),
    )


MACE_BASE_LOSSES = (
    "weighted",
    "ef",
    "universal",
    "huber",
    "stress",
    "virials",
    "l1l2energyforces",
    "energy_forces_dipole",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MaceSettings(RunSettings):
    """The same settings, and those that only MACE needs."""

    base_loss: str = setting(
        "weighted",
        "MACE's own loss that stays the supervised part, decides on stress and virials, and is "
        "the whole of the validation loss",
        choices=MACE_BASE_LOSSES,
    )
