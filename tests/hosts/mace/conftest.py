"""No run is active before a test, and MACE's default dtype holds in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import mace  # noqa: F401  before e3nn, whose constants it lets torch load
import pytest
import torch
from small_mace import arguments

from piwsl_plugins.hosts.mace import run, seams

THIRD_PARTY_WARNINGS = (
    "ignore::DeprecationWarning",  # e3nn 0.4.4 and MACE use TorchScript, which torch deprecates
    "ignore::FutureWarning",  # the same, in torch's newer wording
    "ignore::UserWarning",  # e3nn 0.4.4 loads its constants with an outdated torch.load call
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/hosts/mace" in str(item.path):
            for warning in THIRD_PARTY_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No run is active, and the default dtype is MACE's, before and after each test."""
    seams.install()
    monkeypatch.setattr(run, "_active", None)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def start() -> Callable[..., run.Run]:
    """Start a run from a command line, as ``mace_run_train`` does."""

    def start_run(*words: str) -> run.Run:
        arguments(*words)
        active = run.active()
        assert active is not None
        return active

    return start_run
