"""Every setting: what it accepts, what it refuses and how, and what follows from it."""

from __future__ import annotations

import argparse
import math
import pickle

import pytest

from piwsl_plugins.fields import Settings, add_options, setting
from piwsl_plugins.settings import (
    DEFAULT_WEIGHT_RATIO,
    PAPER_TERMS,
    MaceSettings,
    PiwslSettings,
    RunSettings,
)

INF, NAN = math.inf, math.nan

AT_LEAST_0 = "a number of at least 0"


@pytest.mark.parametrize(
    ("name", "expected", "allowed", "refused"),
    [
        ("order", "one of 1, 2", (1, 2), (None, 0, 3, 2.5, "1")),
        ("penalty", "one of 'squared', 'absolute', 'huber'", ("huber",), (None, 1, "", "Huber")),
        ("taylor_weight", AT_LEAST_0, (None, 0, 1e9), (-1e-9, NAN, INF, True, "1e-3")),
        ("weak_forces_weight", AT_LEAST_0, (None, 0, 1e9), (-1e-9, NAN, "1")),
        (
            "max_displacement",
            "a number greater than 0 and at most 1 (angstrom)",
            (1e-9, 0.05, 1),
            (0.0, -0.1, 1.0 + 1e-9, NAN, "0.1", None, True),
        ),
        ("batch_fraction", "a number greater than 0 and at most 1", (1e-9, 1), (0.0, 1.5, None)),
        ("tolerance", f"{AT_LEAST_0} (eV/angstrom^2)", (0, 30.0), (-1e-9, INF, None)),
        ("every", "a whole number of at least 1 (steps)", (1, 10**6), (0, 1.5, 2.0, INF, True)),
        ("fade", f"{AT_LEAST_0} and at most 1 (of the run)", (None, 0, 1), (-1, 1.5, "1")),
        ("seed", "a whole number of at least 0 and less than ", (0, 2**63 - 1), (-1, 0.5, 2**63)),
    ],
)
def test_an_allowed_value_is_kept_and_others_are_refused_with_range_and_unit(
    name: str, expected: str, allowed: tuple[object, ...], refused: tuple[object, ...]
) -> None:
    for value in allowed:
        assert getattr(PiwslSettings(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValueError, match=f"^{name}: got ") as error:
            PiwslSettings(**{name: value})
        assert str(error.value).startswith(f"{name}: got {value!r}, expected {expected}")


def test_settings_cannot_be_changed_go_by_name_and_survive_a_process_boundary() -> None:
    settings = PiwslSettings(order=1)
    with pytest.raises(ValueError, match="frozen"):
        settings.order = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional"):
        PiwslSettings(0.1)  # type: ignore[call-arg, misc]
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.changed() == {"order": 1}


def test_hosts_add_their_own_settings_and_keep_the_checks() -> None:
    with pytest.raises(ValueError, match=r"^allow_large_displacement: got 1, expected true or fa"):
        RunSettings(allow_large_displacement=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^base_loss: got 'piwsl', expected one of 'weighted', "):
        MaceSettings(base_loss="piwsl")  # type: ignore[arg-type]


class Inner(Settings):
    """A block within a block."""

    number: int = setting(1, "how many", unit="things", ge=1)


class Outer(Settings):
    """A block."""

    inner: Inner = setting(Inner(), "the block within")
    flag: bool = setting(False, "whether it is on")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"flagg": True}, "a.b: unknown key 'flagg'; did you mean 'flag'?"),
        ({"xyz": True}, "a.b: unknown key 'xyz'; expected one of flag, inner"),
        ({"flag": 1}, "a.b.flag: got 1, expected true or false"),
        (
            {"inner": {"number": 0}},
            "a.b.inner.number: got 0, expected a whole number of at least 1 (things)",
        ),
        ({"inner": {"nmber": 2}}, "a.b.inner: unknown key 'nmber'; did you mean 'number'?"),
        ({"inner": 3}, "a.b.inner: got 3, expected a valid dictionary or instance of Inner"),
    ],
)
def test_what_is_wrong_in_a_block_is_named_with_its_place(
    values: dict[str, object], told: str
) -> None:
    with pytest.raises(ValueError, match="a") as error:
        Outer.from_mapping(values, "a.b")
    assert str(error.value) == told


def test_a_block_sets_what_it_names_and_leaves_the_rest_at_its_default() -> None:
    found = Outer.from_mapping({"inner": {"number": 4}}, "a.b")
    assert found == Outer(inner=Inner(number=4))
    assert Outer.from_mapping({}, "a.b") == Outer()


def test_options_are_made_of_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser(prog="x")
    add_options(parser, RunSettings, lambda name: [f"--{name}"])
    chosen = parser.parse_args(
        ["--order", "1", "--fraction", "0.5", "--allow_large_displacement", "--anchor", "label"]
    )
    made = RunSettings(**vars(chosen))
    expected = {"order": 1, "fraction": 0.5, "anchor": "label", "allow_large_displacement": True}
    assert made.changed() == expected
    text = parser.format_help()
    assert "[angstrom]" in text
    assert "None" not in text
    with pytest.raises(SystemExit):
        parser.parse_args(["--order", "3"])
    assert "invalid choice: 3" in capsys.readouterr().err


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
    for weight in (0, 0.3):
        assert PiwslSettings(**{f"{term}_weight": weight}).weight(term, 40.0) == weight


def test_the_warm_up_rises_linearly_and_every_kth_step_counts_k_fold() -> None:
    settings = PiwslSettings(warmup=4, every=1)
    assert [settings.schedule(step) for step in range(7)] == [0.25, 0.5, 0.75, 1, 1, 1, 1]
    settings = PiwslSettings(every=3)
    assert [settings.schedule(step) for step in range(7)] == [3, 0, 0, 3, 0, 0, 3]


def test_fading_weights_fall_linearly_to_zero_and_no_run_without_an_end_fades() -> None:
    settings = PiwslSettings(fade=0.5, weak_forces_fade=0.25)
    assert [settings.falling("taylor", s, 8) for s in range(6)] == [1, 0.75, 0.5, 0.25, 0, 0]
    assert [settings.falling("weak_forces", s, 8) for s in range(4)] == [1, 0.5, 0, 0]
    settings = PiwslSettings()
    assert [settings.falling("curvature", s, 4) for s in range(5)] == [1, 0.75, 0.5, 0.25, 0]
    assert settings.falling("taylor", 3, 4) == settings.falling("conservative", 3, 4) == 1.0
    assert [settings.falling("weak_forces", s, 4) for s in range(4)] == [1, 0.5, 0, 0]
    assert settings.falling("curvature", 10**6, INF) == 1.0
    assert PiwslSettings(fade=0).falling("curvature", 3, 4) == 1.0


@pytest.mark.parametrize(
    ("values", "terms", "told"),
    [
        ({"order": 1}, ("curvature",), "--order 1 acts on the Taylor and the conservative-force"),
        ({"anchor": "label"}, ("conservative",), "--anchor label acts on the Taylor term"),
        ({"order": 1, "second_order": "hessian"}, PAPER_TERMS, "--second_order hessian is only re"),
        ({"huber_delta": 0.1}, PAPER_TERMS, "--huber_delta 0.1 is only read with --penalty huber"),
    ],
)
def test_settings_that_nothing_would_read_are_refused(
    values: dict[str, object], terms: tuple[str, ...], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        PiwslSettings(**values).check_terms(terms, "--{}".format, "--loss x")  # type: ignore[arg-type]
    PiwslSettings().check_terms(terms, "--{}".format, "--loss x")
