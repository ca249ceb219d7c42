"""NequIP's global state, as its own commands set it, before the first test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

THIRD_PARTY_WARNINGS = (
    # NequIP chooses a fusion strategy of TorchScript, which torch deprecates
    "ignore:.torch.jit.*is deprecated:DeprecationWarning",
    # Lightning asks torch's trees for their type; nequip-train leaves the same warning out
    "ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/hosts/nequip" in str(item.path):
            for warning in THIRD_PARTY_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session", autouse=True)
def _global_state() -> Iterator[None]:
    """NequIP builds no model before; it makes double precision torch's default."""
    from nequip.utils.global_state import set_global_state

    before = torch.get_default_dtype()
    set_global_state()
    yield
    torch.set_default_dtype(before)
