"""MACE's command line: every setting is a flag, and what cannot work is named before training."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable

import mace
import pytest
from small_mace import arguments

from piwsl_plugins.data.settings import DataSettings
from piwsl_plugins.hosts.mace import flags, run, seams
from piwsl_plugins.settings import MaceSettings
from piwsl_plugins.teacher.settings import TeacherSettings

Start = Callable[..., run.Run]


def test_every_setting_is_a_flag_with_its_default(start: Start) -> None:
    active = start("--loss", "piwsl_teacher")
    assert active.settings.changed() == {"weak_forces_fade": 0.0}
    assert flags.settings_of(active.args, TeacherSettings) == TeacherSettings()
    for flag, name in flags.DATA_FLAGS.items():
        assert getattr(active.args, flag) == DataSettings.model_fields[name].default


def test_help_explains_every_setting_with_its_unit() -> None:
    from mace.tools import build_default_arg_parser

    text = " ".join(build_default_arg_parser().format_help().split())
    for name, field in MaceSettings.model_fields.items():
        assert f"--piwsl_{name} " in text
        assert str(field.description) in text
    for flag in flags.DATA_FLAGS:
        assert f"--{flag}" in text
    assert "[angstrom]" in text


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [
        ("order", "1", 1),
        ("taylor_weight", "2.5", 2.5),
        ("displacement", "cube", "cube"),
        ("base_loss", "universal", "universal"),
    ],
)
def test_a_flag_reaches_its_setting(start: Start, name: str, word: str, value: object) -> None:
    active = start("--loss", "piwsl", f"--piwsl_{name}", word)
    assert getattr(active.settings, name) == value
    assert active.terms == ("taylor", "conservative")
    assert active.args.loss == active.settings.base_loss  # which is all that MACE sees


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--piwsl_taylor_weight", "-1"], r"--piwsl_taylor_weight: got -1\.0"),
        (["--piwsl_max_displacement", "0"], r"max_displacement: got 0\.0.*angstrom"),
        (["--piwsl_order", "1", "--piwsl_second_order", "hessian"], r"only read with .*order 2"),
        (["--loss", "piwsl_curvature", "--piwsl_order", "1"], r"order 1 acts on the Taylor and"),
        (["--piwsl_curvature_weight", "1"], r"curvature term.* choose one of piwsl_curvature$"),
        (["--piwsl_huber_delta", "1"], r"only read with --piwsl_penalty huber"),
        (["--piwsl_weak_forces_fade", "0.9"], r"none are read; name .* --piwsl_weak_forces_key"),
        (["--piwsl_weak_forces_unit", "eV/nm"], r"only read with --piwsl_weak_forces_key"),
        (["--loss", "piwsl_conservative", "--piwsl_anchor", "label"], r"acts on the Taylor term"),
        (["--loss", "piwsl_supervised", "--piwsl_every", "3"], r"every 3 acts on the terms with"),
        (["--loss", "piwsl_teacher", "--piwsl_weak_forces_key", "f"], "contradicts --loss piwsl_t"),
        (["--loss", "piwsl_teacher", "--piwsl_teacher_pair_cutoff", "0"], "teacher_pair_cutoff: g"),
        (["--lbfgs"], "no fixed value to minimise; use --optimizer adam"),
        (["--model", "AtomicDipolesMACE"], "needs a model that gives an energy"),
        (["--model", "EnergyDipolesMACE"], "EnergyDipolesMACE is trained with"),
        (["--piwsl_base_loss", "energy_forces_dipole"], "does not go with --model"),
        (["--compute_forces", "False"], "needs forces"),
    ],
)
def test_what_cannot_work_is_one_message_that_names_the_flag(
    start: Start, words: list[str], expected: str
) -> None:
    with pytest.raises(SystemExit, match=expected) as error:
        start("--loss", "piwsl", *words)
    assert str(error.value).startswith("mace_run_train: error: ")
    assert run.active() is None


def test_without_a_piwsl_loss_there_is_no_run_and_unread_flags_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert arguments("--loss", "weighted").loss == "weighted"
    assert capsys.readouterr().err == ""
    arguments("--loss", "weighted", "--piwsl_order", "1")
    assert run.active() is None
    assert "--loss weighted does not read --piwsl_order" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--loss", "piwsl"], "terms taylor, conservative, order 2, displacements ball up to"),
        (["--loss", "piwsl_supervised"], "no terms with displacements, beside MACE's 'weighted'"),
        (["--piwsl_weak_forces_key", "gfn2"], "weak forces are trained on over the first 50 % of"),
        (["--piwsl_weak_forces_key", "a", "--piwsl_weak_forces_fade", "0"], "weak .* to the end"),
        (["--piwsl_low_energy_key", "hf"], "predicts the difference 'REF_energy' minus 'hf'"),
        (["--loss", "piwsl_teacher"], "the teacher's forces are trained on to the end"),
    ],
)
def test_the_user_is_told_what_the_run_trains_on(
    start: Start, words: list[str], expected: str
) -> None:
    assert re.search(expected, "\n".join(run.notes(start("--loss", "piwsl_supervised", *words))))


@pytest.mark.parametrize(
    ("given", "forces", "expected"),
    [
        ([], 0, ("std_scaling", 1000.0)),
        ([], 3, ("rms_forces_scaling", 1.0)),
        (["--energy_weight", "1"], 0, ("std_scaling", 1.0)),
        (["--scaling", "rms_forces_scaling"], 0, ("rms_forces_scaling", 1000.0)),
        (["--scaling", "no_scaling", "--energy_weight", "5"], 0, ("no_scaling", 5.0)),
    ],
)
def test_what_the_user_has_not_given_is_set_to_what_learns_from_energies_alone(
    caplog: pytest.LogCaptureFixture, given: list[str], forces: int, expected: tuple[str, float]
) -> None:
    from mace.tools import build_default_arg_parser

    caplog.set_level(logging.INFO)
    args = build_default_arg_parser().parse_args(["--name", "test", "--loss", "piwsl", *given])
    active = run.active()
    assert active is not None
    active.counts.update({"frames": 4, "energy": 4, "forces": forces})
    for _ in range(2):
        active.choose_defaults(*flags.LEARNS)
    assert (args.scaling, args.energy_weight) == expected
    said = {name for name in flags.LEARNS if f"--{name} was not given" in caplog.text}
    assert said == (set() if forces else {n for n in flags.LEARNS if f"--{n}" not in given})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--piwsl_anchor", "label_and_forces"], "has any; use --piwsl_anchor label"),
        (["--piwsl_weak_forces_key", "gfn2"], "'gfn2': no training .* are REF_energy, xtb_forces"),
    ],
)
def test_settings_that_the_labels_do_not_serve_are_refused(
    start: Start, words: list[str], expected: str
) -> None:
    active = start("--loss", "piwsl_taylor", *words)
    active.counts.update({"frames": 4, "energy": 4})
    active.keys.update({"REF_energy", "xtb_forces"})
    with pytest.raises(ValueError, match=expected):
        active.check_statistics()
    active.counts.update({"forces": 1, "weak_forces": 1})
    active.check_statistics()


def test_at_most_six_symbols_of_mace_are_wrapped_each_where_it_is_defined() -> None:
    assert len(seams.SEAMS) <= 6
    for seam in seams.SEAMS:
        function = seams._resolve(importlib.import_module(seam.module), seam.name)
        assert seams._is_wrapped(function), seam.name
    # and the training script has the wrapped ones
    from mace.cli import run_train

    for name in ("check_path_ase_read", "get_dataset_from_xyz", "configure_model"):
        assert seams._is_wrapped(getattr(run_train, name))
    assert seams._is_wrapped(run_train.tools.train)
    assert seams._is_wrapped(run_train.data.AtomicData.from_config)
    seams.verify()


def test_another_version_of_mace_is_refused_with_a_piwsl_loss_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mace, "__version__", "0.3.17")
    with pytest.raises(SystemExit, match=r"0\.3\.17 .*0\.3\.16.*pip install mace-torch==0\.3\.16"):
        arguments("--loss", "piwsl")
    assert arguments("--loss", "weighted").loss == "weighted"
    assert run.active() is None


def test_a_function_imported_before_the_hooks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from mace.cli import run_train

    bare = run_train.get_dataset_from_xyz.__wrapped__
    monkeypatch.setattr(run_train, "get_dataset_from_xyz", bare)
    with pytest.raises(SystemExit, match="piwsl mace-train"):
        arguments("--loss", "piwsl")
