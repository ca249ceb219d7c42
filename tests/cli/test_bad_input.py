"""What cannot train is refused in one message, before training, and nothing is written over."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import Trained, start_training

Refuse = Callable[..., Trained]
EARLIER = (
    "run.model",
    "run_compiled.model",
    "checkpoints/run_run-1_epoch-0.pt",
    "results/run_run-1_train.txt",
)


@pytest.fixture
def refuse(data: dict[str, Any], tmp_path: Path) -> Refuse:
    """Refuse a training before it starts, in the folder of an earlier run of the same name."""
    for name in EARLIER:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("earlier", encoding="utf-8")

    def run(**options: Any) -> Trained:
        done = start_training(tmp_path, {**data, "loss": "piwsl", **options})
        assert done.status != 0
        assert "Traceback" not in done.stderr
        assert "Started training" not in done.stdout
        assert all((tmp_path / name).read_text(encoding="utf-8") == "earlier" for name in EARLIER)
        assert len([*tmp_path.rglob("*.pt"), *tmp_path.rglob("*.model")]) == 3
        return done

    return run


def message(run: Trained) -> str:
    """The one error, which the terminal shows once."""
    assert (run.stdout + run.stderr).count("error: ") == 1
    text = run.stderr.rpartition("mace_run_train: error: ")[2]
    assert text.strip() not in run.stdout
    return text


CASES = {
    "flag": ({"lbfgs": True}, "--lbfgs .* use --optimizer adam"),
    "no_file": ({"test_file": "absent.xyz"}, r"absent\.xyz: no such file"),
    "scaling": ({"scaling": "rms_forces_scaling"}, "12 of 12 .*--scaling std_scaling"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_train_is_told_in_one_message_and_nothing_is_written_over(
    refuse: Refuse, case: str
) -> None:
    options, expected = CASES[case]
    assert re.search(expected, message(refuse(**options)), flags=re.DOTALL)
