"""The time of a force call is that of new work, on frames that a calculator has seen or not."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes

from piwsl_plugins.evaluation.cost import TIMED_FRAMES, force_call_time


class Counting(Calculator):
    """No forces at all, and a count of how often it was asked to work."""

    implemented_properties = ("energy", "forces")

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: object = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        self.results = {"energy": 0.0, "forces": np.zeros((len(self.atoms), 3))}


@pytest.mark.parametrize(("frames", "timed"), [(1, 1), (3, 3), (50, TIMED_FRAMES)])
def test_each_frame_is_worked_on_anew_and_the_first_once_more(frames: int, timed: int) -> None:
    calculator, water = Counting(), molecule("H2O")
    water.calc = calculator
    water.get_forces()
    found = force_call_time([water] * frames, calculator)
    assert calculator.calls == 1 + 1 + timed
    assert found > 0.0
    np.testing.assert_array_equal(water.positions, molecule("H2O").positions)


def test_nothing_to_time_is_an_error() -> None:
    with pytest.raises(ValueError, match="no frames"):
        force_call_time([], Counting())
