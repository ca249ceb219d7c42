"""Errors are averages over the labels that exist; slopes are those of scaled forces."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.units import GPa
from stand_in import Harmonic, labelled, rattled

from piwsl_plugins.data.frames import Frame
from piwsl_plugins.evaluation.errors import accuracy, compare, slope


def frames(*removed: str, **changes: Any) -> list[Frame]:
    """A hydrogen and an oxygen atom, and two hydrogen atoms, off by 2 and 4 meV."""
    made = []
    for number, (symbols, kind, forces) in enumerate(
        (("HO", "cold", [[0.003] * 3, [0.001] * 3]), ("H2", "hot", [[0.003] * 3] * 2))
    ):
        labels = {"energy": 0.002 * (number + 1), "forces": np.array(forces), **changes}
        atoms = Atoms(symbols, positions=[[0, 0, 0], [0, 0, 1]], info={"config_type": kind})
        own = {label: value for label, value in labels.items() if label not in removed}
        made.append(Frame(atoms=atoms, labels=own, source="t.xyz", number=number))
    return made


def errors_of(frames: list[Frame], stress: float | None = None) -> dict[str, Any]:
    """Errors of a model that predicts zero throughout, but perhaps for the stress."""
    return accuracy(compare(frames, Harmonic(0.0, stress=stress)))


def test_errors_come_in_milli_units_by_element_and_by_type() -> None:
    errors = errors_of(frames())
    expected = {"rmse": np.sqrt(10.0), "mae": 3.0, "max": 4.0, "n": 2}
    assert errors["energy_mev"] == pytest.approx(expected)
    assert errors["energy_mev_per_atom"]["max"] == pytest.approx(2.0)
    assert errors["force_slope"]["slope"] == 0.0
    by_element = {element: own["rmse"] for element, own in errors["force_by_element"].items()}
    assert by_element == pytest.approx({"H": 3.0, "O": 1.0})
    assert errors["force_by_element"]["H"]["n"] == 9
    cold, hot = errors["by_config_type"].values()
    assert hot["energy"]["rmse"] == pytest.approx(4.0)
    assert cold["force"]["max"] == pytest.approx(3.0)
    assert cold["n_frames"] == 1
    json.dumps(errors, allow_nan=False)


def test_types_may_be_absent() -> None:
    first, second = both = frames()
    del first.atoms.info["config_type"]
    assert list(errors_of(both)["by_config_type"]) == ["(none)", "hot"]
    del second.atoms.info["config_type"]
    assert errors_of(both)["by_config_type"] == {}


def test_stress_errors_are_of_the_frames_and_models_that_have_a_stress() -> None:
    first, second = frames(stress=np.full((3, 3), 0.012))
    second.labels = {}
    errors = errors_of([first, second], stress=0.01)
    assert errors["stress_gpa"]["n"] == 6
    assert errors["stress_gpa"]["max"] == pytest.approx(0.002 / GPa)
    assert errors["energy_mev"]["n"] == 1
    assert errors_of([first])["stress_gpa"] is None


def test_what_has_no_label_is_none_and_not_zero() -> None:
    errors = errors_of(frames("energy", "forces"))
    for name in ("energy_mev", "force_mev_per_angstrom", "stress_gpa", "force_slope"):
        assert errors[name] is None
    assert errors["force_by_element"] == {}
    assert errors["by_config_type"]["hot"]["energy"] is None


def test_a_calculator_agrees_with_its_own_labels_and_leaves_the_frames_alone() -> None:
    structures = [*rattled("CH4", "H2O"), bulk("Cu", cubic=True)]
    made = labelled(structures, EMT())
    errors = accuracy(compare(made, EMT()))
    for name in ("energy_mev", "force_mev_per_angstrom", "stress_gpa"):
        assert errors[name]["max"] < 1e-9
    assert all(frame.atoms.calc is None for frame in made)


@pytest.mark.parametrize("what", ["energy", "forces", "stress"])
def test_a_diverged_model_is_named_with_its_frame_and_not_left_out(what: str) -> None:
    class Diverged(EMT):
        def calculate(self, *arguments: Any, **names: Any) -> None:
            super().calculate(*arguments, **names)
            self.results[what] = self.results[what] * np.nan

    made = labelled([bulk("Cu", cubic=True)], EMT())
    with pytest.raises(ValueError, match=rf"test.xyz, frame 0: .*the predicted {what} is not a fi"):
        compare(made, Diverged())


def scaled(factor: float, noise: float = 0.0, frames: int = 20, seed: int = 3) -> tuple[Any, ...]:
    """Predictions that are the reference times a factor, plus noise, and their frames."""
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=12 * frames)
    predicted = factor * reference + noise * rng.normal(size=reference.size)
    return predicted, reference, np.repeat(np.arange(frames), 12)


@pytest.mark.parametrize("factor", [0.01, 1.0, 7.0])
def test_the_slope_of_scaled_forces_is_the_factor(factor: float) -> None:
    found = slope(*scaled(factor))
    assert found["slope"] == pytest.approx(factor)
    assert found["interval"] == pytest.approx([factor, factor])
    assert found["n_frames"] == 20


def test_about_nineteen_of_twenty_intervals_hold_the_true_slope() -> None:
    intervals = [slope(*scaled(0.9, 0.3, seed=seed))["interval"] for seed in range(60)]
    assert 0.85 <= np.mean([low <= 0.9 <= high for low, high in intervals]) < 1.0


def test_one_frame_has_no_interval_and_zero_forces_have_no_slope() -> None:
    found = slope(*scaled(0.9, frames=1))
    assert (found["slope"], found["interval"]) == (pytest.approx(0.9), None)
    assert slope(np.ones(3), np.zeros(3), np.zeros(3)) is None
