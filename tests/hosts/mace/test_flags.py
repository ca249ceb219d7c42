"""MACE's command line: every setting is a flag, and a contradiction is named."""

from __future__ import annotations

import dataclasses

import pytest
from small_mace import arguments

from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.hosts.mace import flags
from piwsl_plugins.settings import MaceSettings


def test_every_setting_is_a_flag_with_its_default() -> None:
    args = arguments("--loss", "piwsl")
    assert flags.settings_from(args) == MaceSettings()


def test_help_explains_every_setting_with_unit_and_default() -> None:
    import mace.tools

    text = " ".join(mace.tools.build_default_arg_parser().format_help().split())
    assert all(name in text for name in flags.LOSSES)
    for field in dataclasses.fields(MaceSettings):
        assert f"--piwsl_{field.name}" in text
        assert " ".join(field.metadata["help"].split()) in text
        if field.metadata["unit"]:
            assert f"[{field.metadata['unit']}]" in text


@pytest.mark.parametrize("field", dataclasses.fields(MaceSettings), ids=lambda f: f.name)
def test_every_flag_reaches_its_setting(field: dataclasses.Field[object]) -> None:
    changed = {
        "taylor_weight": "3.0",
        "conservative_weight": "4.0",
        "curvature_weight": "0.3",
        "order": "1",
        "second_order": "hessian",
        "displacement": "cube",
        "anchor": "label",
        "penalty": "huber",
        "base_loss": "universal",
        "max_displacement": "0.02",
        "fraction": "0.5",
        "batch_fraction": "0.25",
        "tolerance": "12.0",
        "huber_delta": "0.5",
        "warmup": "10",
        "fade": "0.5",
        "every": "3",
        "weak_forces_weight": "7.0",
        "weak_forces_penalty": "length",
        "weak_forces_fade": "0.25",
        "seed": "5",
        "allow_large_displacement": None,
    }[field.name]
    words = [f"--piwsl_{field.name}"] + ([changed] if changed is not None else [])
    if field.name == "huber_delta":
        words += ["--piwsl_penalty", "huber"]
    if field.name.startswith("weak_forces"):
        words += ["--piwsl_weak_forces_key", "gfn2_forces"]
    loss = "piwsl_curvature" if field.name == "curvature_weight" else "piwsl"
    settings = flags.settings_from(arguments("--loss", loss, *words))
    found = getattr(settings, field.name)
    assert found != field.default
    assert str(found) == (changed if changed is not None else "True")


def test_every_data_setting_is_a_flag_and_the_units_have_short_names() -> None:
    words = ["--piwsl_energy_unit", "hartree", "--piwsl_weak_forces_key", "weak"]
    args = arguments("--loss", "piwsl", *words, "--length_unit", "bohr")
    assert (args.piwsl_energy_unit, args.piwsl_length_unit) == ("hartree", "bohr")
    assert args.piwsl_weak_forces_key == "weak"
    assert arguments("--loss", "piwsl", "--energy_unit", "meV").piwsl_energy_unit == "meV"
    known = {field.name for field in dataclasses.fields(DataSettings)}
    assert known - set(flags.DATA_FLAGS.values()) == {"energy", "forces", "stress"}
    assert flags.changed_flags(args) == [
        "--piwsl_energy_unit",
        "--piwsl_length_unit",
        "--piwsl_weak_forces_key",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--piwsl_taylor_weight", "-1"], r"--piwsl_taylor_weight: got -1\.0, expected"),
        (["--piwsl_taylor_weight", "nan"], r"--piwsl_taylor_weight: got nan, expected a finite"),
        (["--piwsl_max_displacement", "-0.1"], r"max_displacement: got -0\.1.*angstrom"),
        (["--piwsl_max_displacement", "0"], r"max_displacement: got 0\.0, .*> 0"),
        (["--piwsl_fraction", "1.5"], r"fraction: got 1\.5"),
        (["--piwsl_every", "0"], r"every: got 0, expected a whole number >= 1"),
        (["--piwsl_warmup", "-5"], r"warmup: got -5"),
        (["--piwsl_order", "1", "--piwsl_second_order", "hessian"], r"only read with .*order 2"),
        (["--loss", "piwsl_curvature", "--piwsl_order", "1"], r"order 1 acts on the Taylor and"),
        (["--loss", "piwsl_curvature", "--piwsl_tolerance", "3"], r"tolerance 3\.0 acts on the"),
        (["--piwsl_curvature_weight", "1"], r"choose a loss with it: piwsl_curvature$"),
        (["--piwsl_huber_delta", "1"], r"only read with --piwsl_penalty huber"),
        (["--piwsl_weak_forces_fade", "0.9"], r"none are read; name .* --piwsl_weak_forces_key"),
        (["--piwsl_weak_forces_unit", "eV/nm"], r"only read with --piwsl_weak_forces_key"),
    ],
)
def test_a_value_out_of_range_or_never_read_is_an_error(words: list[str], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        flags.settings_from(arguments("--loss", "piwsl", *words))


@pytest.mark.parametrize(
    ("loss", "words", "expected"),
    [
        ("piwsl_taylor", ["--piwsl_conservative_weight", "1"], "has no conservative term"),
        ("piwsl_conservative", ["--piwsl_taylor_weight", "1"], "has no taylor term"),
        ("piwsl_conservative", ["--piwsl_anchor", "label"], "acts on the Taylor term"),
        ("piwsl_supervised", ["--piwsl_every", "3"], "every 3 acts on the terms with displacement"),
        ("piwsl_supervised", ["--piwsl_taylor_weight", "1"], "has no taylor term"),
    ],
)
def test_a_flag_of_the_other_term_is_an_error(loss: str, words: list[str], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        flags.settings_from(arguments("--loss", loss, *words))


def test_an_unknown_flag_or_choice_is_maces_own_error() -> None:
    wrong = (
        ["--piwsl_oder", "1"],
        ["--piwsl_order", "3"],
        ["--loss", "piwsl_tailor"],
        ["--energy_unit", "Hartrees"],
    )
    for words in wrong:
        with pytest.raises(SystemExit):
            arguments("--loss", "piwsl", *words)
