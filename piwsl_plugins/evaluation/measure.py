"""Everything that is measured of one model: numbers for JSON, arrays for the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from piwsl_plugins.evaluation.accuracy import MILLI, accuracy
from piwsl_plugins.evaluation.comparison import Comparison, Floats
from piwsl_plugins.evaluation.cost import force_call_time
from piwsl_plugins.evaluation.curvature import curvature_softening, curvatures
from piwsl_plugins.evaluation.dynamics import constant_energy, neighbour_ranges
from piwsl_plugins.evaluation.finite_differences import force_consistency
from piwsl_plugins.evaluation.frames import FrameSet
from piwsl_plugins.evaluation.loops import loop_work
from piwsl_plugins.evaluation.predict import compare
from piwsl_plugins.evaluation.secants import secant_curvatures, secant_softening

#: Opens a stage of known length and returns what is called after each of its steps.
Stage = Callable[[str, int], Callable[[], object]]


def silent(_: str, __: int) -> Callable[[], object]:
    """A stage that nobody watches."""
    return lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is measured beside the errors, and how.

    Attributes:
        probes: Frames, evenly spaced over the data, at which curvature, loops and finite
            differences are taken; 0 leaves them out.
        directions: Random directions at each of them for the curvature.
        curvature_step: Step of the curvature's differences, angstrom.
        loop_size: Root mean square displacement of an atom along a loop's edges, angstrom.
        nve_steps: Steps of the dynamics, which starts at the first frame; 0 leaves it out.
        nve_temperature: Of the initial velocities, kelvin.
        nve_timestep: Femtoseconds.
        seed: Seed of directions, loops, velocities and bootstraps.

    Raises:
        ValueError: A value is out of range.
    """

    probes: int = 20
    directions: int = 3
    curvature_step: float = 0.01
    loop_size: float = 0.05
    nve_steps: int = 1000
    nve_temperature: float = 300.0
    nve_timestep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("probes", "nve_steps", "nve_temperature", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.directions < 1:
            raise ValueError(f"directions must be at least 1, got {self.directions}")
        for name in ("curvature_step", "loop_size", "nve_timestep"):
            if not 0.0 < getattr(self, name) < 100.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was found of one model.

    Attributes:
        numbers: The figures of merit, ready for JSON; None where they do not apply.
        arrays: What the figures are drawn from, by name.
    """

    numbers: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def comparison(self, index: int) -> Comparison:
        """Predictions beside labels on the set of frames of that index."""
        prefix = f"set{index}_"
        return Comparison(
            **{
                name.removeprefix(prefix): array
                for name, array in self.arrays.items()
                if name.startswith(prefix) and "secant" not in name
            }
        )


def probe_frames(sets: Sequence[FrameSet], count: int) -> list[Atoms]:
    """Up to ``count`` frames, evenly spaced over all sets."""
    frames = [frame for frame_set in sets for frame in frame_set.frames]
    chosen = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
    return [frames[index] for index in chosen]


def probe_curvatures(
    sets: Sequence[FrameSet], calculator: Calculator, settings: Settings, stage: Stage
) -> Floats:
    """Curvatures at the probes, the same directions for every calculator, eV/angstrom^2."""
    frames = probe_frames(sets, settings.probes)
    return curvatures(
        frames,
        calculator,
        directions=settings.directions,
        step=settings.curvature_step,
        seed=settings.seed,
        progress=stage("curvature along random directions", len(frames) * settings.directions),
    )


def measure(
    calculator: Calculator,
    sets: Sequence[FrameSet],
    settings: Settings,
    *,
    reference_curvatures: Floats | None = None,
    stage: Stage = silent,
) -> Measured:
    """Measure a model.

    Args:
        calculator: The model.
        sets: Labelled frames.
        settings: What is measured beside the errors.
        reference_curvatures: Those of a reference calculator at the probes, shape ``[n_probes,
            directions]``, eV/angstrom^2, or None.
        stage: Told of every step, for a progress bar.

    Raises:
        ValueError: The model fails at a frame, or predicts what is not a finite number; the
            message names it.
    """
    arrays: dict[str, NDArray[Any]] = {}
    numbers: dict[str, Any] = {"test_sets": {}}
    for index, frame_set in enumerate(sets):
        errors, found = _errors(calculator, frame_set, settings, stage)
        numbers["test_sets"][frame_set.name] = errors
        arrays |= {f"set{index}_{name}": array for name, array in found.items()}
    everything = [frame for frame_set in sets for frame in frame_set.frames]
    numbers["ms_per_force_call"] = force_call_time(everything, calculator, seed=settings.seed)
    numbers |= {"curvature": None, "loops": None, "finite_differences": None, "nve": None}
    if settings.probes > 0:
        numbers |= _probe(calculator, sets, settings, stage)
        if reference_curvatures is not None:
            predicted = probe_curvatures(sets, calculator, settings, stage)
            slope = curvature_softening(predicted, reference_curvatures, seed=settings.seed)
            numbers["curvature"] = asdict(slope)
            arrays["curvature_predicted"] = predicted
            arrays["curvature_reference"] = reference_curvatures
    if settings.nve_steps > 0:
        numbers["nve"], found = _dynamics(calculator, sets, settings, stage)
        arrays |= found
    return Measured(numbers=numbers, arrays=arrays)


def _errors(
    calculator: Calculator, frame_set: FrameSet, settings: Settings, stage: Stage
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Errors on one set of frames, and the slope of the secant curvatures between them."""
    step = stage(f"errors on {frame_set.name}", len(frame_set.frames))
    try:
        comparison = compare(
            frame_set.frames,
            calculator,
            energy_key=frame_set.keys["energy"],
            forces_key=frame_set.keys["forces"],
            stress_key=frame_set.keys["stress"],
            progress=lambda _: step(),
        )
    except ValueError as error:
        raise ValueError(f"{frame_set.path}: {error}") from error
    found = accuracy(comparison, frame_set.symbols, frame_set.config_types, seed=settings.seed)
    numbers: dict[str, Any] = {**asdict(found), "secant_curvature": None}
    arrays: dict[str, NDArray[Any]] = {
        name: getattr(comparison, name)
        for name in (
            *("n_atoms", "energies", "reference_energies", "forces", "reference_forces"),
            *("stresses", "reference_stresses"),
        )
    }
    secants = secant_curvatures(frame_set.frames, comparison)
    if secants is not None and np.any(secants.reference):
        numbers["secant_curvature"] = asdict(secant_softening(secants, seed=settings.seed))
        arrays |= {
            "secant_predicted": secants.predicted,
            "secant_reference": secants.reference,
        }
    return numbers, arrays


def _probe(
    calculator: Calculator, sets: Sequence[FrameSet], settings: Settings, stage: Stage
) -> dict[str, Any]:
    """Work around loops and finite differences at the probes."""
    frames = probe_frames(sets, settings.probes)
    loops = loop_work(
        frames,
        calculator,
        size=settings.loop_size,
        seed=settings.seed,
        progress=stage("work around closed loops", len(frames)),
    )
    differences = force_consistency(
        frames,
        calculator,
        seed=settings.seed,
        progress=stage("finite differences of the energy", 2 * len(frames)),
    )
    return {
        "loops": {
            "rms_work_mev": MILLI * loops.rms_work,
            "mean_edge_work_mev": MILLI * loops.mean_edge_work,
            "ratio": loops.ratio,
            "n_loops": loops.n_loops,
        },
        "finite_differences": {
            "rms_error_mev_per_angstrom": MILLI * differences.rms_error,
            "max_error_mev_per_angstrom": MILLI * differences.max_error,
            "resolution_mev_per_angstrom": MILLI * differences.resolution,
            "step_angstrom": differences.step,
            "n_directions": differences.n_directions,
        },
    }


def _dynamics(
    calculator: Calculator, sets: Sequence[FrameSet], settings: Settings, stage: Stage
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """NVE dynamics from the first frame."""
    everything = [frame for frame_set in sets for frame in frame_set.frames]
    found = constant_energy(
        everything[0],
        calculator,
        neighbour_ranges(everything),
        steps=settings.nve_steps,
        timestep=settings.nve_timestep,
        temperature=settings.nve_temperature,
        seed=settings.seed,
        progress=stage("dynamics at constant energy", settings.nve_steps),
    )
    numbers = {
        "drift_mev_per_atom_per_ps": None if found.drift is None else MILLI * found.drift,
        "fluctuation_mev_per_atom": (
            None if found.fluctuation is None else MILLI * found.fluctuation
        ),
        "exploded_at_ps": found.exploded_at,
        "reason": found.reason,
        "time_ps": float(found.times[-1]),
    }
    return numbers, {"nve_times": found.times, "nve_energies": found.energies}


def quick(settings: Settings) -> Settings:
    """The same without probes and dynamics: errors and slopes alone."""
    return replace(settings, probes=0, nve_steps=0)
