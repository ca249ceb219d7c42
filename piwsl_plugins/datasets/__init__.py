"""The reference data that the package ships: one folder a data set, with its own README."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).parent


def path(name: str) -> Path:
    """Path of a shipped data set, or of one of its files (``formaldehyde_ccsdt_cbs/train.xyz``).

    Raises:
        KeyError: there is none of that name; the message lists those that exist.
    """
    files = {file.relative_to(_ROOT).as_posix(): file for file in sorted(_ROOT.glob("*/*.xyz"))}
    known = {file.parent.name: file.parent for file in files.values()} | files
    if name not in known:
        raise KeyError(f"no shipped data named {name!r}; there are {', '.join(sorted(known))}")
    return known[name]
