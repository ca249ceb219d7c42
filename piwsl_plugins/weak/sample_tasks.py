"""What is sampled: one run of dynamics, or one series of displaced geometries, at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from piwsl_plugins.fields import setting
from piwsl_plugins.weak.displaced import rattled, trajectory
from piwsl_plugins.weak.files import bare, digest_of, geometry_hash
from piwsl_plugins.weak.normal_modes import thermal_geometries
from piwsl_plugins.weak.plausibility import Plausibility

MD, RATTLE, NORMAL_MODES = "md", "rattle", "normal-modes"
KEPT = ("charge", "multiplicity", "spin")
"""What a sampled geometry takes over from its parent's ``info``."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleSettings:
    """How geometries are sampled; each way of sampling is used if its list is not empty.

    Raises:
        ValueError: A value out of range.
    """

    temperatures: tuple[float, ...] = setting(
        (), "of the Langevin dynamics; one set of trajectories each", unit="K"
    )
    trajectories: int = setting(4, "trajectories at each temperature, from different geometries")
    steps: int = setting(2000, "steps of each trajectory")
    interval: int = setting(50, "steps between two geometries of a trajectory")
    timestep: float = setting(0.5, "of the dynamics", unit="fs")
    friction: float = setting(0.01, "of the Langevin dynamics", unit="1/fs")
    lengths: tuple[float, ...] = setting(
        (),
        "standard deviation of each component of random displacements; one set of geometries each",
        unit="angstrom",
    )
    strain: float = setting(
        0.0, "standard deviation of each component of a random strain that goes with them, in cells"
    )
    rattled: int = setting(50, "geometries with random displacements of each length")
    mode_temperatures: tuple[float, ...] = setting(
        (), "of the harmonic vibrations about a minimum; one set of geometries each", unit="K"
    )
    displaced: int = setting(50, "geometries along normal modes at each temperature")
    relax: bool = setting(True, "take the normal modes at the nearest minimum")
    select: int | None = setting(
        None, "geometries that farthest-point selection keeps; left out, all that differ"
    )
    closest: float = setting(
        0.05,
        "distance, as a fraction of the spread of all geometries (in the space of averaged SOAP "
        "descriptors), below which two are near-duplicates",
    )
    seed: int = setting(1, "of everything that is drawn at random")

    def __post_init__(self) -> None:
        for name in ("trajectories", "steps", "interval", "rattled", "displaced"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.select is not None and self.select < 1:
            raise ValueError(f"select must be at least 1, got {self.select}")
        if self.interval > self.steps:
            raise ValueError(f"interval is {self.interval}, more than the {self.steps} steps")
        for name in ("temperatures", "lengths", "mode_temperatures"):
            for value in getattr(self, name):
                if not 0.0 < value < 1e5:
                    raise ValueError(f"{name} must be positive numbers, got {value}")
        for name in ("timestep", "friction", "closest", "strain"):
            if not 0.0 <= getattr(self, name) < 100.0:
                raise ValueError(f"{name} must be from 0 to 100, got {getattr(self, name)}")
        if self.timestep == 0.0:
            raise ValueError("timestep must be positive, got 0")

    @property
    def needs_no_forces(self) -> bool:
        """Whether all that is sampled are random displacements."""
        return not (self.temperatures or self.mode_temperatures)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be sampled."""
        return self.needs_no_forces and not self.lengths


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleTask:
    """One series of geometries from one parent.

    Attributes:
        method: md, rattle or normal-modes.
        parent: Number of the geometry that it starts from.
        value: Temperature, kelvin, or length of the displacements, angstrom.
        count: Steps of the dynamics, or number of geometries.
        seed: Of its random numbers.
    """

    method: str
    parent: int
    value: float
    count: int
    seed: int

    @property
    def name(self) -> str:
        """For people and files."""
        unit = "A" if self.method == RATTLE else "K"
        return f"{self.method}-{self.value:g}{unit}-{self.parent}-{self.seed}"


def plan(settings: SampleSettings, parents: int) -> list[SampleTask]:
    """All that is to be sampled, from parents drawn at random.

    Args:
        settings: What is to be sampled.
        parents: Number of known geometries.
    """
    rng = np.random.default_rng(settings.seed)
    found: list[SampleTask] = []

    def add(method: str, value: float, counts: list[int]) -> None:
        # each geometry once before any twice
        order = np.concatenate(
            [rng.permutation(parents) for _ in range(-(-len(counts) // parents))]
        )
        for count, parent in zip(counts, order, strict=False):
            seed = int(rng.integers(2**31))
            task = SampleTask(
                method=method, parent=int(parent), value=value, count=count, seed=seed
            )
            found.append(task)

    for temperature in settings.temperatures:
        add(MD, temperature, [settings.steps] * settings.trajectories)
    for length in settings.lengths:
        add(RATTLE, length, [1] * settings.rattled)
    for temperature in settings.mode_temperatures:
        add(NORMAL_MODES, temperature, [settings.displaced])
    return found


def digest_of_task(
    task: SampleTask, settings: SampleSettings, parent: Atoms, potential: str
) -> str:
    """Short name of everything that the geometries of a task depend on."""
    of_task = {
        MD: (settings.interval, settings.timestep, settings.friction),
        RATTLE: (settings.strain,),
        NORMAL_MODES: (settings.relax,),
    }[task.method]
    used = "" if task.method == RATTLE else potential
    return digest_of([dataclasses.asdict(task), of_task, geometry_hash(parent), used])[:16]


@dataclasses.dataclass(frozen=True, slots=True)
class Sampled:
    """What became of a task.

    Attributes:
        frames: Geometries with their provenance.
        refused: Why the others were not taken, one reason each.
    """

    frames: list[Atoms]
    refused: list[str]


def carry_out(
    task: SampleTask,
    settings: SampleSettings,
    parent: Atoms,
    calculator: BaseCalculator | None,
    potential: str,
    plausibility: Plausibility,
    scratch: Path,
    progress: Callable[[int], object],
) -> Sampled:
    """Sample the geometries of a task.

    Args:
        task: What to do.
        settings: How.
        parent: The geometry that it starts from.
        calculator: The potential; not asked for random displacements, and None there.
        potential: What to call it.
        plausibility: What geometries must look like; dynamics end at the first that does not.
        scratch: Folder for the finite differences of the normal modes.
        progress: Called with the number of steps, or geometries, done since the last call.
    """
    start = bare(parent, KEPT)
    frames: list[Atoms] = []
    refused: list[str] = []
    try:
        for step, geometry in _geometries(task, settings, start, calculator, scratch, progress):
            objection = plausibility.objection(geometry, start)
            if objection is not None:
                refused.append(f"{task.name}, step {step}: {objection}")
                if task.method == MD:  # it does not come back
                    break
                continue
            geometry.info |= provenance(task, potential, step, start)
            frames.append(geometry)
    except ValueError as error:
        refused.append(f"{task.name}: {error}")
    return Sampled(frames, refused)


def _geometries(
    task: SampleTask,
    settings: SampleSettings,
    parent: Atoms,
    calculator: BaseCalculator | None,
    scratch: Path,
    progress: Callable[[int], object],
) -> Iterator[tuple[int, Atoms]]:
    rng = np.random.default_rng(task.seed)
    if task.method == RATTLE:
        length, strain = task.value, settings.strain
        yield from enumerate(
            rattled(parent, length=length, strain=strain, count=task.count, rng=rng)
        )
        progress(task.count)
        return
    assert calculator is not None
    if task.method == MD:
        yield from trajectory(
            parent,
            calculator,
            temperature=task.value,
            steps=task.count,
            interval=settings.interval,
            timestep=settings.timestep,
            friction=settings.friction,
            seed=task.seed,
            progress=progress,
        )
        return
    yield from enumerate(
        thermal_geometries(
            parent,
            calculator,
            temperature=task.value,
            count=task.count,
            rng=rng,
            folder=scratch,
            relaxed=settings.relax,
        )
    )
    progress(task.count)


def provenance(task: SampleTask, potential: str, step: int, parent: Atoms) -> dict[str, object]:
    """Where a geometry comes from, for its ``info``."""
    found: dict[str, object] = {
        "sampled_by": task.method,
        "sampled_seed": task.seed,
        "sampled_step": step,
        "sampled_parent": geometry_hash(parent),
    }
    if task.method == RATTLE:
        return found | {"sampled_length": task.value}
    return found | {"sampled_temperature": task.value, "sampled_potential": potential}
