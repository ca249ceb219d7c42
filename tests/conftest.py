"""Fixtures for all tests, and what a missing host means.

Everything under a host's folders (``HOSTS`` below) needs that host, and so does what bears its
marker: without it they are left out or skipped. With ``PIWSL_REQUIRE_MACE=1`` or
``PIWSL_REQUIRE_NEQUIP=1``, as `make test-mace` and `make test-nequip` set them, a missing host
stops the tests and a skipped test of that host is a failure, but for that of data which a fresh
clone does not have (the fixture ``acac``).
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that runs the tests in its background ignores Ctrl-C, and so would what they start
    signal.signal(signal.SIGINT, signal.default_int_handler)

OF_DEVICES = ("losses", "hosts")
OURS = tuple(str(ROOT / "piwsl_plugins" / folder) for folder in OF_DEVICES)
NO_ACAC = "acetylacetone data not here (PIWSL_ACAC names their folder)"


@dataclass(frozen=True)
class Host:
    """A host's name (its module, marker and make target), its distribution and extra, its tests."""

    name: str
    distribution: str
    extra: str
    folders: tuple[str, ...]

    @property
    def is_here(self) -> bool:
        return importlib.util.find_spec(self.name) is not None

    @property
    def variable(self) -> str:
        return f"PIWSL_REQUIRE_{self.name.upper()}"

    @property
    def is_required(self) -> bool:
        return os.environ.get(self.variable) == "1"

    @property
    def missing(self) -> str:
        return (
            f"needs {self.distribution}: pip install 'piwsl-plugins[{self.extra}]', "
            f"or make test-{self.name}"
        )

    def owns(self, path: Path) -> bool:
        return any(ROOT / "tests" / folder in path.parents for folder in self.folders)


HOSTS = (
    Host("mace", "mace-torch", "mace", ("hosts/mace", "cli")),
    Host("nequip", "nequip", "allegro", ("hosts/nequip", "cli_nequip")),
)

# Examples may wait for a loaded machine; in CI the same ones come every time.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure() -> None:
    """Stop at once where a host is demanded and missing."""
    for host in HOSTS:
        if host.is_required and not host.is_here:
            raise pytest.UsageError(f"{host.variable}=1, but {host.distribution} is not installed")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the tests of a host that is missing."""
    return any(host.owns(collection_path) and not host.is_here for host in HOSTS) or None


def pytest_report_header() -> list[str]:
    """Say which those are."""
    return [f"no tests of {host.name}: {host.missing}" for host in HOSTS if not host.is_here]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a host, skip what is marked by hand where it is missing, slow files first.

    The processes of `make test` take a file each, and none shall wait for a long one at the end.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow") is not None)
    items.sort(key=lambda item: -slow[item.path])
    for item in items:
        for host in HOSTS:
            if host.owns(item.path):
                item.add_marker(host.name)
            elif not host.is_here and item.get_closest_marker(host.name) is not None:
                item.add_marker(pytest.mark.skip(reason=host.missing))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests with an argument ``device`` run on the CPU, and on a GPU where there is one.

    The marker ``gpu`` has them there on the GPU alone, and elsewhere, where that is of use only to
    try what calls them, on the CPU.
    """
    if "device" in metafunc.fixturenames:
        import torch

        *devices, last = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
        metafunc.parametrize("device", [*devices, pytest.param(last, marks=pytest.mark.gpu)])


@pytest.fixture(autouse=True)
def every_tensor_says_its_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """In tests of the losses and the adapters, a tensor that we make without a device is on meta.

    There it has no values, and meeting those on the CPU it fails, as it would beside a GPU's. The
    hosts and the tests themselves keep the usual default.
    """
    if not any(ROOT / "tests" / folder in request.path.parents for folder in OF_DEVICES):
        yield
        return
    from torch.overrides import TorchFunctionMode
    from torch.utils._device import _device_constructors

    class OursOnMeta(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            told = kwargs or {}
            if func in makers and told.get("device") is None:
                path = sys._getframe(1).f_code.co_filename
                if path.startswith(OURS):
                    told = {**told, "device": "meta"}
            return func(*args, **told)

    makers = _device_constructors()
    with OursOnMeta():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a host's test into a failure where the host is demanded."""
    report = yield
    marked = [host for host in HOSTS if item.get_closest_marker(host.name) is not None]
    required = [host.variable for host in marked if host.is_required]
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if required and skipped and NO_ACAC not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped although {required[0]}=1: {report.longrepr}"
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
