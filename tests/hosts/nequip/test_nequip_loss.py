"""The terms as entries of NequIP's own loss, and where their weights come from."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nequip.train import MetricsManager
from small_nequip import PLAIN_LOSS, loss_config, module

from piwsl_plugins.hosts.nequip import MaskedMeanSquaredError, PiwslLoss, PiwslTerm
from piwsl_plugins.hosts.nequip.loss import with_weights
from piwsl_plugins.hosts.nequip.metrics import active_entries, active_terms
from piwsl_plugins.settings import PiwslSettings

NAN = float("nan")


def coefficients(loss: MetricsManager) -> dict[str, float]:
    """The weights of the entries on the scale of the energy's."""
    given = {name: entry.coeff for name, entry in loss.entries.items()}
    first = next(iter(given.values()))
    return {name: coeff / first for name, coeff in given.items()}


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5), st.booleans()), min_size=1))
def test_the_masked_error_is_the_mean_over_the_labels_that_are_there(
    rows: list[tuple[float, float, bool]],
) -> None:
    preds = torch.tensor([row[0] for row in rows], dtype=torch.float64)
    target = torch.tensor([b if known else NAN for _, b, known in rows], dtype=torch.float64)
    squares = [(a - b) ** 2 for a, b, known in rows if known]
    expected = sum(squares) / len(squares) if squares else 0.0
    assert float(MaskedMeanSquaredError()(preds, target)) == pytest.approx(expected)


@pytest.mark.parametrize("target", [[NAN, NAN], [NAN, 1.0]], ids=["no_label", "one_label"])
def test_the_gradient_of_the_masked_error_is_finite(target: list[float]) -> None:
    preds = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
    MaskedMeanSquaredError()(preds, torch.tensor(target, dtype=torch.float64)).backward()
    expected = [0.0, 0.0 if target[1] != target[1] else 6.0]
    assert preds.grad is not None
    assert preds.grad.tolist() == expected


def test_the_masked_error_of_an_epoch_counts_every_label_once() -> None:
    metric = MaskedMeanSquaredError()
    for preds, target in (([1.0, 2.0, 3.0], [0.0, NAN, 0.0]), ([5.0], [NAN]), ([4.0], [0.0])):
        metric.update(torch.tensor(preds), torch.tensor(target))
    assert float(metric.compute()) == pytest.approx((1.0 + 9.0 + 16.0) / 3)
    metric.reset()
    metric.update(torch.tensor([5.0]), torch.tensor([NAN]))
    assert float(metric.compute()) == 0.0


def test_a_term_is_the_mean_of_its_penalties_and_differentiable() -> None:
    penalties = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64, requires_grad=True)
    value = PiwslTerm("taylor")({"piwsl_taylor": penalties, "piwsl_conservative": None}, {})
    assert float(value.detach()) == 3.0
    value.backward()
    assert penalties.grad is not None
    torch.testing.assert_close(penalties.grad, torch.full_like(penalties, 1 / 3))


def test_a_term_without_a_piwsl_module_says_what_to_use() -> None:
    with pytest.raises(ValueError, match=r"piwsl_conservative needs a PIWSL training module"):
        PiwslTerm("conservative")({"total_energy": torch.zeros(1)}, {})


def test_the_default_loss_is_the_energy_and_a_twentieth_of_the_taylor_term() -> None:
    loss = PiwslLoss()
    assert coefficients(loss) == pytest.approx({"per_atom_energy_mse": 1.0, "piwsl_taylor": 0.05})
    assert loss.do_weighted_sum
    assert active_terms(loss) == ("taylor",)


def test_the_entries_have_the_names_of_the_hosts_factories() -> None:
    coeffs = {"total_energy": 2.0, "forces": 4.0, "stress": 1.0, "piwsl_conservative": 3.0}
    loss = PiwslLoss(terms=["conservative", "taylor"], coeffs=coeffs, per_atom_energy=False)
    assert coefficients(loss) == pytest.approx(
        {
            "total_energy_mse": 1.0,
            "forces_mse": 2.0,
            "stress_mse": 0.5,
            "piwsl_conservative": 1.5,
            "piwsl_taylor": 0.05,
        }
    )
    assert active_terms(loss) == ("taylor", "conservative")


def test_weak_forces_weigh_a_tenth_of_the_energy_unless_told_otherwise() -> None:
    coeffs = {"total_energy": 3.0, "forces": 1.5}
    loss = PiwslLoss(terms=["weak_forces"], coeffs=coeffs)
    expected = {"per_atom_energy_mse": 1.0, "forces_mse": 0.5, "piwsl_weak_forces": 0.1}
    assert coefficients(loss) == pytest.approx(expected)
    assert active_terms(loss) == ()
    assert active_entries(loss) == ("weak_forces",)
    completed = with_weights(loss_config("weak_forces"), PiwslSettings(weak_forces_weight=0.2))
    assert completed is not None
    assert completed["coeffs"]["piwsl_weak_forces"] == 0.2


def test_without_terms_the_loss_is_the_errors_of_the_labels() -> None:
    assert coefficients(PiwslLoss(terms=[])) == {"per_atom_energy_mse": 1.0}
    assert list(PiwslLoss(terms=[], coeffs={"forces": 0.5}).entries) == [
        "per_atom_energy_mse",
        "forces_mse",
    ]


def test_further_entries_are_the_hosts_own() -> None:
    extra = {
        "name": "mae",
        "field": "total_energy",
        "coeff": 1.0,
        "metric": MaskedMeanSquaredError(),
    }
    assert list(PiwslLoss(extra_metrics=[extra]).entries)[-1] == "mae"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "term": ({"terms": ["taylr"]}, r"training_module\.loss\.terms: .*'taylr'.*'taylor'"),
    "weak_forces_that_are_no_term": (
        {"coeffs": {"piwsl_weak_forces": 1.0}},
        r"coeffs\.piwsl_weak_forces contradicts terms: \['taylor'\], which lacks 'weak_forces'",
    ),
    "key": ({"coeffs": {"force": 1.0}}, r"training_module\.loss\.coeffs: .*'force'.*'forces'"),
    "key_of_a_term": (
        {"coeffs": {"piwsl_tailor": 1.0}},
        r"training_module\.loss\.coeffs: .*'piwsl_tailor'.*'piwsl_taylor'",
    ),
    "contradiction": (
        {"coeffs": {"piwsl_conservative": 1.0}},
        r"coeffs\.piwsl_conservative contradicts terms: \['taylor'\]",
    ),
    "no_energy": (
        {"coeffs": {"total_energy": None, "forces": 1.0}},
        r"coeffs\.total_energy: got None, expected a number",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_name_is_refused_with_the_nearest_right_one(case: str) -> None:
    arguments, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        PiwslLoss(**arguments)
    if case == "term":
        with pytest.raises(ValueError, match=r"'taylr'.*'taylor'"):
            PiwslTerm("taylr")


def entries(coeff: float | None = None) -> dict[str, Any]:
    """A loss written out entry by entry, and the term among them."""
    term = {"metric": {"_target_": "piwsl_plugins.hosts.nequip.PiwslTerm", "term": "taylor"}}
    return {
        **PLAIN_LOSS,
        "extra_metrics": [term | ({} if coeff is None else {"coeff": coeff})],
    }


def test_a_weight_of_the_settings_becomes_the_coefficient() -> None:
    settings = PiwslSettings(taylor_weight=0.3, conservative_weight=0.7)
    loss = loss_config("taylor", "conservative")
    before = copy.deepcopy(loss)
    completed = with_weights(loss, settings)
    assert completed is not None
    assert loss == before
    assert completed["coeffs"] == {
        "total_energy": 1.0,
        "piwsl_taylor": 0.3,
        "piwsl_conservative": 0.7,
    }
    listed = with_weights(entries(), PiwslSettings(taylor_weight=0.3))
    assert listed is not None
    assert listed["extra_metrics"][0]["coeff"] == 0.3


def test_completing_a_completed_loss_changes_nothing() -> None:
    # a checkpoint holds the completed one, and the same settings
    settings = PiwslSettings(taylor_weight=0.3)
    for loss in (loss_config("taylor"), entries()):
        completed = with_weights(loss, settings)
        assert with_weights(completed, settings) == completed


def test_without_a_weight_in_the_settings_the_loss_is_as_it_was() -> None:
    for loss in (None, loss_config("taylor"), entries(0.2)):
        assert with_weights(loss, PiwslSettings()) is loss


@pytest.mark.parametrize(
    ("loss", "path"),
    [
        (loss_config("taylor", piwsl_taylor=0.2), r"loss\.coeffs\.piwsl_taylor 0\.2"),
        (entries(0.2), r"loss\.extra_metrics\[0\]\.coeff 0\.2"),
    ],
    ids=["factory", "entries"],
)
def test_two_different_weights_are_refused_by_name(loss: dict[str, Any], path: str) -> None:
    with pytest.raises(ValueError, match=rf"given twice: .*taylor_weight 0\.3 and .*{path}; keep"):
        with_weights(loss, PiwslSettings(taylor_weight=0.3))
    assert with_weights(loss, PiwslSettings(taylor_weight=0.2)) == loss


@pytest.mark.parametrize("loss", [PLAIN_LOSS, loss_config("taylor")], ids=["plain", "taylor"])
def test_a_weight_of_a_term_that_the_loss_lacks_is_refused(loss: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"the loss has no conservative term: add 'conservative'"):
        with_weights(loss, PiwslSettings(conservative_weight=0.3))


def test_a_module_weighs_its_terms_by_the_settings() -> None:
    training = module("PiwslLightningModule", {"taylor_weight": 0.3}, loss=loss_config("taylor"))
    assert coefficients(training.loss) == pytest.approx(
        {"per_atom_energy_mse": 1.0, "piwsl_taylor": 0.3}
    )
    again = type(training)(**training.hparams)
    assert coefficients(again.loss) == coefficients(training.loss)
