"""Every setting of the losses, once: name, unit, meaning, default and range.

MACE's ``--piwsl_*`` flags, the keys of NequIP's ``piwsl`` block and the
documentation are derived from these fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from piwsl_plugins.fields import Settings, setting

PAPER_TERMS = ("taylor", "conservative")
"""The two losses of arXiv:2408.05215."""
TERMS = (*PAPER_TERMS, "curvature")
WEAK_FORCES = "weak_forces"
"""The loss on the forces of a cheap method or of a teacher: labels, without displacements."""

STRETCH_CONSTANT = 34.01
"""Force constant of a bond as long as its atoms' covalent radii, eV/angstrom^2: 0.35 hartree/bohr^2
(Swart and Bickelhaupt, Int. J. Quantum Chem. 106, 2536 (2006))."""

DEFAULT_WEIGHT_RATIO = {"taylor": 0.05, "conservative": 0.05, "curvature": 3e-5, WEAK_FORCES: 0.1}
"""Weight of a term where none is given, as a fraction of the host's energy weight."""
DEFAULT_FADE = {"taylor": 0.0, "conservative": 0.0, "curvature": 1.0, WEAK_FORCES: 0.5}
"""Part of the run over which a term fades where none is given."""


BaseLoss = Literal[
    "weighted", "ef", "universal", "huber", "stress", "virials", "l1l2energyforces",
    "energy_forces_dipole",
]  # fmt: skip
"""Losses of MACE's own that the terms may be added to."""


class PiwslSettings(Settings):
    """Settings of the Taylor and conservative-force losses (arXiv:2408.05215) and of ours."""

    taylor_weight: float | None = setting(
        None,
        "weight w_T of the Taylor loss, on the scale of the host's energy weight; left out, "
        f"{DEFAULT_WEIGHT_RATIO['taylor']:g} times that energy weight",
        ge=0,
    )
    conservative_weight: float | None = setting(
        None,
        "weight w_C of the conservative-force loss, on the scale of the host's energy weight; "
        f"left out, {DEFAULT_WEIGHT_RATIO['conservative']:g} times that energy weight",
        ge=0,
    )
    curvature_weight: float | None = setting(
        None,
        "weight w_H of the curvature loss, on the scale of the host's force weight; left out, "
        f"{DEFAULT_WEIGHT_RATIO['curvature']:g} times the energy weight",
        ge=0,
    )
    order: Literal[1, 2] = setting(
        2,
        "order of the energy extrapolation along the displacement: 1, the paper's, penalises "
        "curvature and softens the potential; 2 penalises only the change of curvature",
    )
    second_order: Literal["trapezoid", "hessian"] = setting(
        "trapezoid",
        "where the second-order term comes from: 'trapezoid', the mean of the forces at both "
        "ends, or 'hessian', one Hessian-vector product; only read where order is 2",
    )
    displacement: Literal["ball", "shell", "cube", "adversarial"] = setting(
        "ball",
        "how each atom is displaced: uniform in a ball, on its surface ('shell'), uniform in a "
        "'cube' of half-edge max_displacement (the paper's code), or 'adversarial', along the "
        "force error where there are reference forces and along the model's force elsewhere",
    )
    max_displacement: float = setting(
        0.1,
        "longest displacement of an atom (of each component for 'cube')",
        unit="angstrom",
        gt=0,
        le=1,
    )
    fraction: float = setting(
        1.0, "fraction of the atoms of a structure that is displaced, at least one atom", gt=0, le=1
    )
    batch_fraction: float = setting(
        0.3,
        "fraction of a batch's structures, drawn anew in each step, that the terms are evaluated "
        "on, at least one; their mean stands for that of the batch",
        gt=0,
        le=1,
    )
    anchor: Literal["prediction", "label", "label_and_forces"] = setting(
        "prediction",
        "energy that the Taylor loss extrapolates from: the model's own 'prediction'; 'label', "
        "the reference energy where there is one; 'label_and_forces', reference energy and "
        "forces, only in structures that have both",
    )
    tolerance: float = setting(
        0.0,
        "curvature that is free of charge: only the part of the residual beyond "
        "tolerance/2 times the squared displacement is penalised",
        unit="eV/angstrom^2",
        ge=0,
    )
    penalty: Literal["squared", "absolute", "huber"] = setting("squared", "penalty on a residual")
    huber_delta: float = setting(
        0.01,
        "residual at which the penalty 'huber' turns from squared to linear; only read there",
        unit="eV per atom",
        gt=0,
    )
    warmup: int = setting(
        0, "optimiser steps over which the weights rise linearly from zero", unit="steps", ge=0
    )
    fade: float | None = setting(
        None,
        "part of the run, from its start, over which a term's weight falls linearly to zero; 0 "
        f"keeps it; left out, {DEFAULT_FADE['curvature']:g} for the curvature loss and 0 for the "
        "others",
        unit="of the run",
        ge=0,
        le=1,
    )
    every: int = setting(
        2,
        "apply the terms on every k-th optimiser step, with k-fold weight, which gradient clipping "
        "and Adam's second moment see",
        unit="steps",
        ge=1,
    )
    weak_forces_weight: float | None = setting(
        None,
        "weight of the loss on weak forces, those of a cheaper method beside energies of a better "
        "one, on the scale of the host's force weight; left out, "
        f"{DEFAULT_WEIGHT_RATIO[WEAK_FORCES]:g} times the energy weight; only read where the data "
        "have weak forces",
        ge=0,
    )
    weak_forces_fade: float | None = setting(
        None,
        "part of the run, from its start, over which the weak forces' weight falls linearly to "
        "zero; 0 keeps it, and with it their method's own error; left out, "
        f"{DEFAULT_FADE[WEAK_FORCES]:g}",
        unit="of the run",
        ge=0,
        le=1,
    )
    seed: int = setting(
        0,
        "seed of the displacements' own random stream; the host's stream is left alone",
        ge=0,
        lt=2**63,
    )

    def check_terms(self, terms: Sequence[str], call: Callable[[str], str], chosen: str) -> None:
        """Refuse settings that nothing would read.

        Args:
            terms: the terms that are on.
            call: how the host calls a setting, e.g. ``--piwsl_order`` for ``order``.
            chosen: how the terms were chosen, for the message.

        Raises:
            ValueError: names the setting and what it acts on.
        """
        changed = [name for name in ("order", "tolerance") if name in self.changed()]
        if changed and set(terms) == {"curvature"}:
            raise ValueError(
                f"{call(changed[0])} {getattr(self, changed[0])} acts on the Taylor and the "
                f"conservative-force term, and {chosen} has neither"
            )
        if "taylor" not in terms and self.anchor != "prediction":
            raise ValueError(
                f"{call('anchor')} {self.anchor} acts on the Taylor term, which {chosen} lacks"
            )
        read_with = (("second_order", "order", 2), ("huber_delta", "penalty", "huber"))
        for name, other, needed in read_with:
            if name in self.changed() and getattr(self, other) != needed:
                raise ValueError(
                    f"{call(name)} {getattr(self, name)} is only read with {call(other)} {needed}, "
                    f"got {getattr(self, other)}"
                )

    @property
    def longest_displacement(self) -> float:
        """Length of the longest displacement of one atom, angstrom."""
        return self.max_displacement * (math.sqrt(3.0) if self.displacement == "cube" else 1.0)

    @property
    def skin(self) -> float:
        """How much closer two atoms can come in a displaced geometry, angstrom."""
        return 2.0 * self.longest_displacement

    def weight(self, term: str, energy_weight: float) -> float:
        """Weight of a term beside a host's own (per-atom) energy error of weight ``energy_weight``.

        A term is ``taylor``, ``conservative``, ``curvature`` or ``weak_forces``, here and below.
        """
        weight = getattr(self, f"{term}_weight")
        return DEFAULT_WEIGHT_RATIO[term] * energy_weight if weight is None else float(weight)

    def schedule(self, step: int) -> float:
        """Factor of ``warmup`` and ``every`` on all terms' weights at the step (from 0)."""
        if step % self.every:
            return 0.0
        return self.every * (min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0)

    def falling(self, term: str, step: int, steps: float) -> float:
        """Factor of the fade on one term's weight at the step (from 0) of a run of ``steps``.

        The number of steps is infinite where the run has no end, and nothing fades.
        """
        part = self.fade_of(term)
        return max(0.0, 1.0 - step / (part * steps)) if part else 1.0

    def fade_of(self, term: str) -> float:
        """Part of the run over which a term fades; 0 where it does not."""
        part = self.weak_forces_fade if term == WEAK_FORCES else self.fade
        return DEFAULT_FADE[term] if part is None else float(part)


class RunSettings(PiwslSettings):
    """The same settings, and those that only a host's whole run needs."""

    allow_large_displacement: bool = setting(
        False,
        "train although max_displacement is more than half the shortest interatomic distance in "
        "the training data",
    )


class MaceSettings(RunSettings):
    """The same settings, and those that only MACE needs."""

    base_loss: BaseLoss = setting(
        "weighted",
        "MACE's own loss that stays the supervised part, decides on stress and virials, and is "
        "the whole of the validation loss",
    )
