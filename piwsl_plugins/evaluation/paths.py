"""Files, models and environments as they are named on the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from piwsl_plugins.hosts.calculators import MODULES


def named_files(words: Sequence[str], what: str) -> dict[str, Path]:
    """Files by name, from words of the form FILE or NAME=FILE.

    A name that is not given is the file's stem, with its folder, and then a number, where two would
    be the same.

    Args:
        words: The words.
        what: What they are, for the message.

    Raises:
        ValueError: Two have been given the same name, or a name is empty.
    """
    given: list[tuple[str | None, Path]] = []
    for word in words:
        name, separator, file = word.partition("=")
        if not separator or Path(word).exists():
            given.append((None, Path(word)))
        elif not name or not file:
            raise ValueError(f"{what} '{word}': expected FILE or NAME=FILE")
        else:
            given.append((name, Path(file)))
    stems = [_stem(path) for name, path in given if name is None]
    files: dict[str, Path] = {}
    for given_name, path in given:
        chosen = given_name or _stem(path)
        if given_name is None and stems.count(chosen) > 1:
            chosen = f"{path.absolute().parent.name}/{chosen}"
            chosen = next(n for n in _numbered(chosen) if n not in files)
        if chosen in files:
            raise ValueError(
                f"two {what} are called '{chosen}': {files[chosen]} and {path}; "
                "give them names, as NAME=FILE"
            )
        files[chosen] = path
    return files


def _numbered(name: str) -> Iterator[str]:
    """The name itself, and then with numbers."""
    yield name
    yield from (f"{name} ({number})" for number in count(2))


def _stem(path: Path) -> str:
    return path.stem.removesuffix(".nequip")


def environments(words: Sequence[str]) -> dict[str, str]:
    """Programs of other Pythons by host, from words of the form HOST=PATH.

    Args:
        words: The words; a path is a virtual environment or a Python.

    Raises:
        ValueError: There is no such host, or nothing there.
    """
    found = {}
    hosts = {module: host for host, module in MODULES.items()}
    for word in words:
        name, _, path = word.partition("=")
        if name not in hosts or not path:
            raise ValueError(
                f"--environment {word}: expected mace=PATH or nequip=PATH, "
                "with a virtual environment or its Python"
            )
        # absolute without following links: a virtual environment's Python is one
        program = Path(os.path.abspath(path))
        if program.is_dir():
            inside = [program / "bin" / "python", program / "Scripts" / "python.exe"]
            program = next((choice for choice in inside if choice.exists()), inside[0])
        if not program.exists():
            raise ValueError(f"--environment {word}: there is no {program}")
        found[hosts[name]] = str(program)
    return found
