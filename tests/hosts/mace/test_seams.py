"""The seams: all there, each with what the adapter relies on, and loud where they are not."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import mace
import pytest
from small_mace import arguments

from piwsl_plugins.hosts.mace import run, seams


@pytest.mark.parametrize("seam", seams.SEAMS, ids=lambda seam: seam.name)
def test_every_seam_is_wrapped_where_it_is_defined(seam: seams.Seam) -> None:
    module = importlib.import_module(seam.module)
    function = seams._resolve(module, seam.name)
    assert seams._is_wrapped(function)
    assert set(seam.parameters) <= set(inspect.signature(function).parameters)


def test_the_training_script_has_the_wrapped_functions() -> None:
    from mace.cli import run_train

    assert seams._is_wrapped(run_train.get_loss_fn)
    assert seams._is_wrapped(run_train.get_swa)
    assert seams._is_wrapped(run_train.tools.train)
    assert seams._is_wrapped(run_train.tools.check_args)
    assert seams._is_wrapped(run_train.data.AtomicData.from_config)
    seams.verify()


def test_installing_twice_wraps_once() -> None:
    from mace.tools import scripts_utils

    before = scripts_utils.get_swa
    seams.install()
    assert scripts_utils.get_swa is before
    assert not seams._is_wrapped(scripts_utils.get_swa.__wrapped__)


def test_another_version_of_mace_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mace, "__version__", "0.3.17")
    with pytest.raises(seams.SeamError, match=r"mace-torch 0\.3\.17 .* tested with 0\.3\.16"):
        seams.verify()
    with pytest.raises(SystemExit, match=r"pip install mace-torch==0\.3\.16"):
        run.wrap_check_args(lambda args: (args, []), arguments("--loss", "piwsl"))


def test_another_version_of_mace_trains_its_own_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mace, "__version__", "0.3.17")
    args, _ = run.wrap_check_args(lambda args: (args, []), arguments("--loss", "weighted"))
    assert args.loss == "weighted"


def test_a_seam_that_is_gone_or_changed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from mace.tools import scripts_utils

    def get_swa(arguments: Any) -> None:
        """The parameter has another name."""

    monkeypatch.setattr(scripts_utils, "get_swa", get_swa)
    with pytest.raises(seams.SeamError, match=r"get_swa .*has lost the parameters \['args'\]"):
        seams.verify()
    monkeypatch.delattr(scripts_utils, "get_swa")
    with pytest.raises(seams.SeamError, match=r"get_swa .*is not there any more"):
        seams.verify()


def test_a_function_imported_before_the_hooks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from mace.cli import run_train

    monkeypatch.setattr(run_train, "get_loss_fn", run_train.get_loss_fn.__wrapped__)
    with pytest.raises(seams.SeamError, match="piwsl mace-train"):
        seams.verify()
