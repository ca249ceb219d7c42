"""Settings of the teacher, the linear model, and of the geometries that are sampled by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import pydantic

from piwsl_plugins.fields import Settings, setting

if TYPE_CHECKING:
    from typing_extensions import Self

Values = Annotated[
    tuple[Annotated[float, pydantic.Field(gt=0, lt=1e5)], ...], pydantic.Field(strict=False)
]


class TeacherSettings(Settings):
    """Basis of the linear model, and which of its forces are good enough to be trained on."""

    body_order: Literal[2, 3] = setting(
        3, "terms of the linear teacher: 2, pairs of atoms alone; 3, pairs and triples"
    )
    pair_cutoff: float = setting(
        6.0,
        "cutoff of the pair terms where a frame is periodic; without periodic frames there is none",
        unit="angstrom",
        gt=1,
    )
    triple_cutoff: float | None = setting(
        None,
        "cutoff of the triple terms; left out, chosen by the leave-one-out error",
        unit="angstrom",
        gt=1,
    )
    max_uncertainty: float = setting(
        1.0,
        "largest predicted error of an atom's force, relative to the size of the forces, with "
        "which it is trained on",
        gt=0,
    )


class SampleSettings(Settings):
    """How geometries are sampled; each way of sampling is used if its list is not empty."""

    temperatures: Values = setting((), "of Langevin dynamics, some trajectories each", unit="K")
    trajectories: int = setting(4, "at each temperature, from different geometries", ge=1)
    steps: int = setting(2000, "steps of each trajectory", ge=1)
    interval: int = setting(50, "steps between two geometries of a trajectory", ge=1)
    timestep: float = setting(0.5, "of the dynamics", unit="fs", gt=0, lt=100)
    friction: float = setting(0.01, "of the Langevin dynamics", unit="1/fs", ge=0, lt=100)
    lengths: Values = setting((), "standard deviations of random displacements", unit="angstrom")
    strain: float = setting(0.0, "standard deviation of random strains of cells with them", ge=0)
    rattled: int = setting(50, "geometries with random displacements of each length", ge=1)
    mode_temperatures: Values = setting((), "of vibrations about the nearest minimum", unit="K")
    displaced: int = setting(50, "geometries along normal modes at each temperature", ge=1)
    select: int | None = setting(None, "the farthest geometries; left out, all that differ", ge=1)
    closest: float = setting(
        0.05, "distance of near-duplicates, in the spread of all averaged SOAP descriptors", ge=0
    )
    seed: int = setting(1, "of everything that is drawn at random", ge=0)

    @pydantic.model_validator(mode="after")
    def _interval_fits(self) -> Self:
        if self.interval > self.steps:
            raise ValueError(f"interval: got {self.interval}, more than the {self.steps} steps")
        return self

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be sampled."""
        return not (self.temperatures or self.lengths or self.mode_temperatures)
