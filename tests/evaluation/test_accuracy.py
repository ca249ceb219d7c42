"""Errors by element and configuration type, stress in both units, and nothing without a label."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from ase.units import GPa

from piwsl_plugins.evaluation import Comparison
from piwsl_plugins.evaluation.accuracy import accuracy

NAN = float("nan")


def comparison(**changes: np.ndarray) -> Comparison:
    """Two frames, of a hydrogen and an oxygen atom, and of two hydrogen atoms."""
    fields = {
        "n_atoms": np.array([2, 2]),
        "energies": np.array([1.0, 2.0]),
        "reference_energies": np.array([1.002, 2.004]),
        "forces": np.zeros((4, 3)),
        "reference_forces": np.array([[0.003] * 3, [0.001] * 3, [0.003] * 3, [0.003] * 3]),
    }
    return Comparison(**{**fields, **changes})


SYMBOLS, TYPES = ["H", "O", "H", "H"], ["cold", "hot"]


def test_errors_come_in_milli_units_with_mean_and_maximum() -> None:
    found = accuracy(comparison(), SYMBOLS, TYPES)
    assert found.energy_mev is not None
    assert found.energy_mev.mae == pytest.approx(3.0)
    assert found.energy_mev.max == pytest.approx(4.0)
    assert found.energy_mev.rmse == pytest.approx(np.sqrt(10.0))
    assert found.energy_mev_per_atom is not None
    assert found.energy_mev_per_atom.max == pytest.approx(2.0)
    assert found.energy_mev.n == 2
    json.dumps(asdict(found), allow_nan=False)


def test_each_element_has_its_own_force_errors() -> None:
    found = accuracy(comparison(), SYMBOLS, TYPES).force_by_element
    assert {symbol: errors.rmse for symbol, errors in found.items()} == {
        "H": pytest.approx(3.0),
        "O": pytest.approx(1.0),
    }
    assert found["H"].n == 9


def test_each_configuration_type_has_its_own_errors() -> None:
    found = accuracy(comparison(), SYMBOLS, TYPES).by_config_type
    assert list(found) == ["cold", "hot"]
    assert found["hot"].energy is not None
    assert found["hot"].energy.rmse == pytest.approx(4.0)
    assert found["cold"].force is not None
    assert found["cold"].force.max == pytest.approx(3.0)
    assert accuracy(comparison(), SYMBOLS, [None, None]).by_config_type == {}
    some = accuracy(comparison(), SYMBOLS, [None, "1000K"]).by_config_type
    assert set(some) == {"(none)", "1000K"}


def test_types_are_sorted_by_their_numbers() -> None:
    found = accuracy(comparison(), SYMBOLS, ["1000K", "300K"]).by_config_type
    assert list(found) == ["300K", "1000K"]


def test_stress_errors_come_in_both_units() -> None:
    stresses = np.full((2, 6), 0.01)
    reference = np.array([[0.012] * 6, [NAN] * 6])
    found = accuracy(comparison(stresses=stresses, reference_stresses=reference), SYMBOLS, TYPES)
    assert found.stress_mev_per_angstrom3 is not None
    assert found.stress_mev_per_angstrom3.rmse == pytest.approx(2.0)
    assert found.stress_mev_per_angstrom3.n == 6
    assert found.stress_gpa is not None
    assert found.stress_gpa.max == pytest.approx(0.002 / GPa)


def test_what_has_no_label_is_none_and_not_zero() -> None:
    nothing = comparison(reference_energies=np.full(2, NAN), reference_forces=np.full((4, 3), NAN))
    found = accuracy(nothing, SYMBOLS, TYPES)
    assert found.energy_mev is found.force_mev_per_angstrom is found.stress_gpa is None
    assert found.force_slope is None
    assert found.force_by_element == {}
    assert found.by_config_type["hot"].energy is None


def test_reference_forces_that_are_all_zero_have_errors_and_no_slope() -> None:
    found = accuracy(comparison(reference_forces=np.zeros((4, 3))), SYMBOLS, TYPES)
    assert found.force_slope is None
    assert found.force_mev_per_angstrom is not None
