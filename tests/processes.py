"""Commands in processes of their own, in this environment and in one without this package."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PYTHON = sys.executable


def clean_environment() -> dict[str, str]:
    """Variables for a program: one thread, and nothing that tells Python what to import."""
    ours = ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    return environment | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "100"}


def execute(
    command: Sequence[str],
    folder: Path,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, on one thread, with nothing of the caller's Python in its way."""
    return subprocess.run(
        list(command),
        cwd=folder,
        env=clean_environment() | dict(variables or {}),
        capture_output=True,
        text=True,
        timeout=600,
    )


class BareEnvironment:
    """A virtual environment with everything that this one has, except this package."""

    OURS = ("piwsl", "_piwsl", "_editable_impl_piwsl", "__editable__.piwsl", "__editable___piwsl")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(
            [PYTHON, "-m", "venv", "--without-pip", "--symlinks", str(folder)], check=True
        )
        self.python = str(folder / "bin" / "python")
        links = folder / "everything_else"
        links.mkdir()
        for site in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
            for entry in Path(site).iterdir():
                if not entry.name.startswith(self.OURS) and not (links / entry.name).exists():
                    (links / entry.name).symlink_to(entry)
        (self.site,) = folder.glob("lib/python*/site-packages")
        (self.site / "everything_else.pth").write_text(f"{links}\n", encoding="utf-8")

    def install(self, package: Path) -> None:
        """Put the package in, as pip does: its modules, what Python reads at start, metadata."""
        installed = importlib.metadata.distribution("piwsl-plugins")
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, self.site / package.name, ignore=ignore)
        shutil.copytree(package.parent / "autoload", self.site, ignore=ignore, dirs_exist_ok=True)
        info = self.site / f"piwsl_plugins-{installed.version}.dist-info"
        info.mkdir()
        for name in ("METADATA", "entry_points.txt"):
            (info / name).write_text(installed.read_text(name) or "", encoding="utf-8")

    def uninstall(self) -> None:
        """Remove what :meth:`install` put in."""
        for entry in [*self.site.glob("piwsl_plugins*"), *self.site.glob("_piwsl*")]:
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def run(
        self,
        *command: str,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run this environment's Python, from an empty folder unless told otherwise."""
        return execute([self.python, *command], folder or self.folder, variables)


def digest(state: Any) -> str:
    """Digest of nested mappings and sequences of tensors and plain values, to the last bit."""
    found = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, dict):
            for key in sorted(value, key=str):
                found.update(str(key).encode())
                feed(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                feed(item)
        elif hasattr(value, "detach"):
            found.update(value.detach().contiguous().numpy().tobytes())
        else:
            found.update(repr(value).encode())

    feed(state)
    return found.hexdigest()


def end_process_of_group() -> None:
    """End this process of a gloo group with status 0, once every process has got so far.

    Without torch's own teardown, in which gloo's threads now and then abort a process whose work is
    done and whose results are written.
    """
    import torch.distributed

    torch.distributed.barrier()
    time.sleep(0.5)  # the others must have heard it before this end of the connection closes
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
