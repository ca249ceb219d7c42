"""The terms and the masked errors as entries of NequIP's own loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nequip.train import MetricsManager

from piwsl_plugins.hosts.nequip import MaskedMeanSquaredError, PiwslLoss, PiwslTerm

NAN = float("nan")


def coefficients(loss: MetricsManager) -> dict[str, float]:
    """The weights of the entries on the scale of the energy's."""
    given = {name: entry.coeff for name, entry in loss.entries.items()}
    first = next(iter(given.values()))
    return {name: coeff / first for name, coeff in given.items()}


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.booleans()), min_size=1))
def test_the_masked_error_and_its_gradient_are_those_of_the_labels_that_are_there(
    rows: list[tuple[float, float, bool]],
) -> None:
    preds = torch.tensor([row[0] for row in rows], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([b if known else NAN for _, b, known in rows], dtype=torch.float64)
    value = MaskedMeanSquaredError()(preds, target)
    value.backward()
    errors = [(a - b) * known for a, b, known in rows]
    number = max(1, sum(known for *_, known in rows))
    assert float(value.detach()) == pytest.approx(sum(e**2 for e in errors) / number)
    assert preds.grad is not None
    assert preds.grad.tolist() == pytest.approx([2 * e / number for e in errors])


def test_entries_and_weights_are_the_hosts_and_defaults_count_from_the_energys() -> None:
    taylor = {"per_atom_energy_mse": 1.0, "piwsl_taylor": 0.05}
    assert coefficients(PiwslLoss()) == pytest.approx(taylor)
    assert coefficients(PiwslLoss(terms=[])) == {"per_atom_energy_mse": 1.0}
    coeffs = {"total_energy": 2.0, "forces": 4.0, "stress": 1.0, "piwsl_conservative": 3.0}
    terms = ["teacher", "conservative"]
    loss = PiwslLoss(terms=terms, coeffs=coeffs, per_atom_energy=False)
    expected = {"total_energy_mse": 1.0, "forces_mse": 2.0, "stress_mse": 0.5}
    expected |= {"piwsl_teacher": 0.1, "piwsl_conservative": 1.5}
    assert coefficients(loss) == pytest.approx(expected)
    extra = {"name": "mae", "coeff": 1.0, "metric": PiwslTerm("taylor")}
    assert list(PiwslLoss(terms=[], extra_metrics=[extra]).entries)[-1] == "mae"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"terms": ["taylr"]}, r"training_module\.loss\.terms: .*'taylr'.*'taylor'"),
    ({"coeffs": {"force": 1.0}}, r"training_module\.loss\.coeffs, .*'force'.*'forces'"),
    (
        {"coeffs": {"piwsl_conservative": 1.0}},
        r"coeffs, with terms: \['taylor'\]: unknown key 'piwsl_conservative'",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_name_is_refused_with_the_nearest_right_one(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PiwslLoss(**arguments)
