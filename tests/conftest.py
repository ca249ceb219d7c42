"""Fixtures for all tests, and what a missing host means.

Everything under ``tests/hosts/mace`` and ``tests/cli`` needs mace-torch, and so does what bears the
marker ``mace``. Without it they are skipped; with ``PIWSL_REQUIRE_MACE=1``, as `make test-mace`
sets it, a missing MACE stops the tests and a skipped MACE test is a failure. The one skip that
stays a skip is that of data which a fresh clone does not have (the fixture ``acac``).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
NEEDS_MACE = (ROOT / "tests" / "hosts" / "mace", ROOT / "tests" / "cli")
HAS_MACE = importlib.util.find_spec("mace") is not None
REQUIRE_MACE = os.environ.get("PIWSL_REQUIRE_MACE") == "1"
NO_MACE = "needs mace-torch: pip install 'piwsl-plugins[mace]', or make test-mace"
NO_ACAC = "acetylacetone data not here (PIWSL_ACAC names their folder)"

# Examples may wait for a loaded machine; in CI the same ones come every time.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def _needs_mace(path: Path) -> bool:
    return any(folder in path.parents for folder in NEEDS_MACE)


class _SkippedModule(pytest.Module):
    """A module that says why it does not run, instead of failing at its imports."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        pytest.skip(NO_MACE)


def pytest_configure() -> None:
    """Stop at once where MACE is demanded and missing."""
    if REQUIRE_MACE and not HAS_MACE:
        raise pytest.UsageError("PIWSL_REQUIRE_MACE=1, but mace-torch is not installed here")


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """Skip modules that need MACE, whole, where it is missing."""
    if not HAS_MACE and _needs_mace(module_path):
        return _SkippedModule.from_parent(parent, path=module_path)
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs MACE, and skip what is marked by hand where MACE is missing."""
    for item in items:
        if _needs_mace(item.path):
            item.add_marker(pytest.mark.mace)
        elif not HAS_MACE and item.get_closest_marker("mace") is not None:
            item.add_marker(pytest.mark.skip(reason=NO_MACE))


def _fail_where_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and NO_ACAC not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped although PIWSL_REQUIRE_MACE=1: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a MACE test into a failure where MACE is demanded."""
    report = yield
    if REQUIRE_MACE and item.get_closest_marker("mace") is not None:
        _fail_where_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole module, as `pytest.importorskip` skips it."""
    report = yield
    if REQUIRE_MACE and _needs_mace(collector.path):
        _fail_where_skipped(report)
    return report


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def acac() -> Path:
    """Folder of the acetylacetone data: train_300K.xyz, test_300K.xyz, isolated_atoms.xyz."""
    folder = Path(os.environ.get("PIWSL_ACAC", ROOT.parent / "shared" / "data" / "acac"))
    if not (folder / "train_300K.xyz").is_file():
        pytest.skip(NO_ACAC)
    return folder
