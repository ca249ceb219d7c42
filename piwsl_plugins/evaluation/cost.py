"""What a model costs at run time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

#: Frames that the time is taken on, evenly spaced over the data, after one that is not timed.
TIMED_FRAMES = 10
#: Random displacements, so that a calculator does not give an earlier answer again, angstrom.
MOVED = 1e-3


def force_call_time(frames: Sequence[Atoms], calculator: Calculator, *, seed: int = 0) -> float:
    """Median time of one evaluation of energy and forces.

    Args:
        frames: Structures, angstrom; they are copied, not changed.
        calculator: Any ASE calculator.
        seed: Seed of small displacements, without which a calculator that has seen a frame would
            not work anew.

    Returns:
        Milliseconds, with as many threads as the calculator takes here.

    Raises:
        ValueError: There are no frames.
    """
    if not frames:
        raise ValueError("no frames to take the time on")
    rng = np.random.default_rng(seed)
    chosen = np.unique(np.linspace(0, len(frames) - 1, TIMED_FRAMES).round().astype(int))
    times = []
    for number in [chosen[0], *chosen]:
        atoms = frames[number].copy()
        atoms.positions += rng.normal(scale=MOVED, size=atoms.positions.shape)
        atoms.calc = calculator
        started = time.perf_counter()
        atoms.get_forces()
        atoms.get_potential_energy()
        times.append(time.perf_counter() - started)
    return 1000.0 * float(np.median(times[1:]))
