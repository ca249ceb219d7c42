"""Every setting: what it accepts, what it refuses and how, and what follows from it."""

from __future__ import annotations

import dataclasses
import math
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piwsl_plugins.settings import (
    DEFAULT_WEIGHT_RATIO,
    MACE_BASE_LOSSES,
    PAPER_TERMS,
    MaceSettings,
    PiwslSettings,
    RunSettings,
)

FIELDS = {field.name: field for field in dataclasses.fields(PiwslSettings)}
INF, NAN = math.inf, math.nan

CHOICES: dict[str, tuple[object, ...]] = {
    "order": (1, 2),
    "second_order": ("trapezoid", "hessian"),
    "displacement": ("ball", "shell", "cube", "adversarial"),
    "anchor": ("prediction", "label", "label_and_forces"),
    "penalty": ("squared", "absolute", "huber"),
    "weak_forces_penalty": ("squared", "length"),
}
NOT_CHOICES = {
    "order": (0, 3, -1, 1.0, 2.5, "1", None, True),
    "second_order": ("", "Hessian", "simpson", None, 2),
    "displacement": ("sphere", "BALL", None, 1),
    "anchor": ("labels", "forces", None, True),
    "penalty": ("l2", "mse", "Huber", None, 0),
    "weak_forces_penalty": ("absolute", "Length", None, 0),
}
NUMBERS: dict[str, tuple[float, ...]] = {
    "taylor_weight": (0, 0.0, 1e-300, 1.0, 1e9),
    "conservative_weight": (0, 0.0, 1e-300, 1.0, 1e9),
    "curvature_weight": (0, 0.0, 1e-300, 1.0, 1e9),
    "max_displacement": (1e-9, 0.05, 1.0, 1),
    "fraction": (1e-9, 0.5, 1.0, 1),
    "batch_fraction": (1e-9, 0.5, 1.0, 1),
    "tolerance": (0.0, 0, 30.0, 1e9),
    "huber_delta": (1e-9, 0.01, 1e9),
    "warmup": (0, 1, 10**6),
    "fade": (0, 1e-9, 0.5, 1, 1.0),
    "weak_forces_fade": (0, 1e-9, 0.5, 1, 1.0),
    "weak_forces_weight": (0, 0.0, 1e-300, 1.0, 1e9),
    "every": (1, 2, 10**6),
    "seed": (0, 1, 2**63),
}
RANGES = {
    "taylor_weight": "a finite number >= 0",
    "conservative_weight": "a finite number >= 0",
    "curvature_weight": "a finite number >= 0",
    "max_displacement": "a finite number > 0 and <= 1 (angstrom)",
    "fraction": "a finite number > 0 and <= 1",
    "batch_fraction": "a finite number > 0 and <= 1",
    "tolerance": "a finite number >= 0 (eV/angstrom^2)",
    "huber_delta": "a finite number > 0 (eV per atom)",
    "warmup": "a whole number >= 0 (steps)",
    "fade": "a finite number >= 0 and <= 1 (of the run)",
    "weak_forces_fade": "a finite number >= 0 and <= 1 (of the run)",
    "weak_forces_weight": "a finite number >= 0",
    "every": "a whole number >= 1 (steps)",
    "seed": "a whole number >= 0 and <= ",
}
NOT_NUMBERS: dict[str, tuple[object, ...]] = {
    "taylor_weight": (-1e-9, NAN, INF, -INF, "1e-3", True, 1j),
    "curvature_weight": (-1e-9, NAN, INF, -INF, "1e-3", True, 1j),
    "conservative_weight": (-1e-9, NAN, INF, -INF, "1e-3", True, 1j),
    "max_displacement": (0.0, -0.1, 1.0 + 1e-9, NAN, INF, "0.1", None, True),
    "batch_fraction": (0.0, -0.5, 1.0 + 1e-9, NAN, INF, "1", None, True),
    "fraction": (0.0, -0.5, 1.0 + 1e-9, NAN, INF, "1", None, True),
    "tolerance": (-1e-9, NAN, INF, "0", None, False),
    "huber_delta": (0.0, -0.01, NAN, INF, "0.01", None, True),
    "warmup": (-1, 0.5, 1.0, NAN, INF, "10", None, True),
    "fade": (-1, 1.5, NAN, INF, "0.5", True),
    "weak_forces_fade": (-1, 1.5, 3700, NAN, INF, "0.5", True),
    "weak_forces_weight": (-1e-9, NAN, INF, -INF, "1e-3", True, 1j),
    "every": (0, -1, 1.5, 2.0, NAN, INF, "2", None, True),
    "seed": (-1, 0.5, 2**63 + 2**12, NAN, INF, "0", None, True),
}


def make(**values: object) -> PiwslSettings:
    """Settings of values whose types are on trial."""
    return PiwslSettings(**values)  # type: ignore[arg-type]


def cases(table: typing.Mapping[str, tuple[object, ...]]) -> list[tuple[str, object]]:
    return [(name, value) for name, values in table.items() for value in values]


def test_these_tests_know_every_field() -> None:
    assert set(FIELDS) == set(CHOICES) | set(NUMBERS)
    assert set(NUMBERS) == set(NOT_NUMBERS) == set(RANGES)
    assert {name for name, field in FIELDS.items() if field.metadata["choices"]} == set(CHOICES)


def test_the_defaults_are_the_recommended_method() -> None:
    settings = PiwslSettings()
    assert (settings.order, settings.second_order) == (2, "trapezoid")
    assert settings.anchor == "prediction"
    assert (settings.warmup, settings.every, settings.fraction) == (0, 2, 1.0)
    assert settings.tolerance == 0.0


@pytest.mark.parametrize(("name", "value"), [*cases(CHOICES), *cases(NUMBERS)])
def test_a_value_within_its_range_is_kept(name: str, value: object) -> None:
    assert getattr(make(**{name: value}), name) == value


@pytest.mark.parametrize("name", ["taylor_weight", "conservative_weight"])
def test_only_weights_may_be_left_out(name: str) -> None:
    assert getattr(make(**{name: None}), name) is None


@pytest.mark.parametrize(("name", "value"), cases(NOT_CHOICES))
def test_a_value_that_is_no_choice_is_refused_by_name_value_and_choices(
    name: str, value: object
) -> None:
    with pytest.raises(ValueError, match=f"^{name}: got ") as error:
        make(**{name: value})
    allowed = ", ".join(repr(choice) for choice in CHOICES[name])
    assert str(error.value) == f"{name}: got {value!r}, expected one of {allowed}"


@pytest.mark.parametrize(("name", "value"), cases(NOT_NUMBERS))
def test_a_number_out_of_range_is_refused_by_name_value_and_range(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name}: got ") as error:
        make(**{name: value})
    assert str(error.value).startswith(f"{name}: got {value!r}, expected {RANGES[name]}")


@given(
    name=st.sampled_from(["max_displacement", "fraction", "huber_delta", "tolerance"]),
    value=st.floats(allow_nan=True, allow_infinity=True),
)
def test_every_float_is_either_within_the_range_or_refused(name: str, value: float) -> None:
    closed = name == "tolerance"
    high = 1.0 if name in ("max_displacement", "fraction") else INF
    valid = math.isfinite(value) and (value >= 0 if closed else value > 0) and value <= high
    if valid:
        assert getattr(make(**{name: value}), name) == value
    else:
        with pytest.raises(ValueError, match=f"^{name}: got "):
            make(**{name: value})


def test_settings_cannot_be_changed_and_go_by_name() -> None:
    settings = PiwslSettings()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.order = 1  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional"):
        PiwslSettings(0.1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="taylor_wieght"):
        make(taylor_wieght=0.1)
    assert dataclasses.replace(settings, order=1).order == 1
    with pytest.raises(ValueError, match=r"^order: got 3"):
        dataclasses.replace(settings, order=3)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_a_default_a_meaning_and_a_type_that_a_flag_can_have(name: str) -> None:
    field = FIELDS[name]
    annotation = typing.get_type_hints(PiwslSettings)[name]
    kinds = set(typing.get_args(annotation) or (annotation,)) - {type(None)}
    assert len(kinds) == 1
    assert kinds <= {int, float, str}
    assert field.default is not dataclasses.MISSING
    assert len(field.metadata["help"]) > 20
    assert not field.metadata["help"].endswith(".")
    if field.metadata["choices"]:
        assert field.metadata["choices"] == CHOICES[name]
        assert field.default in CHOICES[name]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("max_displacement", "angstrom"),
        ("tolerance", "eV/angstrom^2"),
        ("huber_delta", "eV per atom"),
        ("warmup", "steps"),
        ("every", "steps"),
    ],
)
def test_what_has_a_unit_says_it(name: str, unit: str) -> None:
    assert FIELDS[name].metadata["unit"] == unit


def test_mace_adds_its_own_settings_and_keeps_the_checks() -> None:
    added = [field.name for field in dataclasses.fields(MaceSettings)][len(FIELDS) :]
    assert added == ["allow_large_displacement", "base_loss"]
    for loss in MACE_BASE_LOSSES:
        assert MaceSettings(base_loss=loss).base_loss == loss
    with pytest.raises(ValueError, match=r"^base_loss: got 'piwsl', expected one of 'weighted', "):
        MaceSettings(base_loss="piwsl")
    with pytest.raises(
        ValueError, match=r"^max_displacement: got 0\.0, expected a finite number > 0"
    ):
        MaceSettings(max_displacement=0.0)


def test_every_host_lets_large_displacements_be_allowed() -> None:
    added = [field.name for field in dataclasses.fields(RunSettings)][len(FIELDS) :]
    assert added == ["allow_large_displacement"]
    with pytest.raises(ValueError, match=r"^allow_large_displacement: got 1, expected one of Fal"):
        RunSettings(allow_large_displacement=1)  # type: ignore[arg-type]


# blocks of a configuration file


def test_a_block_sets_what_it_names_and_leaves_the_rest_at_its_default() -> None:
    settings = RunSettings.from_mapping({"order": 1, "allow_large_displacement": True}, "piwsl")
    assert settings == RunSettings(order=1, allow_large_displacement=True)
    assert RunSettings.from_mapping({}, "piwsl") == RunSettings()


def test_an_unknown_name_in_a_block_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(
        ValueError, match=r"^data\.piwsl: .*'max_displacment'; did you mean 'max_di"
    ):
        RunSettings.from_mapping({"max_displacment": 0.1}, "data.piwsl")
    with pytest.raises(ValueError, match=r"unknown key 'xyz'; expected one of .*anchor, .*warmup"):
        RunSettings.from_mapping({"xyz": 1}, "piwsl")


def test_a_value_out_of_range_in_a_block_is_named_with_the_block() -> None:
    with pytest.raises(ValueError, match=r"^training_module\.piwsl\.order: got 3, expected one of"):
        RunSettings.from_mapping({"order": 3}, "training_module.piwsl")


# what follows


@pytest.mark.parametrize(
    ("displacement", "factor"),
    [("ball", 1.0), ("shell", 1.0), ("adversarial", 1.0), ("cube", math.sqrt(3))],
)
def test_the_skin_is_two_of_the_longest_displacements(displacement: str, factor: float) -> None:
    settings = PiwslSettings(displacement=displacement, max_displacement=0.07)
    assert settings.longest_displacement == pytest.approx(0.07 * factor)
    assert settings.skin == pytest.approx(2 * 0.07 * factor)


@pytest.mark.parametrize("term", PAPER_TERMS)
def test_a_weight_is_what_was_set_or_a_share_of_the_hosts_energy_weight(term: str) -> None:
    assert PiwslSettings().weight(term, 40.0) == DEFAULT_WEIGHT_RATIO[term] * 40.0
    assert make(**{f"{term}_weight": 0.3}).weight(term, 40.0) == 0.3
    assert make(**{f"{term}_weight": 0}).weight(term, 40.0) == 0.0
    (other,) = set(PAPER_TERMS) - {term}
    assert make(**{f"{term}_weight": 0.3}).weight(other, 1.0) == DEFAULT_WEIGHT_RATIO[other]


def test_the_warm_up_rises_linearly_to_one_and_stays() -> None:
    settings = PiwslSettings(warmup=4, every=1)
    assert [settings.schedule(step) for step in range(7)] == [0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert [PiwslSettings().schedule(step) for step in range(4)] == [2, 0, 2, 0]


def test_every_kth_step_counts_k_fold_from_the_first_on() -> None:
    settings = PiwslSettings(every=3)
    assert [settings.schedule(step) for step in range(7)] == [3, 0, 0, 3, 0, 0, 3]


@given(every=st.integers(1, 20), warmup=st.integers(0, 50), periods=st.integers(1, 5))
def test_leaving_out_steps_keeps_the_mean_weight(every: int, warmup: int, periods: int) -> None:
    settings = PiwslSettings(every=every, warmup=warmup)
    start = -(-warmup // every) * every  # the first period after the warm-up
    factors = [settings.schedule(start + step) for step in range(periods * every)]
    assert sum(factors) / len(factors) == pytest.approx(1.0)


@given(every=st.integers(1, 20), warmup=st.integers(0, 50), step=st.integers(0, 10**6))
def test_the_schedule_stays_between_zero_and_k(every: int, warmup: int, step: int) -> None:
    settings = PiwslSettings(every=every, warmup=warmup)
    factor = settings.schedule(step)
    assert 0.0 <= factor <= every
    assert (factor == 0.0) == (step % every != 0)


def test_fading_weights_fall_linearly_to_zero_and_stay_there() -> None:
    settings = PiwslSettings(fade=0.5, weak_forces_fade=0.25)
    falling = [settings.falling("taylor", step, 8) for step in range(6)]
    assert falling == [1, 0.75, 0.5, 0.25, 0, 0]
    assert [settings.falling("weak_forces", step, 8) for step in range(4)] == [1, 0.5, 0, 0]


def test_only_curvature_loss_and_weak_forces_fade_by_default_and_no_run_without_an_end() -> None:
    settings = PiwslSettings()
    assert [settings.falling("curvature", step, 4) for step in range(5)] == [1, 0.75, 0.5, 0.25, 0]
    assert settings.falling("taylor", 3, 4) == settings.falling("conservative", 3, 4) == 1.0
    assert [settings.falling("weak_forces", step, 4) for step in range(4)] == [1, 0.5, 0, 0]
    assert settings.falling("curvature", 10**6, INF) == 1.0
    assert settings.falling("weak_forces", 10**6, INF) == 1.0
    assert PiwslSettings(weak_forces_fade=0).falling("weak_forces", 3, 4) == 1.0
    assert PiwslSettings(fade=0).falling("curvature", 3, 4) == 1.0
