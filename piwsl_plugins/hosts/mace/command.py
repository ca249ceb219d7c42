"""MACE's mace_run_train with the PIWSL losses, also where Python reads no .pth files."""

from __future__ import annotations

import argparse
import sys

from piwsl_plugins.hosts.mace.seams import install


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add nothing: every option is MACE's."""


def run(options: argparse.Namespace) -> int:
    """Run ``mace_run_train`` with ``options.arguments``; the status is 2 where MACE is missing."""
    install()
    try:
        from mace.cli.run_train import main as run_train
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mace":
            raise
        print("MACE is not installed: pip install 'piwsl-plugins[mace]'", file=sys.stderr)
        return 2
    sys.argv = ["mace_run_train", *options.arguments]
    run_train()
    return 0
